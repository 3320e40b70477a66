"""NumPy's element types and arrays, as pickles describe them.

NumPy believes the state that a stream gives to an element type. A type that hides its object fields makes NumPy take
raw bytes for pointers; so does one in which another field lies over an object; and one whose fields lie outside of an
element makes it read foreign memory. So an element type is only accepted when its size, its fields and its flags agree
with each other, and an array only when its content is of the kind that its element type asks for.

Source: numpy/_core/src/multiarray/descriptor.c (arraydescr_reduce, arraydescr_setstate) and methods.c (array_setstate).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from aiverify.pickles.graph import Blob, Call, Dictionary, Global, OutOfBand, Value
from aiverify.pickles.literals import Plain, is_bytes, is_call, is_int, is_literal, is_sizes
from aiverify.pickles.signatures import group_of

ARRAY_CLASSES = frozenset(
    ("numpy.ndarray", "numpy.matrix", "numpy.matrixlib.defmatrix.matrix", "numpy.rec.recarray", "numpy.recarray")
)
MASKED_CLASSES = frozenset(("numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"))
_CODE = re.compile(r"[<>|=]?([?biufcSaUVOMm])([0-9]{1,9})")
_ORDERS = ("<", ">", "|", "=")
_POINTER = 8
_UTF8 = ("utf-8", "surrogatepass")
_MAX_DEPTH = 8
_MAX_PARTS = 10_000
_WORK = 1 << 20  # fields that are looked at in one graph: types may share them
_ALIGNMENTS = (-1, 1, 2, 4, 8, 16, 32, 64)  # of anything else, numpy computes a remainder by zero
# Bits of a dtype's flags: ITEM_REFCOUNT, LIST_PICKLE, NEEDS_INIT, NEEDS_PYAPI. Source: numpy/ndarraytypes.h
_OBJECT_FLAGS = 1 | 2 | 8 | 16
_REFERENCES = 1 | 2


_Place: TypeAlias = tuple[int, int, int]  # where a field begins and ends, and which type it has


@dataclass(frozen=True, slots=True)
class Element:
    """An element type: its size in bytes, whether it holds Python objects, and of how many types it is made.

    A type that stands in several fields counts as often: hashing or comparing goes through all of them.
    """

    size: int
    objects: bool
    parts: int = 1


class Arrays:
    """Checks the arrays of one graph. Element types are shared by arrays, so each is worked out once."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain
        self._elements: dict[int, Element | None] = {}
        self._work = 0

    def element(self, value: Value, depth: int = _MAX_DEPTH) -> Element | None:
        """What ``value`` describes if it is a sound element type, else ``None``."""
        if not depth:
            return None
        if id(value) not in self._elements:
            if not isinstance(value, Call) or not is_call(value, "numpy.dtype"):
                return None
            self._elements[id(value)] = None  # one that contains itself is not sound
            self._elements[id(value)] = self._work_out(value, depth)
        return self._elements[id(value)]

    def _work_out(self, call: Call, depth: int) -> Element | None:
        if not isinstance(call.args, tuple) or len(call.states) > 1:
            return None
        if call.states and not (len(call.args) == 3 and call.args[2] in (True, 1)):
            return None  # without a copy, numpy would change its own description of the type
        if _is_record(call.args):
            return self._record(call, depth)
        match = _code(call.args)
        if match is None:
            return None
        kind, size = match[1], int(match[2]) * (4 if match[1] == "U" else 1)
        if not call.states:
            return None if kind == "O" and size != _POINTER else Element(size, kind == "O")
        return self._with_state(kind, size, call.states[0], depth)

    def _record(self, call: Call, depth: int) -> Element | None:
        """The type of a record array: made of the class ``numpy.record``, with its fields and its size as state."""
        state = call.states[0] if call.states else None
        size = state[5] if isinstance(state, tuple) and len(state) in (8, 9) else None
        return self._with_state("V", cast("int", size), state, depth) if is_int(size) else None

    def _with_state(self, kind: str, size: int, state: Value, depth: int) -> Element | None:
        if not isinstance(state, tuple) or len(state) not in (8, 9) or not is_int(state[0]):
            return None
        if (len(state), state[0]) not in ((8, 3), (9, 3), (9, 4)):
            return None
        _, order, base, names, fields, width, alignment, flags, *metadata = state
        if order not in _ORDERS or not is_int(flags) or not all(map(self._plain, metadata)):
            return None
        if width != (size if kind in "SaUV" else -1) or not is_int(alignment) or alignment not in _ALIGNMENTS:
            return None
        element = self._of_parts(kind, size, (base, names, fields), depth)
        if element is None or element.parts > _MAX_PARTS:
            return None
        flags = cast("int", flags)
        sound = flags & _OBJECT_FLAGS == _OBJECT_FLAGS if element.objects else not flags & _REFERENCES
        return element if sound else None

    def _of_parts(self, kind: str, size: int, parts: tuple[Value, Value, Value], depth: int) -> Element | None:
        """The element of ``size`` bytes that is made of these parts; ``None`` if they do not fit into it."""
        base, names, fields = parts
        if kind != "V" or (base is None and names is None and fields is None):
            sound = base is None and names is None and fields is None and (kind != "O" or size == _POINTER)
            return Element(size, kind == "O") if sound else None
        if base is not None:
            return self._subarray(size, base, depth) if names is None and fields is None else None
        return self._fields(size, names, fields, depth)

    def _subarray(self, size: int, base: Value, depth: int) -> Element | None:
        if not isinstance(base, tuple) or len(base) != 2 or not is_sizes(base[1]):
            return None
        inner = self.element(base[0], depth - 1)
        fits = inner is not None and inner.size * math.prod(cast("tuple[int, ...]", base[1])) == size
        return Element(size, inner.objects, 1 + inner.parts) if inner is not None and fits else None

    def _fields(self, size: int, names: Value, fields: Value, depth: int) -> Element | None:
        if not isinstance(names, tuple) or not isinstance(fields, Dictionary):
            return None
        self._work += len(names) + len(fields.pairs)
        if self._work > _WORK or len(fields.pairs) > _MAX_PARTS:
            return None
        if not all(isinstance(key, str) for key in (*names, *(key for key, _ in fields.pairs))):
            return None
        known = {name for name in names if isinstance(name, str)}
        if len(known) != len(names) or not known <= {key for key, _ in fields.pairs}:
            return None
        places, titles = list[_Place](), set[_Place]()
        objects, parts = False, 1
        for key, field in fields.pairs:
            if not isinstance(field, tuple) or len(field) not in (2, 3):
                return None
            inner, offset = self.element(field[0], depth - 1), field[1]
            if inner is None or not isinstance(offset, int) or not 0 <= offset <= size - inner.size:
                return None
            place = int(offset), offset + inner.size, id(field[0])
            if key in known:
                places.append(place)
            elif field[2:] == (key,):
                titles.add(place)
            else:
                return None
            objects, parts = objects or inner.objects, parts + inner.parts
        return None if objects and _overlap(places, titles) else Element(size, objects, parts)

    # Rules for arguments and states

    def dtype_state(self, call: Call) -> str | None:
        """What is wrong with the element type that ``call`` makes, its state included."""
        return None if self.element(call) is not None else "a code or a state that numpy does not write"

    def array_state(self, state: Value) -> str | None:
        """What is wrong with the BUILD state of an array."""
        if not isinstance(state, tuple) or len(state) not in (4, 5) or not is_sizes(state[-4]):
            return "a state that numpy does not write"
        element, content = self.element(state[-3]), state[-1]
        if element is None or not isinstance(state[-2], bool | int):
            return "a state that numpy does not write"
        if not (isinstance(content, list) if element.objects else is_bytes(content) or isinstance(content, str)):
            return "content of another kind than its element type"
        count = math.prod(cast("tuple[int, ...]", state[-4]))
        # numpy makes room for all elements before it looks, and its type may have had another size by then.
        fits = _length(content) == count * (1 if element.objects else element.size)
        return None if fits else "content of another length than its shape and element type"

    def masked_state(self, state: Value) -> str | None:
        """What is wrong with the BUILD state of a masked array: an array's, then mask and fill value."""
        if not isinstance(state, tuple) or len(state) != 7:
            return "a state that numpy does not write"
        mask, fill = state[5:]
        sound = is_bytes(mask) and (is_literal(fill) or group_of(fill) in ("array", "scalar"))
        return self.array_state(state[:5]) if sound else "a state that numpy does not write"

    def frombuffer(self, args: Sequence[Value]) -> str | None:
        """What is wrong with the arguments of ``_frombuffer``."""
        if len(args) != 4 or not (is_bytes(args[0]) or isinstance(args[0], OutOfBand)) or args[3] not in ("C", "F"):
            return "something else than a buffer, an element type, a shape and an order"
        element = self.element(args[1])
        ok = element is not None and not element.objects and is_sizes(args[2])
        return None if ok else "something else than a buffer, an element type, a shape and an order"

    def scalar(self, args: Sequence[Value]) -> str | None:
        """What is wrong with the arguments of ``scalar``."""
        element = self.element(args[0]) if len(args) == 2 else None
        ok = element is not None and not element.objects and (is_bytes(args[1]) or isinstance(args[1], str))
        return None if ok else "something else than an element type and bytes"


def _overlap(places: list[_Place], titles: set[_Place]) -> bool:
    """Whether two fields share bytes: what is written into one of them would be a pointer to the other.

    The title of a field is a second name of the same place.
    """
    shared = any(end > begin for (_, end, _), (begin, _, _) in itertools.pairwise(sorted(places)))
    return shared or not titles <= set(places)


def _length(content: Value) -> int:
    """The number of elements of a list, or of bytes."""
    if isinstance(content, Blob):
        return content.length
    if isinstance(content, list | str):
        return len(content)
    args = content.args if isinstance(content, Call) and isinstance(content.args, tuple) else ()
    if len(args) != 2 or not isinstance(args[0], str):
        return 0
    return len(args[0]) if args[0].isascii() or str(args[1]).startswith("latin") else len(args[0].encode(*_UTF8))


def check_dtype(args: Sequence[Value]) -> str | None:
    """What is wrong with the arguments of ``numpy.dtype``."""
    return None if _is_record(args) or _code(args) else "something else than the code of an element type"


def _is_record(args: Sequence[Value]) -> bool:
    found = args[0] if len(args) == 3 else None
    return isinstance(found, Global) and (found.module, found.name) == ("numpy", "record") and args[2] in (True, 1)


def _code(args: Sequence[Value]) -> re.Match[str] | None:
    if not 1 <= len(args) <= 3 or not isinstance(args[0], str):
        return None
    return _CODE.fullmatch(args[0]) if all(isinstance(arg, bool | int) for arg in args[1:]) else None


def check_reconstruct(args: Sequence[Value]) -> str | None:
    """What is wrong with the arguments of ``_reconstruct``: numpy always writes an empty array of bytes."""
    if len(args) == 3 and isinstance(args[0], Global) and args[0].dotted in ARRAY_CLASSES and is_no_shape(args[1]):
        return None if args[2] == "b" or is_bytes(args[2]) else "an unusual element type"
    return "something else than an array class and an empty shape"


def check_masked(args: Sequence[Value]) -> str | None:
    """What is wrong with the arguments of ``_mareconstruct``: the class of masked arrays, and those of an array."""
    masked = isinstance(args[0] if args else None, Global) and cast("Global", args[0]).dotted in MASKED_CLASSES
    return check_reconstruct(args[1:]) if masked else "something else than the class of masked arrays"


def is_no_shape(shape: Value) -> bool:
    """Whether ``shape`` is ``(0,)``, the shape of an array that BUILD will fill."""
    return isinstance(shape, tuple) and len(shape) == 1 and is_int(shape[0]) and shape[0] == 0
