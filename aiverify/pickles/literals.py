"""Which nodes are plain: literals, and containers of literals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiverify.pickles.graph import Blob, Call, CallKind, Dictionary, Global, SetNode, Value

_MAX_ATTRIBUTES = 1000
_LARGEST = 1 << (1 << 16)
_LONGEST = 1 << 63
MAX_DIMENSIONS = 64
_HASHING = 1 << 26  # elements that a loader hashes for the keys of one graph: about a second of its time
_DEEPEST_KEY = 100
_CALLS = frozenset((CallKind.REDUCE, CallKind.INST, CallKind.OBJ))
_CODECS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")


def is_int(value: Value) -> bool:
    """Whether ``value`` is an integer, no bool, and none so long that a library computes with it for minutes."""
    return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def is_sizes(value: Value) -> bool:
    """Whether ``value`` is a tuple of sizes, no longer than an array has dimensions."""
    return isinstance(value, tuple) and len(value) <= MAX_DIMENSIONS and all(map(is_size, value))


def is_size(value: Value) -> bool:
    """Whether ``value`` is a number of elements: none is negative, nor greater than memory is."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LONGEST


def is_call(value: Value, *names: str) -> bool:
    """Whether ``value`` is a call of one of the globals ``names``, by whichever opcode."""
    return (
        isinstance(value, Call)
        and value.kind in _CALLS
        and isinstance(value.callable, Global)
        and "." not in value.callable.name
        and value.callable.dotted in names
    )


def is_literal(value: Value) -> bool:
    """Whether ``value`` is a number, text, bytes or ``None``."""
    return value is None or isinstance(value, bool | int | float | str) or is_bytes(value)


def is_bytes(value: Value) -> bool:
    """Bytes, written as such or as one of the two calls that protocols below 3 use."""
    if not isinstance(value, Call):
        return isinstance(value, Blob)
    if value.states or value.items or value.elements or not isinstance(value.args, tuple):
        return False
    if is_call(value, "builtins.bytes"):
        return not value.args
    return is_call(value, "_codecs.encode") and is_encoding(value.args)


def is_encoding(args: tuple[Value, ...]) -> bool:
    """Whether ``args`` are text and one of the codecs that picklers use."""
    return len(args) == 2 and isinstance(args[0], str) and isinstance(args[1], str) and args[1] in _CODECS


def is_special(name: str) -> bool:
    """Whether ``name`` is one that the interpreter and libraries look for on objects."""
    return name.startswith("__") and name.endswith("__")


def attribute_pairs(state: Value) -> Sequence[tuple[Value, Value]] | None:
    """The attributes that a BUILD with ``state`` sets; ``None`` when the state is no dict."""
    if isinstance(state, Dictionary):
        return state.pairs
    if isinstance(state, Call) and is_call(state, "collections.OrderedDict") and not (state.states or state.args):
        return state.items
    return () if state is None else None


def attributes(state: Value, allowed: frozenset[str] | None = None) -> str | None:
    """What is wrong with a state that becomes attributes: it is a dict of plain names, none of them special.

    ``allowed`` limits the names further.
    """
    pairs = attribute_pairs(state)
    if pairs is None:
        return "a state that is not a dict"
    if len(pairs) > _MAX_ATTRIBUTES:
        return f"a state of {len(pairs)} attributes"
    for key, _ in pairs:
        if not isinstance(key, str) or is_special(key):
            return "a state with special attribute names"
        if allowed is not None and key not in allowed:
            return f"the state key {key[:80]!r}"
    return None


class Plain:
    """Tells whether a value is a literal or a container of literals, at any depth.

    What was walked once is remembered, so that all questions about one graph together cost no more than its size.
    """

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def __call__(self, value: Value) -> bool:
        """Whether ``value`` is plain. Iterative; cycles are allowed."""
        walked: list[int] = []
        pending = [value]
        plain = True
        while pending and plain:
            item = pending.pop()
            inner = _contents(item)
            if inner is None:
                plain = is_literal(item)
                continue
            known = self._known.get(id(item))
            if known is None:
                self._known[id(item)] = True
                walked.append(id(item))
                pending += inner
            else:
                plain = known
        if not plain:
            self._known.update(dict.fromkeys(walked, False))
        return plain


class Hashing:
    """Tells whether a loader hashes keys within reasonable time: the hash of a tuple is computed anew each time."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._spent = 0

    def __call__(self, keys: Iterable[Value]) -> bool:
        """Whether ``keys``, and all that were asked about before, are."""
        for key in keys:
            if isinstance(key, tuple):
                self._spent += self._weight(key, _DEEPEST_KEY)
        return self._spent <= _HASHING

    def _weight(self, key: tuple[Value, ...], depth: int) -> int:
        """How many elements a hash of ``key`` visits; as if very many when it lies too deep."""
        if not depth:
            return _HASHING + 1
        known = self._known.get(id(key))
        if known is None:
            inner = sum(self._weight(item, depth - 1) if isinstance(item, tuple) else 1 for item in key)
            known = self._known[id(key)] = min(inner + 1, _HASHING + 1)
        return known


def _contents(value: Value) -> list[Value] | None:
    if isinstance(value, tuple | list):
        return list(value)
    if isinstance(value, SetNode):
        return value.members
    if isinstance(value, Dictionary):
        return [part for pair in value.pairs for part in pair]
    return None
