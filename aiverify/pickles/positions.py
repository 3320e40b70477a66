"""Numbers that pandas takes for positions, and does not check.

The places of the columns in a frame, and the codes of categories and labels, are numbers in arrays. Compiled code reads
and writes where they point to, so each must lie inside of what it points into. Where the bytes of an array stand in the
stream they are looked at; joblib keeps them beside it, and then it is only said that native code reads them (AIV314).

Source: pandas/_libs/internals.pyx, BlockManager; pandas/core/arrays/categorical.py; pandas/core/indexes/multi.py.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from aiverify.pickles.graph import Blob, Call, Dictionary, Global, Value
from aiverify.pickles.literals import attribute_pairs, is_call, is_encoding, is_size
from aiverify.pickles.making import making
from aiverify.pickles.reading import Buffer
from aiverify.pickles.signatures import group_of

#: The answer where the numbers do not stand in the stream.
UNREAD = "positions that do not stand in the stream"
_OUTSIDE = "positions that lie outside of what they point into"
_TYPES = {"i1": "b", "i2": "h", "i4": "i", "i8": "q"}
_PIECE = 1 << 20
_DEPTH = 8
_FAR = 1 << 62
_MOST_LEVELS = 100
_CATEGORICAL = ("pandas.Categorical", "pandas.core.arrays.categorical.Categorical")
_MULTIPLE = ("pandas.MultiIndex", "pandas.core.indexes.multi.MultiIndex")


class Positions:
    """Checks the calls of one graph, which was read from ``data``; what calls share is read once."""

    def __init__(self, data: Buffer | None) -> None:
        self._data = data
        self._ranges: dict[int, range | None] = {}
        self._spans: dict[int, tuple[range | None, bool]] = {}
        self._lengths = Lengths()
        self._rules: Mapping[str, Callable[[Call], str | None]] = {
            "blocks": self._blocks,
            "labels": self._labels,
            "codes": self._codes,
        }

    def __call__(self, rule: str, call: Call) -> str | None:
        """What is wrong with the positions in ``call``; UNREAD if they cannot be looked at."""
        return self._rules[rule](call)

    def _blocks(self, call: Call) -> str | None:
        """The places of the blocks lie among the columns."""
        blocks, axes = call.args if isinstance(call.args, tuple) and len(call.args) == 2 else ((), ())
        columns = self._lengths(axes[0]) if isinstance(axes, list) and axes else None
        if columns is None or not isinstance(blocks, tuple):
            return _OUTSIDE
        if id(blocks) not in self._spans:
            self._spans[id(blocks)] = self._span([_place(block) for block in blocks])
        span, unread = self._spans[id(blocks)]
        return _compared(span, 0, columns) or (UNREAD if unread else None)

    def _span(self, places: Sequence[Value]) -> tuple[range | None, bool]:
        """From the first to the last position of all ``places`` that can be looked at, and whether some cannot."""
        read = [place for place in places if not _lies_beside(place)]
        spreads = [spread for spread in map(self._spread, read) if spread is None or spread]
        found = [spread for spread in spreads if spread is not None]
        if len(found) < len(spreads):
            return None, False
        first = min((spread.start for spread in found), default=0)
        last = max((spread.stop for spread in found), default=0)
        return range(first, last), len(read) < len(places)

    def _labels(self, call: Call) -> str | None:
        """The codes of each level of a MultiIndex lie among its labels, and all have one length."""
        kind, given = call.args if isinstance(call.args, tuple) and len(call.args) == 2 else (None, None)
        if not isinstance(kind, Global) or kind.dotted not in _MULTIPLE or not isinstance(given, Dictionary):
            return None
        levels, codes = _only(given, "levels"), _only(given, "codes", "labels")
        if not isinstance(levels, list) or not isinstance(codes, list) or len(levels) != len(codes):
            return _OUTSIDE
        if len(levels) > _MOST_LEVELS or len({self._lengths(code) for code in codes}) > 1:
            return _OUTSIDE
        said = {self._inside(code, self._lengths(level)) for level, code in zip(levels, codes, strict=True)}
        return _OUTSIDE if _OUTSIDE in said else UNREAD if UNREAD in said else None

    def _codes(self, call: Call) -> str | None:
        """The codes of a Categorical lie among its categories."""
        kind = call.args[0] if isinstance(call.args, tuple) and call.args else None
        if not isinstance(kind, Global) or kind.dotted not in _CATEGORICAL or not call.states:
            return None
        state = call.states[0] if len(call.states) == 1 else None
        parts = state[:2] if isinstance(state, tuple) else ()
        types = [part for part in parts if group_of(part) == "frame-dtype"]
        codes = [part for part in parts if group_of(part) == "array"]
        if len(types) != 1 or len(codes) != 1:
            return _OUTSIDE
        return self._inside(codes[0], self._lengths.categories(types[0]))

    def _inside(self, codes: Value, count: int | None) -> str | None:
        """Whether an array of codes points to one of ``count``, or with -1 to none."""
        if count is not None and _lies_beside(codes):
            return UNREAD
        return _OUTSIDE if count is None else _compared(self._spread(codes), -1, count)

    def _spread(self, place: Value) -> range | None:
        if group_of(place) == "slice" and isinstance(place, Call) and isinstance(place.args, tuple):
            return _sliced([self._number(bound) for bound in place.args])
        if id(place) not in self._ranges:
            self._ranges[id(place)] = self._range(place)
        return self._ranges[id(place)]

    def _range(self, value: Value) -> range | None:
        """From the least to the greatest number of an array of integers; ``None`` if they cannot be read."""
        kind, content = _integers(value)
        raw = self._raw(content)
        if kind is None or raw is None:
            return None
        low, high = 1, 0
        for piece in raw:
            numbers = array.array(_TYPES[kind[1:]], piece)
            if (kind[0] == ">") != (sys.byteorder == "big"):
                numbers.byteswap()
            least, greatest = min(numbers), max(numbers)
            low, high = (least, greatest) if low > high else (min(low, least), max(high, greatest))
        return range(low, high + 1)

    def _number(self, value: Value) -> Value:
        """A number of numpy's, as one of Python's; any other value is left as it is."""
        if group_of(value) != "scalar" or not isinstance(value, Call) or not isinstance(value.args, tuple):
            return value
        kind, raw = _code(value.args[0]), self._raw(value.args[1])
        piece = next(raw, b"") if raw is not None else b""
        if kind is None or len(piece) != int(kind[2:]):
            return value
        return int.from_bytes(piece, "big" if kind[0] == ">" else "little", signed=True)

    def _raw(self, content: Value) -> Iterator[bytes] | None:
        if isinstance(content, Blob) and not content.text and self._data is not None:
            return self._pieces(self._data, content.start, content.start + content.length)
        if is_call(content, "builtins.bytes"):
            return iter(())
        if isinstance(content, Call) and is_call(content, "_codecs.encode") and isinstance(content.args, tuple):
            text, codec = content.args if is_encoding(content.args) else ("", "")
            try:
                raw = str(text).encode(str(codec)) if codec else None
            except UnicodeEncodeError:
                return None
            return None if raw is None else self._pieces(raw, 0, len(raw))
        return None

    @staticmethod
    def _pieces(data: Buffer, start: int, end: int) -> Iterator[bytes]:
        for begin in range(start, end, _PIECE):
            yield bytes(data[begin : min(end, begin + _PIECE)])


def _compared(spread: range | None, first: int, count: int) -> str | None:
    if spread is None:
        return _OUTSIDE
    return None if not spread or (first <= spread.start and spread.stop <= count) else _OUTSIDE


def _place(block: Value) -> Value:
    """The place of a block: a slice or an array, wrapped or not."""
    place = block.args[1] if isinstance(block, Call) and isinstance(block.args, tuple) and len(block.args) > 1 else None
    if group_of(place) == "placement" and isinstance(place, Call) and isinstance(place.args, tuple):
        return place.args[0] if place.args else None
    return place


def _sliced(bounds: Sequence[Value]) -> range | None:
    """From the first to the last position of a slice."""
    start, stop, step = (*bounds, None, None)[:3]
    step = 1 if step is None else step
    if not is_size(start) or not is_size(stop) or not is_size(step) or not step:
        return None
    places = range(*(part for part in (start, stop, step) if isinstance(part, int)))
    return range(places[0], places[-1] + 1) if places else range(0)


def _lies_beside(value: Value) -> bool:
    maker = making(value).maker if isinstance(value, Call) else None
    return isinstance(maker, Global) and maker.dotted == "joblib.numpy_pickle.NumpyArrayWrapper"


def _integers(value: Value) -> tuple[str | None, Value]:
    """The byte order and code of an array of integers, and its content."""
    shape, element, content = _parts(value)
    return (None if shape is None else _code(element)), content


def _code(element: Value) -> str | None:
    """The byte order and code of an element type of integers."""
    if not isinstance(element, Call) or not isinstance(element.args, tuple):
        return None
    code, state = element.args[0] if element.args else None, element.states[0] if element.states else None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
    if not isinstance(code, str) or code.lstrip("<|=") not in _TYPES or order not in ("<", ">", "|", "="):
        return None
    return f"{'>' if order == '>' else '<'}{code.lstrip('<|=')}"


def _parts(value: Value) -> tuple[Sequence[Value] | None, Value, Value]:
    """Shape, element type and content of an array whose calls and states were checked before."""
    nothing = None, None, None
    if not isinstance(value, Call) or group_of(value) != "array" or not isinstance(value.args, tuple):
        return nothing
    if isinstance(value.callable, Global) and value.callable.name == "_frombuffer" and len(value.args) == 4:
        content, element, shape = value.args[:3]
    elif len(value.states) == 1 and isinstance(state := value.states[0], tuple) and len(state) == 5:
        shape, element, content = state[1], state[2], state[4]
    else:
        return nothing
    return (shape, element, content) if isinstance(shape, tuple) else nothing


class Lengths:
    """How many labels an index has, or elements an array; ``None`` where that cannot be told."""

    def __init__(self) -> None:
        self._known: dict[int, int | None] = {}

    def __call__(self, value: Value, depth: int = _DEPTH) -> int | None:
        """How many labels or elements ``value`` has."""
        if not depth or not isinstance(value, Call):
            return None
        if id(value) not in self._known:
            self._known[id(value)] = self._length(value, depth)
        return self._known[id(value)]

    def categories(self, kind: Value) -> int | None:
        """How many categories a type of columns has."""
        if id(kind) not in self._known:
            found = attribute(kind, "categories")
            self._known[id(kind)] = self(found) if found is not None else None
        return self._known[id(kind)]

    def _length(self, value: Call, depth: int) -> int | None:
        group = group_of(value)
        if group == "array":
            shape = attribute(value, "shape") if _lies_beside(value) else _parts(value)[0]
            size = shape[0] if isinstance(shape, tuple) and len(shape) == 1 else None
            return size if isinstance(size, int) else None
        if group == "index":
            given = value.args[1] if isinstance(value.args, tuple) and len(value.args) == 2 else None
            return self._of_index(given, depth) if isinstance(given, Dictionary) else None
        if group != "frame-array" or len(value.states) != 1:
            return None
        state = value.states[0]
        if isinstance(state, tuple):  # element type and content, in either order
            inner = [part for part in state[:2] if group_of(part) == "array"]
            return self(inner[0], depth - 1) if len(inner) == 1 else None
        held = (attribute(value, key) for key in ("_left", "_data"))
        return self(next((item for item in held if item is not None), None), depth - 1)

    def _of_index(self, given: Dictionary, depth: int) -> int | None:
        if id(given) not in self._known:
            bounds = [_only(given, key) for key in ("start", "stop", "step")]
            if any(bound is not None for bound in bounds):
                self._known[id(given)] = _count(bounds)
            else:
                codes = _only(given, "codes", "labels")
                first = codes[0] if isinstance(codes, list) and codes else None
                held = first or _only(given, "data") or _only(given, "left")
                self._known[id(given)] = self(held, depth - 1)
        return self._known[id(given)]


def _count(bounds: Sequence[Value]) -> int | None:
    numbers = [bound for bound in bounds if isinstance(bound, int) and abs(bound) < _FAR]
    return len(range(*numbers)) if len(numbers) == 3 and numbers[2] else None


def attribute(value: Value, key: str) -> Value:
    """What a state sets as the attribute ``key`` of an object; ``None`` unless it does so once."""
    pairs = [pair for state in value.states for pair in attribute_pairs(state) or ()] if isinstance(value, Call) else []
    found = [item for name, item in pairs if name == key]
    return found[0] if len(found) == 1 else None


def _only(given: Dictionary, *keys: str) -> Value:
    found = [item for name, item in given.pairs if isinstance(name, str) and name in keys]
    return found[0] if len(found) == 1 else None
