"""Signatures: what the arguments of a trusted call may be, in the words of the trusted table.

A signature is written as its kinds with commas between them: ``int, array, text|none, plain?``. A kind may end in ``?``
(may be missing, with all that follow) or ``*`` (any number of them, the last one). A kind is one of

- ``none bool int float text bytes bytearray list dict tuple``: a literal of that type;
- ``plain``: a literal, or a container of literals; ``sizes``: a tuple of integers; ``texts``: a list of text, and
  ``names`` a list of such lists, neither empty nor very long;
- ``name``: text that is no special name; ``named``: a dict of such names; ``label``: a literal, a tuple of a few
  literals, or an object that may be a key;
- ``method``: the name of a method by which estimators predict;
- ``[KINDS]`` and ``(KINDS)``: a list, and a tuple, of nothing else;
- ``empty``: ``None``, ``False``, or a container that holds nothing;
- ``callable``: a name that may be held as a value;
- ``{a; b:KINDS}``: a dict literal of no other keys than these;
- ``'text'``: exactly this text;
- ``class GROUP``: the name of an entry of that group;
- ``GROUP``: an object that an entry of that group made;
- ``any``: anything but a name that may not be held as a value. What it is made of is judged where it is made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiverify.pickles.graph import Blob, Call, Dictionary, Global, SetNode, Value
from aiverify.pickles.literals import Plain, is_bytes, is_call, is_int, is_sizes, is_special
from aiverify.pickles.making import making
from aiverify.pickles.tables import Use, entry_of

_MAX_LABEL = 64
_MAX_KEYS = 1000
_METHODS = frozenset(("predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "auto"))


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: the kinds that it may be of, and whether it may be missing or be repeated."""

    kinds: str
    optional: bool = False
    repeated: bool = False


@functools.cache
def parameters(signature: str) -> tuple[Parameter, ...]:
    """``signature``, taken apart. Raises ValueError for one that is not written as above."""
    made: list[Parameter] = []
    for part in filter(None, _parts(signature, ",")):
        kinds = part.rstrip("?*")
        parameter = Parameter(kinds, part.endswith("?"), part.endswith("*"))
        late = bool(made) and (made[-1].repeated or (made[-1].optional and not parameter.optional))
        if late or len(part) - len(kinds) > 1 or not all(alternatives(kinds)):
            raise ValueError(f"{signature!r} is not a signature")
        made.append(parameter)
    return tuple(made)


@functools.cache
def alternatives(kinds: str) -> tuple[str, ...]:
    """The kinds that ``kinds`` lists, one in brackets being one."""
    return _parts(kinds, "|")


def _parts(text: str, separator: str) -> tuple[str, ...]:
    """``text``, taken apart at each ``separator`` that is in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "{[(") - (character in "}])")
        if character == separator and not depth:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise ValueError(f"{text!r} is not a signature")
    return tuple(part.strip() for part in parts)


@functools.cache
def keys_of(kind: str) -> Mapping[str, str]:
    """The keys of a dict kind, and the kinds of their values."""
    pairs = (item.partition(":") for item in _parts(kind[1:-1], ";") if item)
    return {key: kinds or "any" for key, _, kinds in pairs}


class Kinds:
    """Tells which kinds a value is of. Questions about one graph together cost no more than its size."""

    def __init__(self, plain: Plain) -> None:
        self._literals: Mapping[str, Callable[[Value], bool]] = {
            **_LITERALS,
            "plain": plain,
        }
        self._known: dict[tuple[int, str], bool] = {}

    def accepts(self, signature: str, args: Sequence[Value]) -> bool:
        """Whether ``args`` are what ``signature`` asks for."""
        wanted = parameters(signature)
        if len(args) > len(wanted) and not (wanted and wanted[-1].repeated):
            return False
        for position, parameter in enumerate(wanted):
            if parameter.repeated:
                return all(self.fits(arg, parameter.kinds) for arg in args[position:])
            if position >= len(args):
                return parameter.optional
            if not self.fits(args[position], parameter.kinds):
                return False
        return True

    def fits(self, value: Value, kinds: str) -> bool:
        """Whether ``value`` is of one of ``kinds``."""
        return any(self._is(value, kind) for kind in alternatives(kinds))

    def _is(self, value: Value, kind: str) -> bool:
        check = self._literals.get(kind)
        if check is not None:
            return check(value)
        if kind.startswith("'"):
            return isinstance(value, str) and value == kind[1:-1]
        if kind.startswith("class "):
            return isinstance(value, Global) and _group(value) == kind.removeprefix("class ")
        if kind not in _CONTAINERS and not kind.startswith(("{", "[", "(")):
            return group_of(value) == kind
        known = self._known.get((id(value), kind))  # what calls share is gone through once
        if known is None:
            known = self._known[id(value), kind] = self._contains(value, kind)
        return known

    def _contains(self, value: Value, kind: str) -> bool:
        if kind in _CONTAINERS:
            return _CONTAINERS[kind](value)
        if kind.startswith("{"):
            return self._holds(value, keys_of(kind))
        wanted = list if kind[0] == "[" else tuple
        return isinstance(value, wanted) and all(self.fits(item, kind[1:-1]) for item in value)

    def _holds(self, value: Value, keys: Mapping[str, str]) -> bool:
        return (
            isinstance(value, Dictionary)
            and len(value.pairs) <= _MAX_KEYS
            and all(isinstance(key, str) and key in keys and self.fits(item, keys[key]) for key, item in value.pairs)
        )


def group_of(value: Value) -> str | None:
    """The group of the entry that made ``value``; ``None`` when no entry did, or it has none."""
    if not isinstance(value, Call):
        return None
    maker = making(value).maker
    return _group(maker) if isinstance(maker, Global) else None


def _group(found: Global) -> str | None:
    entry = entry_of(found)
    return entry.group if entry is not None else None


def is_empty(value: Value) -> bool:
    """Whether ``value`` is ``None``, ``False`` or a container that holds nothing."""
    if isinstance(value, Dictionary):
        return not value.pairs
    if isinstance(value, SetNode):
        return not value.members
    if isinstance(value, Call):
        ordered = is_call(value, "collections.OrderedDict") and value.args in ((), ([],))
        members = is_call(value, "builtins.set") and value.args in ((), ([],))
        return (ordered or members) and not (value.items or value.elements or value.states)
    return value is None or value is False or (isinstance(value, tuple | list) and not value)


def _is_name(value: Value) -> bool:
    return isinstance(value, str) and not is_special(value)


def _is_named(value: Value) -> bool:
    """A dict whose keys are attributes to the object that holds it."""
    if isinstance(value, Dictionary):
        return all(_is_name(key) for key, _ in value.pairs)
    if not isinstance(value, Call) or not is_call(value, "collections.OrderedDict"):
        return False
    given = value.args[0] if isinstance(value.args, tuple) and value.args else ()
    given = [key for key, _ in given.pairs] if isinstance(given, Dictionary) else given
    listed = given if isinstance(given, list) else []
    keys = [pair[0] if isinstance(pair, list | tuple) and pair else pair for pair in listed]
    return all(map(_is_name, (*keys, *(key for key, _ in value.items))))


def _is_label(value: Value) -> bool:
    if isinstance(value, tuple):
        return len(value) <= _MAX_LABEL and all(not isinstance(item, tuple) and _is_label(item) for item in value)
    if isinstance(value, Call):
        maker = making(value).maker
        entry = entry_of(maker) if isinstance(maker, Global) else None
        return entry is not None and Use.HASH in entry.uses
    return value is None or isinstance(value, bool | int | float | str | Blob)


def _is_callable(value: Value) -> bool:
    entry = entry_of(value) if isinstance(value, Global) else None
    return entry is not None and Use.REFERENCE in entry.uses


def _is_texts(value: Value) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _MAX_KEYS and all(isinstance(item, str) for item in value)


def _is_names(value: Value) -> bool:
    inner = {id(item): item for item in value} if isinstance(value, list) else {}
    return isinstance(value, list) and 0 < len(value) <= _MAX_KEYS and all(map(_is_texts, inner.values()))


def _is_bytearray(value: Value) -> bool:
    return (isinstance(value, Blob) and value.mutable) or is_call(value, "builtins.bytearray")


_LITERALS: Mapping[str, Callable[[Value], bool]] = {
    "none": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "int": is_int,
    "float": lambda value: isinstance(value, float),
    "text": lambda value: isinstance(value, str),
    "bytes": is_bytes,
    "bytearray": _is_bytearray,
    "list": lambda value: isinstance(value, list),
    "dict": lambda value: isinstance(value, Dictionary),
    "tuple": lambda value: isinstance(value, tuple),
    "name": _is_name,
    "method": lambda value: isinstance(value, str) and value in _METHODS,
    "label": _is_label,
    "sizes": is_sizes,
    "empty": is_empty,
    "callable": _is_callable,
    "any": lambda value: not isinstance(value, Global) or _is_callable(value),
}
# Kinds of containers that may be large.
_CONTAINERS: Mapping[str, Callable[[Value], bool]] = {"named": _is_named, "texts": _is_texts, "names": _is_names}
KINDS = frozenset((*_LITERALS, *_CONTAINERS, "plain"))
