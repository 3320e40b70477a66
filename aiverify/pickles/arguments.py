"""What the arguments and the state of trusted calls must look like.

A rule takes the machine's nodes and says what is wrong with them, or ``None``. Rules accept what the real libraries
write and nothing else: an argument that a library never writes is how a harmless function becomes a tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiverify.pickles.arrays import Arrays, check_dtype, check_masked, check_reconstruct
from aiverify.pickles.graph import Call, Dictionary, Global, Value
from aiverify.pickles.literals import Hashing, Plain, attribute_pairs, attributes, is_bytes, is_encoding, is_int
from aiverify.pickles.making import making
from aiverify.pickles.patterns import Patterns
from aiverify.pickles.randomness import Randomness
from aiverify.pickles.signatures import Kinds
from aiverify.pickles.tables import Entry
from aiverify.pickles.tensors import TENSOR_RULES, Rule

StateRule = Callable[[Value], "str | None"]

# What a factory of a defaultdict may be: types that make an empty value.
_FACTORIES = frozenset(
    (
        *(f"builtins.{name}" for name in ("list", "dict", "int", "float", "str", "bool", "set", "tuple")),
        *("collections.OrderedDict", "collections.Counter"),
    )
)
_HASHES = "tuples in tuples that a loader hashes for very long, or too deep"
_FRACTION = re.compile(r"-?[0-9]+(?:/[0-9]+)?")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}")


class Checker:
    """Checks the calls of one graph, in time linear in its size: what calls share is looked at once."""

    def __init__(self) -> None:
        plain = Plain()
        self._plain = plain
        self._hashing = Hashing()
        self._arrays = Arrays(plain)
        self._kinds = Kinds(plain)
        self._random = Randomness(self._arrays, self._kinds)
        self._states: dict[tuple[int, int], str | None] = {}
        self._fillings: dict[tuple[int, int], str | None] = {}
        self._hashed: dict[int, bool] = {}
        self._pair_lists: dict[int, bool] = {}
        self._rules: Mapping[str, Rule] = {
            **ARGUMENT_RULES,
            "plain": self._only_plain,
            "members": self._members,
            "pairs": self._pairs,
            "frombuffer": self._arrays.frombuffer,
            "scalar": self._arrays.scalar,
            "pattern": Patterns(),
        }
        self._state_rules: Mapping[str, StateRule] = {
            "ndarray": self._arrays.array_state,
            "masked": self._arrays.masked_state,
            "random": self._random.state,
        }

    def arguments(self, entry: Entry, args: Value, kwargs: Value = None) -> str | None:
        """What is wrong with the arguments of a call of ``entry``; ``None`` when nothing is."""
        if kwargs is not None and not (isinstance(kwargs, Dictionary) and not kwargs.pairs):
            return "keyword arguments"
        if not isinstance(args, tuple):
            return "arguments that are computed"
        rule = entry.arguments
        if rule is None:
            return None  # the use itself is not trusted, and said to be so
        if isinstance(rule, str):
            return self._rules[rule](args)
        if any(self._kinds.accepts(signature, args) for signature in rule):
            return None
        return f"other arguments than ({') or ('.join(rule)})"

    def changes(self, entry: Entry, call: Call) -> str | None:
        """What is wrong with the states and the items that ``call`` is given; ``None`` when nothing is."""
        return self.states(entry, call) or self._items(entry, call)

    def _items(self, entry: Entry, call: Call) -> str | None:
        if entry.items is None:
            return None
        filled = making(call).filled
        if isinstance(filled, Dictionary):
            key = (id(entry), id(filled))
            if key not in self._fillings:
                self._fillings[key] = self._pairs_of(entry.items, filled.pairs)
            if complaint := self._fillings[key]:
                return complaint
        return self._pairs_of(entry.items, call.items)

    def _pairs_of(self, kinds: tuple[str, str], pairs: Iterable[tuple[Value, Value]]) -> str | None:
        keys, values = kinds
        for key, value in pairs:
            if not self._kinds.fits(key, keys):
                return f"a key that is something else than {keys}"
            if not self._kinds.fits(value, values):
                return f"an item that is something else than {values}"
        return None

    def states(self, entry: Entry, call: Call) -> str | None:
        """What is wrong with the BUILD states of ``call``; ``None`` when nothing is."""
        if entry.state is None:
            return None  # the use itself is not trusted, and said to be so
        if entry.state == "dtype":
            return self._arrays.dtype_state(call)
        for state in call.states:
            key = (id(entry), id(state))
            if key not in self._states:
                self._states[key] = self._state(entry, state)
            if complaint := self._states[key]:
                return complaint
        return None

    def _state(self, entry: Entry, state: Value) -> str | None:
        assert entry.state is not None  # noqa: S101 - for the type checker
        if isinstance(entry.state, tuple):
            if any(self._kinds.accepts(signature, _as_tuple(state)) for signature in entry.state):
                return None
            return f"another state than ({') or ('.join(entry.state)})"
        rule = self._state_rules.get(entry.state)
        return rule(state) if rule is not None else self._attributes(entry, state)

    def _attributes(self, entry: Entry, state: Value) -> str | None:
        complaint = attributes(state, entry.keys if entry.state == "keys" else None)
        if complaint is not None or not entry.holds:
            return complaint
        for key, value in attribute_pairs(state) or ():
            kinds = entry.holds.get(key) if isinstance(key, str) else None
            if kinds is not None and not self._kinds.fits(value, kinds):
                return f"the state key {key!r} holding something else than {kinds}"
        return None

    def _only_plain(self, args: Sequence[Value]) -> str | None:
        return None if self._plain(tuple(args)) else "an argument that is not a plain value"

    def _members(self, args: Sequence[Value]) -> str | None:
        """What becomes the members of a set, or the keys of a counter: plain values, which are hashed."""
        if complaint := self._only_plain(args):
            return complaint
        listed = args[0] if args else None
        if isinstance(listed, list | tuple):
            if id(listed) not in self._hashed:
                self._hashed[id(listed)] = self._hashing(listed)
            return None if self._hashed[id(listed)] else _HASHES
        return None

    def _pairs(self, args: Sequence[Value]) -> str | None:
        """Nothing, a dict, or as Python 2 writes it a list of keys and values; its keys are hashed."""
        if not args or (len(args) == 1 and isinstance(args[0], Dictionary)):
            return None
        if len(args) != 1 or not isinstance(args[0], list):
            return "unexpected arguments"
        known = self._pair_lists.get(id(args[0]))
        if known is None:
            known = self._pair_lists[id(args[0])] = all(map(self._is_pair, args[0])) and self._hashing(
                pair[0] for pair in args[0] if isinstance(pair, tuple | list)
            )
        return None if known else "unexpected arguments"

    def _is_pair(self, pair: Value) -> bool:
        return isinstance(pair, tuple | list) and len(pair) == 2 and self._plain(pair[0])


def _as_tuple(state: Value) -> tuple[Value, ...]:
    """A state that is a tuple stands for several arguments, any other for one."""
    return state if isinstance(state, tuple) else (state,)


def _none(args: Sequence[Value]) -> str | None:
    return "arguments where there should be none" if args else None


def _bytearray(args: Sequence[Value]) -> str | None:
    """Bytes, or as Python 2 writes them text and a codec; a number would be a size to allocate."""
    return None if not args or (len(args) == 1 and is_bytes(args[0])) or is_encoding(tuple(args)) else "no bytes"


def _factory(args: Sequence[Value]) -> str | None:
    if len(args) > 1:
        return "unexpected arguments"
    if not args or args[0] is None:
        return None
    if isinstance(args[0], Global) and "." not in args[0].name and args[0].dotted in _FACTORIES:
        return None
    return "a factory that is not the type of an empty value"


def _codec(args: Sequence[Value]) -> str | None:
    return None if is_encoding(tuple(args)) else "something else than text and one of the codecs that picklers use"


def _created(_: Sequence[Value]) -> str | None:
    """Judged as what the function creates (``making.py``); a call that cannot be seen through has arguments left."""
    return "arguments from which it cannot be told what it creates"


def _fraction(args: Sequence[Value]) -> str | None:
    """Two integers, or them as text: a text with an exponent would be a number to compute, of any size."""
    if len(args) == 2 and all(map(is_int, args)):
        return None
    ok = len(args) == 1 and isinstance(args[0], str) and _FRACTION.fullmatch(args[0])
    return None if ok else "something else than two integers"


def _zone(args: Sequence[Value]) -> str | None:
    """The key of a time zone, which becomes a path below the zone data, and whether to use the cache."""
    ok = len(args) == 2 and isinstance(args[0], str) and _ZONE.fullmatch(args[0]) and args[1] in (True, 1)
    return None if ok else "something else than the name of a time zone"


ARGUMENT_RULES: Mapping[str, Rule] = {
    **TENSOR_RULES,
    "none": _none,
    "factory": _factory,
    "codec": _codec,
    "bytearray": _bytearray,
    "created": _created,
    "fraction": _fraction,
    "zone": _zone,
    "ndarray": check_reconstruct,
    "masked": check_masked,
    "dtype": check_dtype,
}
