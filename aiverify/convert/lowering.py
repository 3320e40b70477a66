"""Tensors that safetensors cannot hold, taken apart into tensors that it can: on request, and never in silence.

Rules it keeps:

1. Nothing is rounded. Every bit of the original can be had back from the parts and the record of the lowering, which
   stands in the receipt and in the metadata of the twin.
2. complex128 and complex32 become pairs of real numbers, a dimension of size 2 more (``torch.view_as_real``). Lazily
   conjugated or negated views get the signs that they stand for (``resolve_conj``, ``resolve_neg``). A sparse tensor
   becomes its index and value tensors, a quantised one its integers (``int_repr``) and, if there is one per channel,
   its scales and zero points. The parts are called after the tensor, with a dot and a word.
3. Without the request, the refusal names the tensor and the option.

Source: ``torch/_utils.py`` (``_rebuild_sparse_tensor``, ``_rebuild_qtensor``) and ``torch/_tensor.py`` of torch 2.13.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from aiverify.convert.plan import Lowered, NotConvertibleError
from aiverify.convert.tensors import View, is_tensor, made_view, read_numbers, read_tensor
from aiverify.formats.dtypes import DTYPES
from aiverify.pickles.graph import Call, CallKind, Global, Value

OPTION = "--lower"

Parts: TypeAlias = Mapping[str, View]
"""What is stored of a tensor: views by the word that follows its name (empty: the name itself)."""

Fact: TypeAlias = str | int | float | bool | list[int] | list[str]

_SPARSE = "torch._utils._rebuild_sparse_tensor"
_QUANTISED = "torch._utils._rebuild_qtensor"
_LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "sparse_coo": ("indices", "values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}
_INTEGERS: Mapping[str, str] = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
_PAIRS: Mapping[str, str] = {"complex32": "float16", "complex128": "float64"}
_SIGNED = frozenset({"float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"})


@dataclass(frozen=True, slots=True)
class Lowering:
    """The parts of a tensor, and the record of how they came about."""

    parts: Parts
    record: Lowered


def is_special(value: Value) -> bool:
    """Whether ``value`` is a sparse or a quantised tensor."""
    return (
        isinstance(value, Call)
        and value.kind is CallKind.REDUCE
        and isinstance(value.callable, Global)
        and value.callable.dotted in (_SPARSE, _QUANTISED)
    )


def lowered_special(value: Value, path: str, *, wanted: bool) -> Lowering:
    """The parts of a sparse or quantised tensor. Raises NotConvertibleError, too if this is not ``wanted``."""
    if not isinstance(value, Call) or not isinstance(value.callable, Global) or not isinstance(value.args, tuple):
        raise NotConvertibleError(path, "a tensor whose arguments are not a tuple")
    if value.states or value.items or value.elements:
        raise NotConvertibleError(path, "the stream changes this tensor after making it")
    sparse = value.callable.dotted == _SPARSE
    if not wanted:
        raise _unwanted(path, "a sparse tensor" if sparse else "a quantised tensor", "its parts")
    return _sparse(value.args, path) if sparse else _quantised(value.args, path)


def lowered_view(view: View, path: str, *, wanted: bool) -> Lowering | None:
    """The parts of a dense tensor that safetensors cannot hold as it is; ``None`` if it can.

    Raises NotConvertibleError if there are no parts, or if this is not ``wanted``.
    """
    lazy = view.conjugated or view.negated
    pairs = _PAIRS.get(view.dtype.torch)
    if not lazy and pairs is None:
        return None
    dtype = view.dtype.torch
    if not wanted:
        what = "a conjugated or negated view, whose bytes are not its values" if lazy else _no_type(dtype)
        raise _unwanted(path, what, "it with the signs resolved" if lazy else "pairs of real numbers")
    if lazy and dtype not in _SIGNED:
        raise NotConvertibleError(path, f"a negated view of torch.{dtype}, whose numbers have no sign bit")
    facts: dict[str, Fact] = {"dtype": dtype, "shape": list(view.size)}
    form = "resolved" if lazy else ""
    if pairs is not None:
        view = replace(
            view,
            offset=2 * view.offset,
            size=(*view.size, 2),
            stride=(*(2 * step for step in view.stride), 1),
            dtype=DTYPES[pairs],
            paired=True,
        )
        form = f"{form} pairs".strip()
    return Lowering({"": view}, Lowered(path, form, {**facts, "parts": [path]}))


def sign_bits(view: View) -> bytes:
    """The bits to flip so that the bytes of a view are its values, of one element (of two, if they are a pair).

    Empty if there are none. Of a conjugate it is the sign of each imaginary part, of a negative every sign.
    """
    if not (view.conjugated or view.negated):
        return b""
    whole = view.paired or view.dtype.torch.startswith("complex")
    width = view.dtype.size if view.paired or not whole else view.dtype.size // 2
    sign = bytes(width - 1) + b"\x80"
    real = sign if view.negated else bytes(width)
    imaginary = sign if view.negated != view.conjugated else bytes(width)
    return real + imaginary if whole else real


def _no_type(dtype: str) -> str:
    return f"safetensors has no type for torch.{dtype}"


def _unwanted(path: str, what: str, instead: str) -> NotConvertibleError:
    return NotConvertibleError(path, f"{what} ({OPTION} would store {instead})", hint=f"Convert it with {OPTION}.")


def _sparse(args: tuple[Value, ...], path: str) -> Lowering:
    layout = _layout(args[0]) if len(args) == 2 else None
    data = args[1] if len(args) == 2 else None
    if layout is None or not isinstance(data, tuple):
        raise NotConvertibleError(path, "a sparse tensor with arguments that torch does not write")
    words = _LAYOUTS[layout]
    shape = data[len(words)] if len(data) > len(words) else None
    facts: dict[str, Fact] = {"shape": list(read_numbers(shape, "shape", path))}
    rest = data[len(words) + 1 :]
    if layout == "sparse_coo" and len(rest) == 1 and type(rest[0]) is bool:
        facts["is_coalesced"] = rest[0]
    elif rest:
        raise NotConvertibleError(path, "a sparse tensor with parts that torch does not write")
    parts = {word: _part(part, f"{path}.{word}") for word, part in zip(words, data, strict=False)}
    facts["dtype"] = parts["values"].dtype.torch
    return Lowering(parts, Lowered(path, layout, {**facts, "parts": [f"{path}.{word}" for word in words]}))


def _layout(value: Value) -> str | None:
    """The name of a layout, from the call by which torch writes it."""
    if isinstance(value, Call) and isinstance(value.callable, Global) and isinstance(value.args, tuple):
        named = value.args[0] if value.callable.dotted == "torch.serialization._get_layout" and value.args else None
    else:
        named = value.dotted if isinstance(value, Global) else None
    name = named.removeprefix("torch.") if isinstance(named, str) else ""
    return name if name in _LAYOUTS else None


def _part(value: Value, path: str) -> View:
    """A part that is a plain tensor, and one that safetensors can hold."""
    if not is_tensor(value):
        raise NotConvertibleError(path, "a part of a tensor that is no plain tensor")
    node = read_tensor(value, path)
    if node.attributes or lowered_view(node.view, path, wanted=True) is not None:
        raise NotConvertibleError(path, "a part of a tensor that is itself more than its bytes")
    return node.view


def _quantised(args: tuple[Value, ...], path: str) -> Lowering:
    if len(args) != 7 or not isinstance(args[4], tuple) or not args[4]:
        raise NotConvertibleError(path, "a quantised tensor with arguments that torch does not write")
    view = made_view(args[:4], args[5], args[6], path)
    integers = _INTEGERS.get(view.dtype.torch)
    if integers is None:
        raise NotConvertibleError(path, f"a tensor of torch.{view.dtype.torch}, whose integers are packed")
    scheme, *parameters = args[4]
    name = scheme.name if isinstance(scheme, Global) and scheme.module == "torch" else ""
    facts: dict[str, Fact] = {"dtype": view.dtype.torch, "shape": list(view.size)}
    parts = {"int_repr": replace(view, dtype=DTYPES[integers])}
    if name == "per_tensor_affine" and len(parameters) == 2:
        scale, zero = parameters
        if type(scale) is not float or not math.isfinite(scale) or type(zero) is not int:
            raise NotConvertibleError(path, "a quantised tensor without a scale and a zero point")
        facts |= {"scale": scale, "zero_point": zero}
    elif name in ("per_channel_affine", "per_channel_affine_float_qparams") and len(parameters) == 3:
        scales, zeros, axis = parameters
        if type(axis) is not int or not 0 <= axis < len(view.size):
            raise NotConvertibleError(path, "a quantised tensor whose axis is none of its own")
        facts["axis"] = axis
        parts |= {"scales": _part(scales, f"{path}.scales"), "zero_points": _part(zeros, f"{path}.zero_points")}
    else:
        raise NotConvertibleError(path, "a quantised tensor of an unknown scheme")
    return Lowering(parts, Lowered(path, name, {**facts, "parts": [f"{path}.{word}" for word in parts]}))
