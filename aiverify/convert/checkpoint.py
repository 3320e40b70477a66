"""From the graph of a checkpoint's pickle to a plan of its safetensors twin. Values in, a plan or an error out.

Rules it keeps (those for names stand in ``walk``, those for single tensors in ``tensors``):

1. The stream was read to its end, changes nothing that it did not make, and is built as picklers build it: of any
   other, readers may see different things. Every persistent id names a storage, and one key always the same storage; or
   it names the class of a module beside its source text, which is not looked at.
2. Every storage that is used lies in the file, as it is or deflated, and is exactly as long as the pickle says.
   Deflated storages inflate to at most ``INFLATION`` times the source file plus ``INFLATION_FREE``.
3. Tensors with the same storage, offset, size, stride and type are one tensor with several names: the first name in the
   pickle is stored, the others are recorded as ``safetensors.torch.save_model`` records them. Other views that overlap
   are stored separately.
4. The twin's data is not larger than ``EXPANSION`` times the source file and what inflates out of it plus
   ``EXPANSION_FREE``. No tensor is strided so finely that copying it would take longer than ``MAX_STEPS`` allows, none
   is strided in more than ``MAX_HELD`` deflated bytes, and inflating a storage again for each tensor in it stays within
   ``PASSES`` times everything that inflates, plus ``PASSES_FREE``.
5. The same checkpoint gives the same twin, byte for byte, on every machine.

Tensors stand in the twin by falling alignment, as the format asks, and then in the order of the source, so that both
files are walked from front to back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from aiverify.convert.gather import MAX_HELD
from aiverify.convert.lowering import sign_bits
from aiverify.convert.modules import is_source_id
from aiverify.convert.plan import (
    ConsumedStorage,
    ConversionPlan,
    Lowered,
    NotConvertibleError,
    PlannedTensor,
    Transform,
)
from aiverify.convert.strides import is_contiguous, tiling
from aiverify.convert.tensors import StorageId, View, read_storage
from aiverify.convert.walk import RESERVED, select
from aiverify.convert.wording import shown_path
from aiverify.formats.checkpoint import StorageRange
from aiverify.formats.safetensors import MAX_HEADER, shown
from aiverify.pickles.graph import Graph, Value
from aiverify.report import Dropped

EXPANSION = 4
EXPANSION_FREE = 1 << 20
INFLATION = 32
INFLATION_FREE = 64 << 20
PASSES = 8
PASSES_FREE = 1 << 30
MAX_STEPS = 10_000_000
ALIGNMENT = 64  # torch maps twins, and its kernels round differently on data that does not begin at a line of the cache

LOWERED = "aiverify.lowered"

_FORMAT = "format"


def plan(
    root: Value,
    graph: Graph,
    storages: Mapping[str, StorageRange | str],
    *,
    byteorder: Literal["little", "big"] = "little",
    source_size: int,
    left_out: Sequence[tuple[str, str]] = (),
    lower: bool = False,
) -> ConversionPlan:
    """Plan the twin of the checkpoint whose pickle describes ``root``.

    ``storages`` says per storage key where its bytes lie in the source file of ``source_size`` bytes, or why they
    cannot be used. ``byteorder`` is that of the storages; ``left_out`` is what stands beside the pickle. With
    ``lower``, tensors that safetensors cannot hold are taken apart. Raises NotConvertibleError.
    """
    check_stream(graph)
    selection = select(root, lower=lower)
    stored, aliases = _without_ties(selection.views)
    return plan_views(
        stored,
        storages,
        byteorder=byteorder,
        source_size=source_size,
        metadata=_metadata(aliases, selection.lowered),
        aliases=aliases,
        dropped=(
            *selection.dropped,
            *_taken_apart(selection.lowered),
            *(Dropped(path=shown_path(path), type=kind) for path, kind in left_out),
        ),
        lowered=tuple(selection.lowered),
    )


def plan_views(
    views: Mapping[str, View],
    storages: Mapping[str, StorageRange | str],
    *,
    byteorder: Literal["little", "big"] = "little",
    source_size: int,
    metadata: Mapping[str, str],
    aliases: tuple[tuple[str, str], ...] = (),
    dropped: tuple[Dropped, ...] = (),
    lowered: tuple[Lowered, ...] = (),
) -> ConversionPlan:
    """Plan a safetensors file of just these ``views``, by name. The rest is as in ``plan``; so is what is raised."""
    consumed = _consumed(views, storages, source_size)
    tensors = sorted(
        (_planned(name, view, consumed[view.storage.key].range, byteorder) for name, view in views.items()),
        key=lambda tensor: (-tensor.itemsize, tensor.source_offset, tensor.source_length, tensor.name),
    )
    placed = _placed(tensors)
    _check_work(placed, source_size, _inflated(consumed, source_size))
    header = _header(placed, metadata)
    return ConversionPlan(
        tensors=placed,
        aliases=aliases,
        dropped=dropped,
        storages=tuple(sorted(consumed.values(), key=lambda storage: (storage.range.offset, storage.key))),
        header=header,
        source_size=source_size,
        output_size=len(header) + sum(tensor.length for tensor in placed),
        metadata=metadata,
        lowered=lowered,
    )


def check_stream(graph: Graph) -> None:
    """Raise NotConvertibleError unless the stream was read whole, and says one thing only to every reader."""
    if graph.failure is not None:
        raise NotConvertibleError("", f"its pickle breaks off at byte {graph.failure_offset}: {graph.failure}")
    if graph.mutations:
        raise NotConvertibleError("", "its pickle changes something that it did not make")
    if graph.anomalies:
        anomaly = graph.anomalies[0]
        raise NotConvertibleError("", f"its pickle is none that torch writes (byte {anomaly.offset}: {anomaly.text})")
    known: dict[str, StorageId] = {}
    for persistent in graph.persistents:
        if is_source_id(persistent.pid):
            continue
        storage = read_storage(persistent, "")
        if known.setdefault(storage.key, storage) != storage:
            raise NotConvertibleError("", f"storage {shown(storage.key)} is described in two ways")


def _without_ties(views: Mapping[str, View]) -> tuple[dict[str, View], tuple[tuple[str, str], ...]]:
    """The views to store, and the names that stand for another one. Empty tensors have nothing to share."""
    first: dict[View, str] = {}
    stored: dict[str, View] = {}
    aliases: list[tuple[str, str]] = []
    for name, view in views.items():
        kept = first.setdefault(view, name) if view.numel and name != _FORMAT else name
        if kept == name:
            stored[name] = view
        else:
            aliases.append((name, kept))
    return stored, tuple(sorted(aliases))


def _consumed(
    views: Mapping[str, View], storages: Mapping[str, StorageRange | str], source_size: int
) -> dict[str, ConsumedStorage]:
    consumed: dict[str, ConsumedStorage] = {}
    for name, view in views.items():
        storage = view.storage
        if storage.key in consumed:
            continue
        found = storages.get(storage.key, "it is not in the file")
        if isinstance(found, str):
            raise NotConvertibleError(name, f"storage {shown(storage.key)} cannot be used: {found}")
        if found.size != storage.length:
            raise NotConvertibleError(
                name,
                f"storage {shown(storage.key)} has {found.size} bytes, the pickle says {storage.length}",
            )
        if found.offset < 0 or found.offset + found.length > source_size:
            raise NotConvertibleError(name, f"storage {shown(storage.key)} lies outside of the file")
        consumed[storage.key] = ConsumedStorage(key=storage.key, range=found)
    return consumed


def _inflated(consumed: Mapping[str, ConsumedStorage], source_size: int) -> int:
    """How many bytes inflate out of the storages."""
    total = 0
    for storage in consumed.values():
        total += storage.range.inflated.length if storage.range.inflated else 0
        if total > INFLATION * source_size + INFLATION_FREE:
            raise NotConvertibleError("", f"more than {INFLATION} times its size would come out of compressed entries")
    return total


def _planned(name: str, view: View, storage: StorageRange, byteorder: str) -> PlannedTensor:
    """The tensor without its place in the twin."""
    dtype, shape = view.dtype, view.size
    if dtype.safetensors is None:
        raise NotConvertibleError(name, f"safetensors has no type for torch.{dtype.torch}")
    if dtype.packed > 1:
        if not shape:
            raise NotConvertibleError(name, f"a single torch.{dtype.torch}, which safetensors cannot express")
        shape = (*shape[:-1], shape[-1] * dtype.packed)
    numel = view.numel
    swap = dtype.swap if (storage.byteorder or byteorder) == "big" else 1
    if swap > 1 and view.storage.dtype is None and storage.byteorder is None:
        raise NotConvertibleError(name, "torch does not swap the bytes of an untyped storage: which order is meant?")
    contiguous = not numel or is_contiguous(view.size, view.stride)
    flip = sign_bits(view)
    tensor = PlannedTensor(
        name=name,
        dtype=dtype.safetensors,
        shape=shape,
        transform=Transform.FLIP if flip else _transform(contiguous=contiguous, swapped=swap > 1),
        storage=view.storage.key,
        source_offset=storage.offset,
        source_length=0,
        offset=0,
        length=numel * dtype.size,
        size=view.size,
        stride=view.stride,
        itemsize=dtype.size,
        swap=swap,
        flip=flip,
    )
    skip = storage.skip + view.offset * dtype.size
    if not numel:
        return tensor
    if storage.inflated is None:
        return replace(tensor, source_offset=storage.offset + skip, source_length=tensor.span)
    if not contiguous and tensor.span > MAX_HELD:
        raise NotConvertibleError(name, f"strided, in a compressed entry, over more than {MAX_HELD} bytes")
    return replace(
        tensor,
        transform=Transform.INFLATE,
        source_length=storage.length,
        inflated=storage.inflated,
        skip=skip,
    )


def _transform(*, contiguous: bool, swapped: bool) -> Transform:
    if contiguous:
        return Transform.BYTESWAP if swapped else Transform.COPY
    return Transform.GATHER_BYTESWAP if swapped else Transform.GATHER


def _placed(tensors: list[PlannedTensor]) -> tuple[PlannedTensor, ...]:
    offset = 0
    placed: list[PlannedTensor] = []
    for tensor in tensors:
        placed.append(replace(tensor, offset=offset))
        offset += tensor.length
    return tuple(placed)


def _check_work(tensors: tuple[PlannedTensor, ...], source_size: int, inflated: int) -> None:
    limit = EXPANSION * (source_size + inflated) + EXPANSION_FREE
    steps = passed = 0
    for tensor in tensors:
        if tensor.offset + tensor.length > limit:
            raise NotConvertibleError(tensor.name, f"with it the twin has more than {limit} bytes of data")
        if tensor.transform is not Transform.COPY and tensor.length:
            steps += tiling(tensor.size, tensor.stride, tensor.itemsize).steps
        if steps > MAX_STEPS:
            raise NotConvertibleError(tensor.name, "it is strided too finely to be copied in reasonable time")
        passed += tensor.inflated.length if tensor.inflated else 0
        if passed > PASSES * inflated + PASSES_FREE:
            raise NotConvertibleError(tensor.name, "its compressed entry would have to be inflated too often")


def _metadata(aliases: Sequence[tuple[str, str]], lowered: Sequence[Lowered]) -> dict[str, str]:
    """What loaders expect, the aliases, and how tensors were taken apart, which cannot be put together without."""
    metadata = {_FORMAT: "pt", **dict(aliases)}
    if lowered:
        if LOWERED in metadata:
            raise NotConvertibleError(LOWERED, "a tied tensor whose name is needed for something else")
        records = {item.name: {"form": item.form, **item.facts} for item in lowered}
        metadata[LOWERED] = json.dumps(records, separators=(",", ":"), sort_keys=True)
    return metadata


def _taken_apart(lowered: Sequence[Lowered]) -> Iterator[Dropped]:
    """The tensors that do not stand in the twin as they are, for the report."""
    for item in lowered:
        yield Dropped(path=shown_path(item.name), type=f"{item.facts['dtype']} tensor, stored as {item.form}")


def _header(tensors: tuple[PlannedTensor, ...], metadata: Mapping[str, str]) -> bytes:
    """The length and the JSON of the header, padded so that the data is aligned."""
    entries: dict[str, object] = {RESERVED: metadata}
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (tensor.offset, tensor.offset + tensor.length),
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise NotConvertibleError("", f"the names and shapes take more than the {MAX_HEADER} bytes of a header")
    return len(text).to_bytes(8, "little") + text
