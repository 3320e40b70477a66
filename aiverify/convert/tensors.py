"""Tensors as a pickle describes them: from calls of torch's rebuild functions to plain views on storages.

Rules it keeps:

1. Only calls that torch itself writes are understood, with exactly the arguments that torch gives them. Anything else
   that would give a tensor is refused by name.
2. Tensors with hooks, and tensors that the stream changes afterwards are refused. Of lazily conjugated or negated
   tensors it is said that they are.
3. ``True`` is not a number, a list is not a tuple, and no number is negative or beyond 63 bits.

Source: ``torch/_utils.py``, ``torch/_tensor.py`` and ``torch/serialization.py`` of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aiverify.convert.containers import attributes_of, read_mapping
from aiverify.convert.plan import NotConvertibleError
from aiverify.formats.described import stood_for
from aiverify.formats.dtypes import DTYPES, STORAGES, Dtype
from aiverify.formats.safetensors import shown
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global, Persistent, Value

MAX_DIMENSIONS = 64

_BEYOND = 1 << 63
_VIEWS = frozenset(
    {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
)
_PARAMETERS: Mapping[str, int] = {
    "torch._utils._rebuild_parameter": 3,
    "torch._utils._rebuild_parameter_with_state": 4,
}
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_TENSOR_TYPES = frozenset(
    {"torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}
)
_UNTYPED = frozenset({"torch.storage.UntypedStorage", "torch.UntypedStorage"})
_TENSOR_FUNCTIONS = _VIEWS | _PARAMETERS.keys() | {_FROM_TYPE}
_BUFFER_FLAGS = frozenset({"persistent", "_is_buffer"})
_LOADED = frozenset({"data", "real", "imag", "grad"})  # setting one of these changes the tensor itself
_WRAPPERS = 4  # a buffer in a parameter in …: torch nests two


@dataclass(frozen=True, slots=True)
class StorageId:
    """A storage as a persistent id names it. ``dtype`` is ``None`` for an untyped one: ``numel`` then counts bytes."""

    key: str
    dtype: Dtype | None
    numel: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.numel * (self.dtype.size if self.dtype else 1)


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: ``size`` and ``stride`` per dimension and ``offset``, in elements of ``dtype`` within ``storage``.

    The values of a ``conjugated`` or ``negated`` view are not its bytes. A ``paired`` one is of complex numbers, taken
    as pairs of real ones.
    """

    storage: StorageId
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: Dtype
    conjugated: bool = False
    negated: bool = False
    paired: bool = False

    @property
    def numel(self) -> int:
        """The number of elements."""
        product = 1
        for size in self.size:
            product *= size
        return product


@dataclass(frozen=True, slots=True)
class TensorNode:
    """A view, and the Python attributes that the stream sets on the tensor: names and values."""

    view: View
    attributes: tuple[tuple[str, Value], ...] = ()


def is_tensor(value: Value) -> bool:
    """Whether ``value`` is a call of one of the functions by which torch rebuilds a dense tensor, or stands for one."""
    value = stood_for(value)
    return (
        isinstance(value, Call)
        and value.kind is CallKind.REDUCE
        and isinstance(value.callable, Global)
        and value.callable.dotted in _TENSOR_FUNCTIONS
    )


def unwrapped(value: Value, path: str) -> tuple[Value, tuple[tuple[str, Value], ...]]:
    """The tensor in a parameter, or ``value`` itself, and the attributes that are set on the parameter."""
    attributes: list[tuple[str, Value]] = []
    for _ in range(_WRAPPERS):
        value = stood_for(value)
        if not isinstance(value, Call) or not is_tensor(value) or _name(value.callable) not in _PARAMETERS:
            return value, tuple(attributes)
        function, args = _call(value, path)
        if len(args) != _PARAMETERS[function] or type(args[1]) is not bool:
            raise NotConvertibleError(path, f"{function} with arguments that torch does not write")
        _no_hooks(args[2], path)
        attributes += _attributes(args[3], path) if len(args) > 3 else ()
        value = args[0]
    raise NotConvertibleError(path, "a parameter in a parameter, deeper than torch nests them")


def read_tensor(value: Value, path: str) -> TensorNode:
    """The tensor that ``value`` describes. Raises NotConvertibleError with ``path`` if it is not a plain one."""
    inner, attributes = unwrapped(value, path)
    function, args = _call(inner, path)
    if function == _FROM_TYPE:
        function, args, state = _from_type(args, path)
        attributes = (*attributes, *_attributes(state, path))
    return TensorNode(_view(function, args, path), attributes)


def read_storage(persistent: Persistent, path: str) -> StorageId:
    """The storage that a persistent id names. Raises NotConvertibleError if it names anything else."""
    pid = persistent.pid
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise NotConvertibleError(path, "a persistent id that does not name a storage")
    kind, key, location, numel = pid[1:5]
    if len(pid) == 6 and pid[5] is not None:
        raise NotConvertibleError(path, "a view of a storage, as torch before 0.4 wrote them")
    if not isinstance(key, str) or not isinstance(location, str):
        raise NotConvertibleError(path, "a storage whose key or device is not text")
    if not isinstance(kind, Global):
        raise NotConvertibleError(path, "a storage without a type")
    if kind.dotted in _UNTYPED:
        return StorageId(key, None, _number(numel, "number of bytes in a storage", path))
    if kind.module != "torch" or kind.name not in STORAGES:
        raise NotConvertibleError(path, f"a storage of unknown type {shown(kind.dotted)}")
    return StorageId(key, STORAGES[kind.name], _number(numel, "number of elements in a storage", path))


def _name(value: Value) -> str:
    return value.dotted if isinstance(value, Global) else ""


def _call(value: Value, path: str) -> tuple[str, tuple[Value, ...]]:
    if not isinstance(value, Call) or not isinstance(value.callable, Global) or not is_tensor(value):
        raise NotConvertibleError(path, "not a tensor, where torch writes one")
    if value.states or value.items or value.elements:
        raise NotConvertibleError(path, "the stream changes this tensor after making it")
    if not isinstance(value.args, tuple):
        raise NotConvertibleError(path, "a tensor whose arguments are not a tuple")
    return value.callable.dotted, value.args


def _from_type(args: tuple[Value, ...], path: str) -> tuple[str, tuple[Value, ...], Value]:
    if len(args) != 4:
        raise NotConvertibleError(path, "a tensor subclass with arguments that torch does not write")
    function, kind, inner, state = args
    if not isinstance(kind, Global) or kind.dotted not in _TENSOR_TYPES:
        name = kind.dotted if isinstance(kind, Global) else "unknown"
        raise NotConvertibleError(path, f"a tensor of the subclass {shown(name)}, whose meaning is not known")
    if not isinstance(function, Global) or function.dotted not in _VIEWS or not isinstance(inner, tuple):
        raise NotConvertibleError(path, "a tensor made by a function that is not known")
    return function.dotted, inner, state


def _view(function: str, args: tuple[Value, ...], path: str) -> View:
    fewest, most = {"_rebuild_tensor": (4, 4), "_rebuild_tensor_v2": (6, 7), "_rebuild_tensor_v3": (7, 8)}[
        function.rpartition(".")[2]
    ]
    if not fewest <= len(args) <= most:
        raise NotConvertibleError(path, f"{function} with {len(args)} arguments")
    named = args[6] if fewest == 7 else None
    requires_grad, hooks = args[4:6] if most > 4 else (False, None)
    view = made_view(args[:4], requires_grad, hooks, path, named=named)
    lazy = _lazy_bits(args[most - 1], path) if len(args) == most and most > 4 else frozenset[str]()
    return replace(view, conjugated="conj" in lazy, negated="neg" in lazy) if lazy else view


def made_view(place: Sequence[Value], requires_grad: Value, hooks: Value, path: str, *, named: Value = None) -> View:
    """The view at ``place`` (storage, offset, size, stride); ``named`` is its type, where the storage has none.

    Raises NotConvertibleError with ``path``.
    """
    if not isinstance(place[0], Persistent):
        raise NotConvertibleError(path, "a tensor whose storage is not in the file")
    storage = read_storage(place[0], path)
    offset = _number(place[1], "offset", path)
    size, stride = read_numbers(place[2], "size", path), read_numbers(place[3], "stride", path)
    if len(size) != len(stride):
        raise NotConvertibleError(path, "size and stride have different lengths")
    if type(requires_grad) is not bool:
        raise NotConvertibleError(path, "requires_grad is not a bool")
    _no_hooks(hooks, path)
    view = View(storage, offset, size, stride, _dtype(storage, named, path))
    _check_range(view, path)
    return view


def _dtype(storage: StorageId, named: Value, path: str) -> Dtype:
    """The type of the elements: the storage's own, or the one that a tensor on an untyped storage names."""
    if named is None:
        if storage.dtype is None:
            raise NotConvertibleError(path, "a tensor without a type on an untyped storage")
        return storage.dtype
    if not isinstance(named, Global) or named.module != "torch" or named.name not in DTYPES:
        name = named.dotted if isinstance(named, Global) else "unknown"
        raise NotConvertibleError(path, f"a tensor of unknown type {shown(name)}")
    if storage.dtype is not None:
        raise NotConvertibleError(path, "a tensor that names its type on a storage that has another")
    return DTYPES[named.name]


def _check_range(view: View, path: str) -> None:
    extent = view.dtype.size
    for size in view.size:
        extent *= max(size, 1)
    if extent >= _BEYOND:
        raise NotConvertibleError(path, "the number of bytes overflows")
    if view.numel:
        last = view.offset + sum((size - 1) * stride for size, stride in zip(view.size, view.stride, strict=True))
        if (last + 1) * view.dtype.size > view.storage.length:
            raise NotConvertibleError(path, "the tensor reaches beyond its storage")


def _number(value: Value, what: str, path: str) -> int:
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise NotConvertibleError(path, f"the {what} is not a number from 0 to 2^63 - 1")
    return value


def read_numbers(value: Value, what: str, path: str) -> tuple[int, ...]:
    """A tuple of numbers, or a ``torch.Size`` of them; ``what`` is what they are, for the refusal."""
    if isinstance(value, Call) and isinstance(value.callable, Global) and value.callable.dotted == "torch.Size":
        value = value.args[0] if isinstance(value.args, tuple) and len(value.args) == 1 else None
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
        raise NotConvertibleError(path, f"the {what} is not a tuple of at most {MAX_DIMENSIONS} numbers")
    return tuple(_number(number, what, path) for number in value)


def _no_hooks(value: Value, path: str) -> None:
    """Backward hooks are code. torch has written an empty dict in their place since 1.0."""
    hooks = read_mapping(value, path)
    if value is not None and (hooks is None or hooks.pairs or hooks.attributes):
        raise NotConvertibleError(path, "a tensor with backward hooks")


def _lazy_bits(value: Value, path: str) -> frozenset[str]:
    """Which of ``conj`` and ``neg`` the metadata of a tensor sets: then its values are not its bytes."""
    if value is None:
        return frozenset()
    if not isinstance(value, Dictionary):
        raise NotConvertibleError(path, "tensor metadata that is not a dict")
    flags: dict[str, bool] = {}
    for key, flag in value.pairs:
        if not isinstance(key, str) or key not in ("conj", "neg") or type(flag) is not bool or key in flags:
            raise NotConvertibleError(path, "tensor metadata that torch does not write")
        flags[key] = flag
    return frozenset(key for key, flag in flags.items() if flag)


def _attributes(state: Value, path: str) -> Sequence[tuple[str, Value]]:
    """The attributes that a state sets, without the flags that torch keeps on buffers."""
    found = attributes_of(state, path)
    for key, _ in found:
        if key in _LOADED or key.startswith("__"):
            raise NotConvertibleError(path, "the state of the tensor changes the tensor itself")
    return [(key, value) for key, value in found if key not in _BUFFER_FLAGS]
