"""Code objects in ``marshal``'s format, read without making any: what they are called, what they name, what they do.

``marshal`` itself crashes on hostile bytes. This reader knows its types, makes plain values of them, and has a budget;
a code object becomes a ``Code``. Its fields changed with Python 3.8 and 3.11; the layout that fits to the last byte is
taken.

Source: CPython 3.7 to 3.14, ``Python/marshal.c`` and ``Lib/dis.py``.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass

from aiverify.errors import AiverifyError

MAX_VALUES = 200_000
MAX_DEPTH = 100
MAX_SHOWN = 200
_PROLOGUE = 16  # instructions before RESUME: cells and free variables are set up

# Whole numbers before the objects, objects (by name), and whole numbers and objects after them.
_LAYOUTS = (
    (5, ("code", "consts", "names", "locals", "kinds", "filename", "name", "qualname"), ("lines", "exceptions")),
    (6, ("code", "consts", "names", "locals", "free", "cells", "filename", "name"), ("lines",)),
    (5, ("code", "consts", "names", "locals", "free", "cells", "filename", "name"), ("lines",)),
)
_REFERENCED = 0x80
_CONSTANTS = {b"N": None, b"F": False, b"T": True, b"S": "StopIteration", b".": "..."}
_BYTES = {b"s": 4, b"t": 4, b"u": 4, b"a": 4, b"A": 4, b"z": 1, b"Z": 1, b"f": 1}
_FIXED = {b"i": 4, b"I": 8, b"g": 8, b"y": 16}
_COUNTED = {b"(": 4, b")": 1, b"[": 4, b"<": 4, b">": 4}


class MarshalError(AiverifyError):
    """The bytes are not what ``marshal`` writes. The message names the byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One code object: its name, the names it uses, its constants (other code objects among them), its bytecode."""

    name: str
    names: tuple[str, ...]
    constants: tuple[object, ...]
    bytecode: bytes

    def everything(self) -> Iterator[Code]:
        """This one and the ones inside, outer first, each once: constants may be shared many times over."""
        pending, seen = [self], {id(self)}
        while pending:
            code = pending.pop()
            yield code
            for constant in reversed(code.constants):
                if isinstance(constant, Code) and id(constant) not in seen:
                    seen.add(id(constant))
                    pending.append(constant)

    def instructions(self) -> list[str]:
        """The instructions, as far as this Python has the same ones; empty when it has others."""
        pairs = list(zip(self.bytecode[::2], self.bytecode[1::2], strict=False))
        if not any(code == dis.opmap.get("RESUME") for code, _ in pairs[:_PROLOGUE]):
            return []
        said = [
            f"{dis.opname[code]} {argument}" for code, argument in pairs[: 4 * MAX_SHOWN] if dis.opname[code] != "CACHE"
        ]
        return said[:MAX_SHOWN]


def read_code(data: bytes) -> Code:
    """The code object that ``data`` is. Raises MarshalError."""
    complaint: MarshalError | None = None
    for layout in _LAYOUTS:
        reader = _Reader(data, layout)
        try:
            value = reader.value(0)
        except MarshalError as error:
            complaint = complaint or error
            continue
        if isinstance(value, Code) and reader.position == len(data):
            return value
    raise complaint or MarshalError("the value is no code object")


class _Reader:
    def __init__(self, data: bytes, layout: tuple[int, tuple[str, ...], tuple[str, ...]]) -> None:
        self.data = data
        self.layout = layout
        self.position = 0
        self.count = 0
        self.seen: list[object] = []

    def _take(self, length: int) -> bytes:
        if not 0 <= length <= len(self.data) - self.position:
            raise MarshalError(f"the value at byte {self.position} reaches past the end")
        self.position += length
        return self.data[self.position - length : self.position]

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little", signed=width > 1)

    def _spend(self, values: int) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            raise MarshalError(f"more than {MAX_VALUES} values")

    def value(self, depth: int) -> object:
        self._spend(1)
        if depth > MAX_DEPTH:
            raise MarshalError(f"more than {MAX_DEPTH} values inside each other")
        begin = self.position
        byte = self._take(1)[0]
        kind, place = bytes((byte & ~_REFERENCED,)), None
        if byte & _REFERENCED:
            place = len(self.seen)
            self.seen.append(None)
        made = self._of(kind, depth, begin)
        if place is not None:
            self.seen[place] = made
        return made

    def _of(self, kind: bytes, depth: int, begin: int) -> object:
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in _FIXED:
            return self._number(_FIXED[kind])
        if kind in _BYTES:
            content = self._take(self._number(_BYTES[kind]))
            return content if kind == b"s" else content.decode("utf-8", "replace")
        if kind in _COUNTED:
            return self._several(self._number(_COUNTED[kind]), depth)
        if kind == b"r":
            index = self._number(4)
            if not 0 <= index < len(self.seen):
                raise MarshalError(f"a reference at byte {begin} to a value that there is not")
            return self.seen[index]
        if kind == b"c":
            return self._code(depth)
        if kind == b"l":
            return int.from_bytes(self._take(2 * abs(self._number(4))), "little")
        if kind == b":":
            return self._several(3, depth)
        raise MarshalError(f"a value of the type {kind!r} at byte {begin}")

    def _several(self, count: int, depth: int) -> tuple[object, ...]:
        if not 0 <= count <= len(self.data) - self.position:
            raise MarshalError(f"{count} values at byte {self.position}, more than bytes are left")
        return tuple(self.value(depth + 1) for _ in range(count))

    def _code(self, depth: int) -> Code:
        numbers, before, after = self.layout
        for _ in range(numbers):
            self._number(4)
        parts = {name: self.value(depth + 1) for name in before}
        self._number(4)  # the first line
        for _ in after:
            self.value(depth + 1)
        names, constants, bytecode, name = parts["names"], parts["consts"], parts["code"], parts["name"]
        for shared in (names, constants, bytecode):  # many code objects may refer to the same ones
            self._spend(len(shared) if isinstance(shared, tuple | bytes) else 0)
        if not (
            isinstance(names, tuple)
            and all(isinstance(item, str) for item in names)
            and isinstance(constants, tuple)
            and isinstance(bytecode, bytes)
            and isinstance(name, str)
        ):
            raise MarshalError("a code object whose parts are of the wrong type")
        return Code(name=name, names=tuple(map(str, names)), constants=constants, bytecode=bytecode)
