"""What the arguments and the state of trusted calls must look like.

A rule takes the machine's nodes and says what is wrong with them, or ``None``. Rules accept what the real libraries
write and nothing else: an argument that a library never writes is how a harmless function becomes a tool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from aiverify.pickles.arrays import MAX_DIMENSIONS, Arrays, check_dtype, check_reconstruct, is_sizes
from aiverify.pickles.graph import Call, Dictionary, Global, Persistent, Value
from aiverify.pickles.literals import Plain, is_bytes, is_call, is_encoding, is_int

Rule: TypeAlias = "Callable[[Sequence[Value]], str | None]"

_MAX_METADATA = 64
_MAX_ATTRIBUTES = 1000


class Checker:
    """Checks the calls of one graph, in time linear in its size: what calls share is looked at once."""

    def __init__(self) -> None:
        self._plain = Plain()
        self._arrays = Arrays(self._plain)
        self._states: dict[tuple[str, int], str | None] = {}
        self._rules: Mapping[str, Rule] = {
            **ARGUMENT_RULES,
            "plain": self._only_plain,
            "frombuffer": self._arrays.frombuffer,
            "scalar": self._arrays.scalar,
        }

    def arguments(self, rule: str, call: Call) -> str | None:
        """What is wrong with the arguments of ``call`` under ``rule``; ``None`` when nothing is."""
        if call.kwargs is not None and not (isinstance(call.kwargs, Dictionary) and not call.kwargs.pairs):
            return "keyword arguments"
        if not isinstance(call.args, tuple):
            return "arguments that are computed"
        return self._rules[rule](call.args)

    def states(self, rule: str, keys: frozenset[str], call: Call) -> str | None:
        """What is wrong with the BUILD states of ``call`` under ``rule``; ``None`` when nothing is."""
        if rule == "dtype":
            return self._arrays.dtype_state(call)
        for state in call.states:
            if (rule, id(state)) not in self._states:
                self._states[rule, id(state)] = self._state(rule, keys, state)
            if complaint := self._states[rule, id(state)]:
                return complaint
        return None

    def _state(self, rule: str, keys: frozenset[str], state: Value) -> str | None:
        if rule == "ndarray":
            return self._arrays.array_state(state)
        return _attributes(state, keys if rule == "keys" else None)

    def _only_plain(self, args: Sequence[Value]) -> str | None:
        return None if self._plain(tuple(args)) else "an argument that is not a plain value"


def _is_torch_sizes(value: Value) -> bool:
    if isinstance(value, Call) and is_call(value, "torch.Size"):
        return isinstance(value.args, tuple) and len(value.args) == 1 and is_sizes(value.args[0])
    return is_sizes(value)


def _is_empty_dict(value: Value) -> bool:
    if isinstance(value, Dictionary):
        return not value.pairs
    return (
        isinstance(value, Call)
        and is_call(value, "collections.OrderedDict")
        and value.args in ((), ([],))
        and not (value.items or value.elements or value.states)
    )


def _is_tensor(value: Value) -> bool:
    return is_call(
        value,
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._tensor._rebuild_from_type_v2",
    )


def _none(args: Sequence[Value]) -> str | None:
    return "arguments where there should be none" if args else None


def _bytearray(args: Sequence[Value]) -> str | None:
    """Bytes, or as Python 2 writes them text and a codec; a number would be a size to allocate."""
    return None if not args or (len(args) == 1 and is_bytes(args[0])) or is_encoding(tuple(args)) else "no bytes"


def _pairs(args: Sequence[Value]) -> str | None:
    return None if not args or (len(args) == 1 and isinstance(args[0], list | Dictionary)) else "unexpected arguments"


def _factory(args: Sequence[Value]) -> str | None:
    if not args or args[0] is None:
        return None
    allowed = {f"builtins.{name}" for name in ("list", "dict", "int", "float", "str", "bool", "set", "tuple")}
    allowed.add("collections.OrderedDict")
    if isinstance(args[0], Global) and args[0].dotted in allowed:
        return None
    return "a factory that is not the type of an empty value"


def _text(args: Sequence[Value]) -> str | None:
    return None if len(args) == 1 and isinstance(args[0], str) else "an argument that is not text"


def _codec(args: Sequence[Value]) -> str | None:
    return None if is_encoding(tuple(args)) else "something else than text and one of the codecs that picklers use"


def _tensor_v1(args: Sequence[Value]) -> str | None:
    if len(args) == 4 and isinstance(args[0], Persistent) and is_int(args[1]) and all(map(_is_torch_sizes, args[2:])):
        return None
    return "something else than a storage, an offset, sizes and strides"


def _tensor_v2(args: Sequence[Value]) -> str | None:
    if not 6 <= len(args) <= 7:
        return f"{len(args)} arguments"
    return _tensor_v1(args[:4]) or _flags_and_hooks(args[4:6]) or _metadata(args[6:])


def _tensor_v3(args: Sequence[Value]) -> str | None:
    if not 7 <= len(args) <= 8:
        return f"{len(args)} arguments"
    if not isinstance(args[6], Global):
        return "an element type that is computed"
    return _tensor_v1(args[:4]) or _flags_and_hooks(args[4:6]) or _metadata(args[7:])


def _flags_and_hooks(args: Sequence[Value]) -> str | None:
    if not isinstance(args[0], bool | int):
        return "a flag that is not one"
    return None if args[1] is None or _is_empty_dict(args[1]) else "backward hooks"


def _metadata(args: Sequence[Value]) -> str | None:
    return None if all(arg is None or _is_metadata(arg) for arg in args) else "metadata that is not plain"


def _is_metadata(value: Value) -> bool:
    """The flags of a tensor: a small dict of names and truth values. Source: torch/_tensor.py, get_tensor_metadata."""
    return (
        isinstance(value, Dictionary)
        and len(value.pairs) <= _MAX_METADATA
        and all(isinstance(key, str) and isinstance(item, bool | int) for key, item in value.pairs)
    )


def _parameter(args: Sequence[Value]) -> str | None:
    if len(args) != 3 or not _is_tensor(args[0]):
        return "something else than a tensor, a flag and hooks"
    return _flags_and_hooks(args[1:])


def _parameter_with_state(args: Sequence[Value]) -> str | None:
    if len(args) != 4:
        return f"{len(args)} arguments"
    return _parameter(args[:3]) or _attributes(args[3], None)


def _from_type(args: Sequence[Value]) -> str | None:
    if len(args) != 4 or not isinstance(args[0], Global) or not isinstance(args[2], tuple):
        return "something else than a function, a type, arguments and state"
    inner = {
        "torch._utils._rebuild_tensor_v2": _tensor_v2,
        "torch._utils._rebuild_tensor_v3": _tensor_v3,
        "torch._utils._rebuild_parameter": _parameter,
    }.get(args[0].dotted)
    if inner is None:
        return f"a call of {args[0].dotted}"
    if not (isinstance(args[1], Global) and args[1].dotted in ("torch.Tensor", "torch.nn.parameter.Parameter")):
        return "an unusual tensor type"
    return inner(args[2]) or _attributes(args[3], None)


def _size(args: Sequence[Value]) -> str | None:
    sizes = args[0] if len(args) == 1 else None
    ok = isinstance(sizes, tuple | list) and len(sizes) <= MAX_DIMENSIONS and all(map(is_int, sizes))
    return None if ok else "something else than integers"


def _device(args: Sequence[Value]) -> str | None:
    ok = 1 <= len(args) <= 2 and isinstance(args[0], str) and all(map(is_int, args[1:]))
    return None if ok else "something else than the name of a device"


def _attributes(state: Value, allowed: frozenset[str] | None) -> str | None:
    """State that becomes attributes: a dict with plain names, none of them special; ``allowed`` limits them further."""
    pairs: Sequence[tuple[Value, Value]]
    if isinstance(state, Dictionary):
        pairs = state.pairs
    elif isinstance(state, Call) and is_call(state, "collections.OrderedDict") and not (state.states or state.args):
        pairs = state.items
    elif state is None:
        return None
    else:
        return "a state that is not a dict"
    if len(pairs) > _MAX_ATTRIBUTES:
        return f"a state of {len(pairs)} attributes"
    for key, _ in pairs:
        if not isinstance(key, str) or (key.startswith("__") and key.endswith("__")):
            return "a state with special attribute names"
        if allowed is not None and key not in allowed:
            return f"the state key {key[:80]!r}"
    return None


ARGUMENT_RULES: Mapping[str, Rule] = {
    "none": _none,
    "pairs": _pairs,
    "factory": _factory,
    "text": _text,
    "codec": _codec,
    "bytearray": _bytearray,
    "tensor_v1": _tensor_v1,
    "tensor_v2": _tensor_v2,
    "tensor_v3": _tensor_v3,
    "parameter": _parameter,
    "parameter_with_state": _parameter_with_state,
    "from_type": _from_type,
    "size": _size,
    "device": _device,
    "ndarray": check_reconstruct,
    "dtype": check_dtype,
}
