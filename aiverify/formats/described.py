"""Tensors that a container describes apart from any pickle, as the calls that torch would write of them.

So one set of rules holds for every container: those for checkpoints whose pickle was read.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiverify.formats.dtypes import Dtype
from aiverify.pickles.graph import Call, CallKind, Global, Graph, Persistent, Value

_STANDS_FOR = "tensor"


def described_tensor(
    graph: Graph, key: str, dtype: Dtype, length: int, *, offset: int, size: Sequence[int], stride: Sequence[int]
) -> Call:
    """The call that rebuilds a tensor on the storage ``key`` of ``length`` bytes, which is added to ``graph``.

    ``offset``, ``size`` and ``stride`` count elements. Nothing is checked here: that is the business of a plan.
    """
    storage = Persistent(("storage", _name("torch.storage", "UntypedStorage"), key, "cpu", length), 0)
    graph.persistents.append(storage)
    args: tuple[Value, ...] = (storage, offset, tuple(size), tuple(stride), False, None, _name("torch", dtype.torch))
    return Call(CallKind.REDUCE, _name("torch._utils", "_rebuild_tensor_v3"), args, 0)


def stand_in(tensor: Call) -> Value:
    """The persistent id that says that its node stands for ``tensor``. No loader knows such an id in a stream."""
    return (_STANDS_FOR, tensor)


def stood_for(value: Value) -> Value:
    """The tensor that ``value`` stands for, or else ``value`` itself."""
    if isinstance(value, Persistent) and isinstance(value.pid, tuple) and len(value.pid) == 2:
        kind, tensor = value.pid
        return tensor if kind == _STANDS_FOR else value
    return value


def _name(module: str, name: str) -> Global:
    return Global(module, name, 0, (module, name))
