"""Arrays of numpy as a checkpoint: the graph that torch would write of the same tensors, so that its rules hold.

Each array is a storage of its own, with the byte order that its header states. Arrays of types that safetensors does
not know (objects, text, dates, structures, ``longdouble``) stand as storages that cannot be used, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aiverify.formats.checkpoint import ByteOrder, Checkpoint, StorageRange
from aiverify.formats.described import described_tensor
from aiverify.formats.dtypes import DTYPES
from aiverify.formats.numpy import ArrayHeader
from aiverify.pickles.graph import Call, Dictionary, Graph, Value

_TYPES: Mapping[str, str] = {
    "b1": "bool",
    **{f"{kind}{size}": f"{name}{8 * size}" for kind, name in (("i", "int"), ("u", "uint")) for size in (1, 2, 4, 8)},
    **{f"f{size}": f"float{8 * size}" for size in (2, 4, 8)},
    **{f"c{size}": f"complex{8 * size}" for size in (8, 16)},
}
_ORDERS: Mapping[str, ByteOrder] = {"<": "little", ">": "big", "|": "little"}
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class NamedArray:
    """An array under the name that its tensor gets. ``range`` is the array file, header included."""

    name: str
    header: ArrayHeader
    range: StorageRange


def as_checkpoint(arrays: Sequence[NamedArray]) -> Checkpoint:
    """The checkpoint of ``arrays``. Its digest is that of their headers, one after the other."""
    graph = Graph(0)
    digest = hashlib.sha256()
    storages: dict[str, StorageRange | str] = {}
    pairs: list[tuple[Value, Value]] = []
    for number, array in enumerate(arrays):
        digest.update(array.header.raw)
        key = str(number)
        dtype, order = _type(array.header.descr)
        if dtype is None:
            storages[key] = f"safetensors has no type for numpy's {str(array.header.descr)[:_SHOWN]!r}"
        else:
            storages[key] = replace(array.range, skip=len(array.header.raw), byteorder=order)
        pairs.append((array.name, _tensor(graph, key, dtype, array.header)))
    graph.root = Dictionary(pairs)
    return Checkpoint(graph=graph, storages=storages, byteorder="little", stream_sha256=digest.hexdigest())


def _type(descr: object) -> tuple[str | None, ByteOrder]:
    if not isinstance(descr, str):
        return None, "little"
    order: ByteOrder | None = _ORDERS.get(descr[:1])
    return (_TYPES.get(descr[1:]), order) if order else (None, "little")


def _tensor(graph: Graph, key: str, dtype: str | None, header: ArrayHeader) -> Call:
    """The call by which torch would rebuild the tensor; of an array of an unknown type, an empty one in its place."""
    shape = tuple(header.shape) if dtype else (0,)
    known = DTYPES[dtype or "uint8"]
    strides: list[int] = []
    step = 1
    for size in shape if header.fortran_order else reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    ordered = tuple(strides) if header.fortran_order else tuple(reversed(strides))
    numel = 0 if 0 in shape else step
    return described_tensor(graph, key, known, numel * known.size, offset=0, size=shape, stride=ordered)
