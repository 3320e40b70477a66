"""What the arguments and the state of trusted calls must look like.

A rule takes the machine's nodes and says what is wrong with them, or ``None``. Rules accept what the real libraries
write and nothing else: an argument that a library never writes is how a harmless function becomes a tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from aiverify.pickles.graph import Blob, Call, CallKind, Dictionary, Global, Persistent, SetNode, Value

Rule: TypeAlias = "Callable[[Sequence[Value]], str | None]"

_CODECS = frozenset(("latin1", "latin-1", "ascii", "utf-8", "utf8"))
_DTYPE_CODE = re.compile(r"[<>|=]?[?bBhHiIlLqQpPefdgFDGSUVOmMuca][0-9]{0,9}")
_MAX_DIMENSIONS = 64


def check_arguments(rule: str, call: Call) -> str | None:
    """What is wrong with the arguments of ``call`` under ``rule``; ``None`` when nothing is."""
    if call.kwargs is not None and not (isinstance(call.kwargs, Dictionary) and not call.kwargs.pairs):
        return "keyword arguments"
    if not isinstance(call.args, tuple):
        return "arguments that are computed"
    return ARGUMENT_RULES[rule](call.args)


def check_state(rule: str, keys: frozenset[str], state: Value) -> str | None:
    """What is wrong with a BUILD ``state`` under ``rule``; ``None`` when nothing is."""
    if rule == "keys":
        return _attributes(state, keys)
    return STATE_RULES[rule](state)


def _plain(value: Value) -> bool:
    """Whether ``value`` is a literal, or a container of literals, at most four levels deep."""
    return _plain_to(value, 4)


def _plain_to(value: Value, depth: int) -> bool:
    if value is None or isinstance(value, bool | int | float | str | Blob):
        return True
    if depth == 0:
        return False
    if isinstance(value, tuple | list):
        return all(_plain_to(item, depth - 1) for item in value)
    if isinstance(value, SetNode):
        return all(_plain_to(item, depth - 1) for item in value.members)
    if isinstance(value, Dictionary):
        return all(_plain_to(key, depth - 1) and _plain_to(item, depth - 1) for key, item in value.pairs)
    return _is_bytes(value)


def _is_int(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_bytes(value: Value) -> bool:
    """Bytes, written as such or as the call to ``_codecs.encode`` that protocols below 3 use."""
    return isinstance(value, Blob) or (
        isinstance(value, Call) and is_call(value, "_codecs.encode") and check_arguments("codec", value) is None
    )


def is_call(value: Value, *names: str) -> bool:
    """Whether ``value`` is a REDUCE of one of the globals ``names``."""
    return (
        isinstance(value, Call)
        and value.kind is CallKind.REDUCE
        and isinstance(value.callable, Global)
        and value.callable.dotted in names
    )


def _is_sizes(value: Value) -> bool:
    if isinstance(value, Call) and is_call(value, "torch.Size"):
        return isinstance(value.args, tuple) and len(value.args) == 1 and _is_sizes(value.args[0])
    return isinstance(value, tuple) and len(value) <= _MAX_DIMENSIONS and all(_is_int(item) for item in value)


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


def _only_plain(args: Sequence[Value]) -> str | None:
    return None if all(map(_plain, args)) else "an argument that is not a plain value"


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
    if len(args) == 2 and isinstance(args[0], str) and args[1] in tuple(_CODECS):
        return None
    return "something else than text and one of the codecs that picklers use"


def _tensor_v1(args: Sequence[Value]) -> str | None:
    if len(args) == 4 and isinstance(args[0], Persistent) and _is_int(args[1]) and all(map(_is_sizes, args[2:])):
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
    return None if all(arg is None or _plain(arg) for arg in args) else "metadata that is not plain"


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
    return None if isinstance(sizes, tuple | list) and all(map(_is_int, sizes)) else "something else than integers"


def _device(args: Sequence[Value]) -> str | None:
    ok = 1 <= len(args) <= 2 and isinstance(args[0], str) and all(map(_is_int, args[1:]))
    return None if ok else "something else than the name of a device"


def _ndarray(args: Sequence[Value]) -> str | None:
    if len(args) == 3 and isinstance(args[0], Global) and args[0].dotted == "numpy.ndarray" and _is_sizes(args[1]):
        return None if args[2] == "b" or _is_bytes(args[2]) else "an unusual element type"
    return "something else than numpy.ndarray and a shape"


def _frombuffer(args: Sequence[Value]) -> str | None:
    ok = len(args) == 4 and is_call(args[1], "numpy.dtype") and _is_sizes(args[2]) and args[3] in ("C", "F")
    return None if ok else "something else than a buffer, an element type, a shape and an order"


def _dtype(args: Sequence[Value]) -> str | None:
    ok = (
        1 <= len(args) <= 3
        and isinstance(args[0], str)
        and _DTYPE_CODE.fullmatch(args[0])
        and all(isinstance(arg, bool | int) for arg in args[1:])
    )
    return None if ok else "something else than the code of an element type"


def _scalar(args: Sequence[Value]) -> str | None:
    ok = len(args) == 2 and is_call(args[0], "numpy.dtype") and (_is_bytes(args[1]) or isinstance(args[1], str))
    return None if ok else "something else than an element type and bytes"


def _attributes(state: Value, allowed: frozenset[str] | None) -> str | None:
    """State that becomes attributes: a dict with plain names, none of them special; ``allowed`` limits them further."""
    pairs: Sequence[tuple[Value, Value]]
    if isinstance(state, Dictionary):
        pairs = state.pairs
    elif isinstance(state, Call) and is_call(state, "collections.OrderedDict") and not state.states:
        pairs = state.items
    elif state is None:
        return None
    else:
        return "a state that is not a dict"
    for key, _ in pairs:
        if not isinstance(key, str) or (key.startswith("__") and key.endswith("__")):
            return "a state with special attribute names"
        if allowed is not None and key not in allowed:
            return f"the state key {key[:80]!r}"
    return None


def _any_attributes(state: Value) -> str | None:
    return _attributes(state, None)


def _ndarray_state(state: Value) -> str | None:
    ok = (
        isinstance(state, tuple)
        and len(state) in (4, 5)
        and _is_sizes(state[-4])
        and is_call(state[-3], "numpy.dtype")
        and isinstance(state[-2], bool | int)
        and (isinstance(state[-1], str | list) or _is_bytes(state[-1]))
    )
    return None if ok else "a state that numpy does not write"


def _dtype_state(state: Value) -> str | None:
    if not isinstance(state, tuple) or not 5 <= len(state) <= 9 or not isinstance(state[0], int):
        return "a state that numpy does not write"
    return None if all(_plain_dtype_part(part, 4) for part in state) else "a state with parts that are not plain"


def _plain_dtype_part(part: Value, depth: int) -> bool:
    if is_call(part, "numpy.dtype"):
        return True
    if depth and isinstance(part, tuple):
        return all(_plain_dtype_part(item, depth - 1) for item in part)
    if depth and isinstance(part, Dictionary):
        return all(isinstance(key, str) and _plain_dtype_part(item, depth - 1) for key, item in part.pairs)
    return _plain(part)


ARGUMENT_RULES: Mapping[str, Rule] = {
    "none": _none,
    "plain": _only_plain,
    "pairs": _pairs,
    "factory": _factory,
    "text": _text,
    "codec": _codec,
    "tensor_v1": _tensor_v1,
    "tensor_v2": _tensor_v2,
    "tensor_v3": _tensor_v3,
    "parameter": _parameter,
    "parameter_with_state": _parameter_with_state,
    "from_type": _from_type,
    "size": _size,
    "device": _device,
    "ndarray": _ndarray,
    "frombuffer": _frombuffer,
    "dtype": _dtype,
    "scalar": _scalar,
}

STATE_RULES: Mapping[str, Callable[[Value], str | None]] = {
    "attributes": _any_attributes,
    "ndarray": _ndarray_state,
    "dtype": _dtype_state,
}
