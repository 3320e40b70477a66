"""What a payload does, as an expression, and the ways to write it down as a pickle stream.

An expression is a Python literal or one of the nodes below. A style says which opcodes stand for it: the same
expression becomes another stream in each of the six protocols, with INST, with OBJ, or with names out of the memo.
Nothing here unpickles anything.
"""

from __future__ import annotations

import itertools
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """A global."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A global whose module or name are expressions themselves."""

    module: object
    name: object


@dataclass(frozen=True, slots=True)
class Do:
    """A call."""

    target: object
    args: tuple


@dataclass(frozen=True, slots=True)
class New:
    """An object from its class's ``__new__``; with keywords when there are any."""

    kind: object
    args: tuple
    kwargs: object = None


@dataclass(frozen=True, slots=True)
class State:
    """An object that is given state (BUILD)."""

    target: object
    state: object


@dataclass(frozen=True, slots=True)
class Fill:
    """An object whose items are set (SETITEMS)."""

    target: object
    pairs: tuple


@dataclass(frozen=True, slots=True)
class Extend:
    """An object to which items are appended (APPENDS)."""

    target: object
    items: tuple


@dataclass(frozen=True, slots=True)
class Members:
    """A set (EMPTY_SET, ADDITEMS) or frozen set."""

    items: tuple
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """A dict whose keys need not be hashable here."""

    items: tuple


@dataclass(frozen=True, slots=True)
class Then:
    """Expressions one after the other; all but the last are dropped."""

    steps: tuple


@dataclass(frozen=True, slots=True)
class Supplied:
    """An object that the loader supplies for a persistent id."""

    pid: object


@dataclass(frozen=True, slots=True)
class Coded:
    """A name by its code in the extension registry."""

    code: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Opcodes:
    """Opcodes as they are, which leave one value on the stack."""

    raw: bytes


def name(dotted: str) -> Name:
    """A colon tells where the module ends when it is not the last dot."""
    module, _, attribute = dotted.rpartition(":" if ":" in dotted else ".")
    return Name(module, attribute)


def do(target: object, *args: object) -> Do:
    return Do(name(target) if isinstance(target, str) else target, args)


def new(kind: str, *args: object) -> New:
    return New(name(kind), args)


@dataclass(frozen=True, slots=True)
class Style:
    """Which opcodes to use. ``calls`` is REDUCE, INST or OBJ; ``names`` is GLOBAL, STACK or MEMO."""

    title: str
    protocol: int
    calls: str = "REDUCE"
    names: str = "GLOBAL"
    memo: bool = False
    frame: bool = False


STYLES = {
    style.title: style
    for style in (
        Style("0", 0, memo=True),
        Style("1", 1, memo=True),
        Style("2", 2, memo=True),
        Style("3", 3),
        Style("4", 4, names="STACK", memo=True, frame=True),
        Style("5", 5, names="MEMO", frame=True),
        Style("INST", 2, calls="INST"),
        Style("OBJ", 3, calls="OBJ"),
        Style("GLOBAL", 4),
    )
}


class ImpossibleError(Exception):
    """A style has no opcodes for an expression."""


def write(expression: object, style: Style) -> bytes:
    """The stream that makes ``expression``. Raises ImpossibleError."""
    body = _Writer(style).value(expression) + b"."
    if style.frame:
        body = b"\x95" + struct.pack("<Q", len(body)) + body
    return (bytes((0x80, style.protocol)) if style.protocol > 1 else b"") + body


def opcode_path(stream: bytes) -> tuple[str, ...]:
    """The opcodes of a stream in order, runs of one opcode as one, as far as ``pickletools`` can follow."""
    names: list[str] = []
    try:
        names += (opcode.name for opcode, _, _ in pickletools.genops(stream))
    except Exception:  # noqa: BLE001 - some attacks break pickletools; then the bytes tell them apart
        names.append(f"? {len(names)} {hash(stream)}")
    return tuple(key for key, _ in itertools.groupby(names))


class _Writer:
    def __init__(self, style: Style) -> None:
        self.style = style
        self.protocol = style.protocol
        self.slots = itertools.count()
        self.known: dict[str, int] = {}

    def value(self, item: object) -> bytes:
        writer: Callable[[object], bytes] | None = {
            type(None): lambda _: b"N",
            bool: self._bool,
            int: self._int,
            float: lambda item: b"F%r\n" % item if self.protocol == 0 else b"G" + struct.pack(">d", item),
            str: self._text,
            bytes: self._bytes,
            tuple: self._tuple,
            list: self._list,
            dict: lambda item: self._dict(tuple(item.items())),
            Pairs: lambda item: self._dict(item.items),
            Name: self._name,
            Computed: self._computed,
            Do: self._do,
            New: self._new,
            State: lambda item: self.value(item.target) + self.value(item.state) + b"b",
            Fill: lambda item: self.value(item.target) + self._set(item.pairs),
            Extend: lambda item: self.value(item.target) + self._append(item.items),
            Members: self._members,
            Then: lambda item: b"0".join(map(self.value, item.steps)),
            Supplied: self._supplied,
            Coded: lambda item: (
                {1: b"\x82", 2: b"\x83", 4: b"\x84"}[item.width] + item.code.to_bytes(item.width, "little")
            ),
            Opcodes: lambda item: item.raw,
        }.get(type(item))
        if writer is None:
            raise TypeError(f"no opcodes for {type(item)}")
        return writer(item)

    def _remembered(self, raw: bytes) -> bytes:
        if not self.style.memo:
            return raw
        slot = next(self.slots)
        if self.protocol >= 4:
            return raw + b"\x94"
        if self.protocol == 0:
            return raw + b"p%d\n" % slot
        return raw + (b"q" + bytes((slot,)) if slot < 256 else b"r" + struct.pack("<I", slot))

    def _bool(self, item: object) -> bytes:
        if self.protocol < 2:
            return b"I01\n" if item else b"I00\n"
        return b"\x88" if item else b"\x89"

    def _int(self, item: int) -> bytes:
        if self.protocol == 0:
            return b"I%d\n" % item if abs(item) < 1 << 31 else b"L%dL\n" % item
        if 0 <= item < 256:
            return b"K" + bytes((item,))
        if abs(item) < 1 << 31:
            return b"J" + struct.pack("<i", item)
        if self.protocol == 1:
            return b"L%dL\n" % item
        raw = item.to_bytes(item.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes((len(raw),)) + raw

    def _plain_text(self, item: str) -> bytes:
        raw = item.encode("utf-8", "surrogatepass")
        if self.protocol == 0:
            line = item.replace("\\", "\\u005c").replace("\n", "\\u000a").replace("\0", "\\u0000")
            return b"V" + line.replace("\r", "\\u000d").encode("raw-unicode-escape") + b"\n"
        if self.protocol >= 4 and len(raw) < 256:
            return b"\x8c" + bytes((len(raw),)) + raw
        return b"X" + struct.pack("<I", len(raw)) + raw

    def _text(self, item: str) -> bytes:
        return self._remembered(self._plain_text(item))

    def _bytes(self, item: bytes) -> bytes:
        if self.protocol < 3:
            return self.value(do("_codecs.encode", item.decode("latin1"), "latin1"))
        if len(item) < 256:
            return b"C" + bytes((len(item),)) + item
        return b"B" + struct.pack("<I", len(item)) + item

    def _tuple(self, item: tuple) -> bytes:
        inner = b"".join(map(self.value, item))
        if self.protocol >= 2 and len(item) < 4:
            return self._remembered(inner + (b")", b"\x85", b"\x86", b"\x87")[len(item)])
        if self.protocol == 1 and not item:
            return b")"
        return self._remembered(b"(" + inner + b"t")

    def _list(self, item: list) -> bytes:
        if self.protocol == 0:
            return self._remembered(b"(" + b"".join(map(self.value, item)) + b"l")
        return self._remembered(b"]") + self._append(tuple(item))

    def _append(self, items: tuple) -> bytes:
        if self.protocol == 0 or len(items) == 1:
            return b"".join(self.value(item) + b"a" for item in items)
        return b"(" + b"".join(map(self.value, items)) + b"e" if items else b""

    def _dict(self, pairs: tuple) -> bytes:
        if self.protocol == 0:
            return self._remembered(b"(" + b"".join(self.value(key) + self.value(item) for key, item in pairs) + b"d")
        return self._remembered(b"}") + self._set(pairs)

    def _set(self, pairs: tuple) -> bytes:
        if self.protocol == 0 or len(pairs) == 1:
            return b"".join(self.value(key) + self.value(item) + b"s" for key, item in pairs)
        return b"(" + b"".join(self.value(key) + self.value(item) for key, item in pairs) + b"u" if pairs else b""

    def _members(self, item: Members) -> bytes:
        inner = b"".join(map(self.value, item.items))
        if self.protocol < 4:
            raise ImpossibleError("sets need protocol 4")
        return b"(" + inner + b"\x91" if item.frozen else b"\x8f(" + inner + b"\x90"

    def _name(self, item: Name) -> bytes:
        if "." in item.name and self.protocol < 4:
            raise ImpossibleError("dotted names need protocol 4")
        if self.style.names == "GLOBAL":
            return self._remembered(b"c" + item.module.encode() + b"\n" + item.name.encode() + b"\n")
        if self.style.names == "STACK":
            return self._remembered(self._text(item.module) + self._text(item.name) + b"\x93")
        return self._kept(item.module) + self._kept(item.name) + b"\x93"

    def _kept(self, text: str) -> bytes:
        """Text that is put into the memo, dropped, and fetched from there."""
        if text in self.known:
            return b"h" + bytes((self.known[text],))
        slot = self.known[text] = next(self.slots)
        return self._plain_text(text) + b"\x940h" + bytes((slot,))

    def _computed(self, item: Computed) -> bytes:
        if self.protocol < 4:
            raise ImpossibleError("computed names need protocol 4")
        return self.value(item.module) + self.value(item.name) + b"\x93"

    def _do(self, item: Do) -> bytes:
        if self.style.calls == "INST" and item.args and isinstance(item.target, Name):
            if "." in item.target.name:
                raise ImpossibleError("dotted names need protocol 4")
            inner = b"".join(map(self.value, item.args))
            return b"(" + inner + b"i" + item.target.module.encode() + b"\n" + item.target.name.encode() + b"\n"
        if self.style.calls == "OBJ" and item.args:
            return b"(" + b"".join(map(self.value, (item.target, *item.args))) + b"o"
        return self._remembered(self.value(item.target) + self._tuple(item.args) + b"R")

    def _new(self, item: New) -> bytes:
        if self.protocol < 2:
            if item.kwargs is not None:
                raise ImpossibleError("keywords need protocol 2")
            return self.value(do("copyreg.__newobj__", item.kind, *item.args))
        if item.kwargs is not None:
            if self.protocol < 4:
                raise ImpossibleError("keywords need protocol 4")
            return self.value(item.kind) + self._tuple(item.args) + self.value(item.kwargs) + b"\x92"
        return self._remembered(self.value(item.kind) + self._tuple(item.args) + b"\x81")

    def _supplied(self, item: Supplied) -> bytes:
        if self.protocol == 0:
            if not isinstance(item.pid, str):
                raise ImpossibleError("PERSID takes text only")
            return b"P" + item.pid.encode() + b"\n"
        return self.value(item.pid) + b"Q"
