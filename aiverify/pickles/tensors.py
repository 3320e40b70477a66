"""What the arguments of torch's rebuild functions must look like.

Source: torch/_utils.py, torch/_tensor.py and torch/serialization.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from aiverify.pickles.graph import Call, Dictionary, Global, Persistent, Value
from aiverify.pickles.literals import MAX_DIMENSIONS, attribute_pairs, attributes, is_call, is_int, is_sizes
from aiverify.pickles.signatures import group_of, is_empty

Rule: TypeAlias = "Callable[[Sequence[Value]], str | None]"

_MAX_METADATA = 64
# What setting an attribute of a tensor reaches below Python, or makes autograd call. Source: torch/csrc/autograd,
# python_variable.cpp; torch/_utils.py, _set_obj_state
_RESERVED = frozenset(
    (
        *("data", "grad", "_grad", "grad_fn", "_grad_fn", "real", "imag", "requires_grad", "_base", "_cdata"),
        *("_backward_hooks", "_post_accumulate_grad_hooks"),
    )
)


def _tensor_v1(args: Sequence[Value]) -> str | None:
    if len(args) == 4 and _is_storage(args[0]) and is_int(args[1]) and all(map(_is_torch_sizes, args[2:])):
        return None
    return "something else than a storage, an offset, sizes and strides"


def _is_storage(value: Value) -> bool:
    """What the container supplies, or what a plain pickle loads from bytes of its own."""
    return isinstance(value, Persistent) or group_of(value) == "storage"


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
    return None if args[1] is None or (not isinstance(args[1], bool) and is_empty(args[1])) else "backward hooks"


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
    if len(args) != 3 or group_of(args[0]) != "tensor":
        return "something else than a tensor, a flag and hooks"
    return _flags_and_hooks(args[1:])


def _parameter_with_state(args: Sequence[Value]) -> str | None:
    if len(args) != 4:
        return f"{len(args)} arguments"
    return _parameter(args[:3]) or _tensor_state(args[3])


def _tensor_state(state: Value) -> str | None:
    """Attributes that somebody gave to a tensor; each is set with ``setattr``."""
    if complaint := attributes(state):
        return complaint
    if len(attribute_pairs(state) or ()) > _MAX_METADATA:
        return "more attributes than tensors have"
    taken = next((key for key, _ in attribute_pairs(state) or () if key in _RESERVED), None)
    return f"the state key {taken!r}" if taken is not None else None


def _quantised(args: Sequence[Value]) -> str | None:
    if len(args) != 7:
        return f"{len(args)} arguments"
    if not _is_quantiser(args[4]):
        return "something else than a scheme, scales and zero points"
    return _tensor_v1(args[:4]) or _flags_and_hooks(args[5:])


def _is_quantiser(value: Value) -> bool:
    if not isinstance(value, tuple) or not isinstance(value[:1][0] if value else None, Global):
        return False
    scheme, *rest = value
    assert isinstance(scheme, Global)  # noqa: S101 - the line above, for the type checker
    if scheme.dotted == "torch.per_tensor_affine":
        return len(rest) == 2 and isinstance(rest[0], float | int) and is_int(rest[1])
    if scheme.dotted not in ("torch.per_channel_affine", "torch.per_channel_affine_float_qparams"):
        return False
    return len(rest) == 3 and all(map(_is_scales, rest[:2])) and is_int(rest[2])


def _is_scales(value: Value) -> bool:
    return isinstance(value, list) or group_of(value) == "tensor"


def _sparse(args: Sequence[Value]) -> str | None:
    """A layout and the tuple of its parts: index tensors, values, sizes, and whether indices are unique."""
    ok = (
        len(args) == 2
        and group_of(args[0]) == "layout"
        and isinstance(args[1], tuple)
        and 3 <= len(args[1]) <= 4
        and all(isinstance(part, bool) or _is_torch_sizes(part) or group_of(part) == "tensor" for part in args[1])
    )
    return None if ok else "something else than a layout, tensors and sizes"


def _meta(args: Sequence[Value]) -> str | None:
    ok = len(args) == 4 and isinstance(args[0], Global) and all(map(_is_torch_sizes, args[1:3]))
    return None if ok and isinstance(args[3], bool) else "something else than an element type, sizes and strides"


# The functions that _rebuild_from_type_v2 may be asked to call, and how each is judged.
_REBUILDERS: Mapping[str, Rule] = {
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
}


def _from_type(args: Sequence[Value]) -> str | None:
    if len(args) != 4 or not isinstance(args[0], Global) or not isinstance(args[2], tuple):
        return "something else than a function, a type, arguments and state"
    inner = None if "." in args[0].name else _REBUILDERS.get(args[0].dotted)
    if inner is None:
        return f"a call of {args[0].dotted}"
    if not (isinstance(args[1], Global) and args[1].dotted in ("torch.Tensor", "torch.nn.parameter.Parameter")):
        return "an unusual tensor type"
    return inner(args[2]) or _tensor_state(args[3])


def _size(args: Sequence[Value]) -> str | None:
    sizes = args[0] if len(args) == 1 else None
    ok = isinstance(sizes, tuple | list) and len(sizes) <= MAX_DIMENSIONS and is_sizes(tuple(sizes))
    return None if ok else "something else than integers"


def _device(args: Sequence[Value]) -> str | None:
    ok = 1 <= len(args) <= 2 and isinstance(args[0], str) and all(map(is_int, args[1:]))
    return None if ok else "something else than the name of a device"


def _is_torch_sizes(value: Value) -> bool:
    if isinstance(value, Call) and is_call(value, "torch.Size"):
        return isinstance(value.args, tuple) and len(value.args) == 1 and _size(value.args) is None
    return is_sizes(value)


TENSOR_RULES: Mapping[str, Rule] = {
    "tensor_v1": _tensor_v1,
    "tensor_v2": _tensor_v2,
    "tensor_v3": _tensor_v3,
    "parameter": _parameter,
    "parameter_with_state": _parameter_with_state,
    "quantised": _quantised,
    "sparse": _sparse,
    "meta": _meta,
    "from_type": _from_type,
    "size": _size,
    "device": _device,
}
