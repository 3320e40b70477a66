"""Whole pickled modules: the tensors that ``state_dict()`` of the module would give, read from its recorded state.

Rules it keeps:

1. A module is an object that was made without calling its class and then given one state, a dict with the tables
   ``_parameters``, ``_buffers`` and ``_modules``. What the class is called does not matter: it is never looked up.
2. The tables hold what torch puts there: tensors or ``None`` under names without dots, modules or ``None`` likewise.
3. Buffers in ``_non_persistent_buffers_set`` are no part of it. Hooks that could change what ``state_dict()`` gives are
   refused.

A class that overrides ``state_dict()`` is free to give other tensors. What such a class keeps outside of the tables is
left behind, and listed.

Source: ``torch/nn/modules/module.py`` of torch 2.13 (``__setstate__``, ``_save_to_state_dict``, ``state_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiverify.convert.containers import read_mapping
from aiverify.convert.lowering import is_special
from aiverify.convert.plan import NotConvertibleError
from aiverify.convert.tensors import is_tensor
from aiverify.formats.safetensors import shown
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global, Persistent, SetNode, Value

_TABLES = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks")
_VERSION_HOOK = "torch.nn.utils.spectral_norm.SpectralNormStateDictHook"  # writes a version number, no tensors
_LEFT_OUT = "_non_persistent_buffers_set"


@dataclass(frozen=True, slots=True)
class ModuleNode:
    """One module: its own tensors and the modules in it by name, and every other attribute. ``None`` is left out."""

    tensors: Sequence[tuple[str, Value]]
    modules: Sequence[tuple[str, Value]]
    attributes: Sequence[tuple[str, Value]]


def is_source_id(pid: Value) -> bool:
    """Whether a persistent id is that of a module's class, as the legacy format writes it: class, file, source text."""
    return (
        isinstance(pid, tuple)
        and len(pid) == 4
        and pid[0] == "module"
        and isinstance(pid[1], Global)
        and all(part is None or isinstance(part, str) for part in pid[2:])
    )


def class_of(value: Value) -> str | None:
    """The name of the class of an object that was made without calling it, ``None`` for everything else."""
    if not isinstance(value, Call):
        return None
    made = value.callable
    if value.kind is CallKind.REDUCE and isinstance(made, Global) and made.dotted == "copyreg._reconstructor":
        args = value.args
        plain = isinstance(args, tuple) and len(args) == 3 and args[2] is None and isinstance(args[1], Global)
        made = args[0] if plain and isinstance(args, tuple) and _dotted(args[1]) == "builtins.object" else None
    elif value.kind is not CallKind.NEWOBJ or value.args != ():
        return None
    return _dotted(made)


def is_object(value: Value) -> bool:
    """Whether ``value`` may be a module: an object with a state. ``read_module`` looks at the state."""
    return class_of(value) is not None and isinstance(value, Call) and len(value.states) > 0


def read_module(value: Value, path: str) -> ModuleNode:
    """The module that ``value`` describes. Raises NotConvertibleError with ``path`` if it is none."""
    state = _state(value, path)
    missing = [name for name in _TABLES if name not in state]
    if missing:
        raise NotConvertibleError(path, f"an object that holds tensors and has no {missing[0]}, so it is no module")
    for name in _HOOKS:
        _check_hooks(state.get(name), f"{path}.{name}")
    omitted = _names(state.get(_LEFT_OUT), path)
    buffers = _tensors(state, "_buffers", path)
    return ModuleNode(
        tensors=[*_tensors(state, "_parameters", path), *(pair for pair in buffers if pair[0] not in omitted)],
        modules=_modules(state, path),
        attributes=[
            *(pair for pair in buffers if pair[0] in omitted),
            *(pair for pair in state.items() if pair[0] not in _TABLES),
        ],
    )


def _state(value: Value, path: str) -> Mapping[str, Value]:
    if not isinstance(value, Call) or len(value.states) != 1 or value.items or value.elements:
        raise NotConvertibleError(path, "an object that holds tensors and is not made like a module")
    (state,) = value.states
    if not isinstance(state, Dictionary):
        raise NotConvertibleError(path, "an object that holds tensors and whose state is not a dict")
    return _table(state.pairs, path)


def _table(pairs: Sequence[tuple[Value, Value]], path: str) -> Mapping[str, Value]:
    found: dict[str, Value] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise NotConvertibleError(path, "an attribute whose name is not text")
        if key in found:
            raise NotConvertibleError(path, f"the attribute {shown(key)} is set twice")
        found[key] = value
    return found


def _named(state: Mapping[str, Value], table: str, path: str) -> list[tuple[str, Value]]:
    """The entries of one of the three tables that are not ``None``."""
    mapping = read_mapping(state[table], path)
    if mapping is None or mapping.attributes:
        raise NotConvertibleError(path, f"a module whose {table} is no plain dict")
    entries = _table(mapping.pairs, path).items()
    for name, _ in entries:
        if not name or "." in name:
            raise NotConvertibleError(path, f"{table} holds {shown(name)}, a name that torch does not give")
    return [(name, value) for name, value in entries if value is not None]


def _tensors(state: Mapping[str, Value], table: str, path: str) -> list[tuple[str, Value]]:
    entries = _named(state, table, path)
    for name, value in entries:
        if not is_tensor(value) and not is_special(value):
            raise NotConvertibleError(f"{path}.{name}" if path else name, f"in {table}, and not a plain tensor")
    return entries


def _modules(state: Mapping[str, Value], path: str) -> list[tuple[str, Value]]:
    entries = _named(state, "_modules", path)
    for name, value in entries:
        if class_of(value) is None:
            raise NotConvertibleError(f"{path}.{name}" if path else name, "in _modules, and not a module")
    return entries


def _names(value: Value, path: str) -> frozenset[str]:
    """The names in a set of buffers. torch before 1.6 has no such set."""
    if value is None:
        return frozenset()
    members: Value = None
    if isinstance(value, SetNode):
        members = value.members
    elif isinstance(value, Call) and _dotted(value.callable) == "builtins.set" and isinstance(value.args, tuple):
        plain = value.kind is CallKind.REDUCE and not (value.states or value.items or value.elements)
        members = value.args[0] if plain and len(value.args) == 1 else None
    if not isinstance(members, list):
        raise NotConvertibleError(path, f"a module whose {_LEFT_OUT} is no plain set")
    names = [name for name in members if isinstance(name, str)]
    if len(names) != len(members):
        raise NotConvertibleError(path, f"a module whose {_LEFT_OUT} does not hold names")
    return frozenset(names)


def _check_hooks(value: Value, path: str) -> None:
    if value is None:
        return
    hooks = read_mapping(value, path)
    if hooks is None or not all(class_of(hook) == _VERSION_HOOK for _, hook in hooks.pairs):
        raise NotConvertibleError(path, "hooks that may change what state_dict() gives")


def _dotted(value: Value) -> str | None:
    if isinstance(value, Persistent) and is_source_id(value.pid) and isinstance(value.pid, tuple):
        value = value.pid[1]
    return value.dotted if isinstance(value, Global) else None
