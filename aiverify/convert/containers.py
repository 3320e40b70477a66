"""The dicts of a checkpoint: plain ones and ``collections.OrderedDict``, as their pairs in order.

Rules it keeps:

1. What a reader of the pickle would see is what is read here. A list of pairs that an OrderedDict was made from must be
   older than the OrderedDict: what is appended to it later is not in the dict.
2. Attributes that the stream sets on a dict (torch keeps module versions in ``_metadata``) are read apart from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiverify.convert.plan import NotConvertibleError
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global, Value

_ORDERED = "collections.OrderedDict"


@dataclass(frozen=True, slots=True)
class MappingNode:
    """The pairs of a dict in the order in which they are set, and the attributes that the stream sets on it."""

    pairs: Sequence[tuple[Value, Value]]
    attributes: Sequence[tuple[str, Value]] = ()


def is_mapping(value: Value) -> bool:
    """Whether ``value`` is a dict or an OrderedDict."""
    return isinstance(value, Dictionary) or (
        isinstance(value, Call)
        and value.kind is CallKind.REDUCE
        and isinstance(value.callable, Global)
        and value.callable.dotted == _ORDERED
    )


def read_mapping(value: Value, path: str) -> MappingNode | None:
    """The dict that ``value`` describes, or ``None`` if it is something else.

    Raises NotConvertibleError with ``path`` for an OrderedDict that is made in a way that Python does not write.
    """
    if isinstance(value, Dictionary):
        return MappingNode(value.pairs)
    if not isinstance(value, Call) or not is_mapping(value):
        return None
    if value.elements:
        raise NotConvertibleError(path, "a dict to which values without keys are added")
    attributes = [pair for state in value.states for pair in attributes_of(state, path)]
    return MappingNode([*_initial(value, path), *value.items], attributes)


def attributes_of(state: Value, path: str) -> list[tuple[str, Value]]:
    """The attributes that a state sets: ``None``, a dict, or the pair of a dict and the slots, as BUILD reads it."""
    parts = state if isinstance(state, tuple) else (state,)
    if len(parts) > 2:
        raise NotConvertibleError(path, "an object whose state is not a dict")
    found: list[tuple[str, Value]] = []
    for part in parts:
        if part is None:
            continue
        if not isinstance(part, Dictionary):
            raise NotConvertibleError(path, "an object whose state is not a dict")
        for key, value in part.pairs:
            if not isinstance(key, str):
                raise NotConvertibleError(path, "an attribute whose name is not text")
            found.append((key, value))
    return found


def _initial(call: Call, path: str) -> list[tuple[Value, Value]]:
    """The pairs that an OrderedDict is made from: none, or a list of them, as Python 2 writes it."""
    args = call.args
    if args == ():
        return []
    if not isinstance(args, tuple) or len(args) != 1 or not isinstance(args[0], list):
        raise NotConvertibleError(path, "an OrderedDict made from something else than a list of pairs")
    found: list[tuple[Value, Value]] = []
    for pair in args[0]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise NotConvertibleError(path, "an OrderedDict made from something else than pairs")
        key, value = pair
        if isinstance(value, Call) and value.offset > call.offset:
            raise NotConvertibleError(path, "an OrderedDict made from a list that grows afterwards")
        found.append((key, value))
    return found
