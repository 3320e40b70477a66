"""Which parts of a checkpoint hold tensor data, so that none of it is left behind unseen.

A value holds tensors if a storage can be reached from it, or a buffer outside the stream, or a call by which torch or
numpy make arrays. The rule errs towards "holds": calls into the modules that make tensors count unless they are known
to make something else. Every value is visited once, cycles and sharing included.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiverify.convert.modules import is_source_id
from aiverify.convert.plan import NotConvertibleError
from aiverify.pickles.graph import Call, Dictionary, Global, OutOfBand, Persistent, SetNode, Value

MAX_VALUES = 20_000_000

_MAKERS = frozenset(
    {
        "numpy",
        "numpy._core.multiarray",
        "numpy._core.numeric",
        "numpy.core.multiarray",
        "numpy.core.numeric",
        "numpy.ma.core",
        "torch",
        "torch._C",
        "torch._tensor",
        "torch._utils",
        "torch.functional",
        "torch.jit._pickle",
        "torch.multiprocessing.reductions",
        "torch.nn.parameter",
        "torch.storage",
        "torch.tensor",
    }
)
_SCALARS = frozenset(
    {
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "torch.Size",
        "torch.device",
    }
)


def holders(root: Value) -> frozenset[int]:
    """The ``id`` of every value reachable from ``root`` that holds tensors; good as long as the graph lives.

    What stands inside a call that makes a tensor is not looked at. Raises NotConvertibleError when there are more than
    ``MAX_VALUES`` values.
    """
    parents: dict[int, list[int]] = {}
    sources: list[int] = []
    pending: list[Value] = [root]
    seen = {id(root)}
    while pending:
        value = pending.pop()
        if _makes_tensors(value):
            sources.append(id(value))
            continue
        for child in _children(value):
            if isinstance(child, str | int | float | Global) or child is None:
                continue
            parents.setdefault(id(child), []).append(id(value))
            if id(child) not in seen:
                seen.add(id(child))
                pending.append(child)
        if len(seen) > MAX_VALUES:
            raise NotConvertibleError("", f"more than {MAX_VALUES} values")
    return _ancestors(sources, parents)


def _ancestors(sources: list[int], parents: dict[int, list[int]]) -> frozenset[int]:
    found = set(sources)
    while sources:
        for parent in parents.get(sources.pop(), ()):
            if parent not in found:
                found.add(parent)
                sources.append(parent)
    return frozenset(found)


def _makes_tensors(value: Value) -> bool:
    if isinstance(value, Persistent):
        return not is_source_id(value.pid)
    if isinstance(value, OutOfBand):
        return True
    if not isinstance(value, Call) or not isinstance(value.callable, Global):
        return False
    return value.callable.module in _MAKERS and value.callable.dotted not in _SCALARS


def _children(value: Value) -> Iterable[Value]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Dictionary):
        return [part for pair in value.pairs for part in pair]
    if isinstance(value, SetNode):
        return value.members
    if isinstance(value, Call):
        pairs = [part for pair in value.items for part in pair]
        return [value.callable, value.args, value.kwargs, *value.states, *pairs, *value.elements]
    return ()
