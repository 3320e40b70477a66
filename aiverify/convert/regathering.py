"""One tensor proved again: its bytes are made from the source as the receipt says, and compared with the twin.

The receipt is not trusted. What it states of a tensor must be possible, lie inside the source, and take bounded work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiverify.convert.checkpoint import MAX_STEPS, PASSES, PASSES_FREE
from aiverify.convert.gather import MAX_HELD, gather
from aiverify.convert.plan import PlannedTensor, Transform
from aiverify.convert.strides import is_contiguous, tiling
from aiverify.formats.checkpoint import Inflated

_WIDTHS = (1, 2, 4, 8)
_MAX_DIMENSIONS = 65
_MAX_PATTERN = 16
_BEYOND = 1 << 63


class OtherBytesError(Exception):
    """The bytes in the twin are not those that were made from the source."""


@dataclass(slots=True)
class Budget:
    """How much work the tensors of one receipt may take: strided steps, and bytes that inflate."""

    steps: int = MAX_STEPS
    inflated: int = PASSES_FREE

    def spend(self, tensor: PlannedTensor, source_size: int) -> None:
        """Raise ValueError if ``tensor`` takes more than what is left."""
        self.steps -= tiling(tensor.size, tensor.stride, tensor.itemsize).steps if tensor.length else 0
        self.inflated -= tensor.inflated.length if tensor.inflated else 0
        if self.steps < 0 or self.inflated + PASSES * 32 * source_size < 0:
            raise ValueError("a tensor that would take more work than a conversion may")
        if tensor.inflated and not is_contiguous(tensor.size, tensor.stride) and tensor.span > MAX_HELD:
            raise ValueError("a tensor that would take more memory than a conversion may")


def claimed(entry: Mapping[str, Any], length: int, source_size: int) -> PlannedTensor:
    """The tensor of ``length`` bytes in the twin as ``entry`` of a receipt states it.

    Raises KeyError, TypeError or ValueError for what no conversion from a source of that size writes.
    """
    transform, source = Transform(entry["transform"]), entry["source"]
    offset, spread = number(source["offset"]), number(source["length"])
    swap = number(entry.get("swap", 1))
    strides = entry.get("strides") or {"size": [length // max(swap, 1)], "stride": [1], "itemsize": swap}
    size, stride, itemsize = numbers(strides["size"]), numbers(strides["stride"]), number(strides["itemsize"])
    held = entry.get("inflated")
    tensor = PlannedTensor(
        name=str(entry["name"]),
        dtype=str(entry["dtype"]),
        shape=numbers(entry["shape"]),
        transform=transform,
        storage=str(source["storage"]),
        source_offset=offset,
        source_length=spread,
        offset=number(entry["offset"]),
        length=length,
        size=size,
        stride=stride,
        itemsize=itemsize,
        swap=swap,
        flip=bytes.fromhex(entry.get("flip", "")),
        inflated=Inflated(number(held["length"]), number(held["crc32"])) if held is not None else None,
        skip=number(held["skip"]) if held is not None else 0,
    )
    _check(tensor, source_size)
    return tensor


def regather(
    tensor: PlannedTensor,
    source: Callable[[int, int], bytes],
    twin: Callable[[int, int], bytes],
    place: int,
) -> None:
    """Make ``tensor`` again from ``source`` and compare it with the bytes at ``place`` of ``twin`` (offset, length).

    Raises OtherBytesError, and ConversionError if the source cannot be read as stated.
    """

    def compare(data: memoryview, offset: int) -> None:
        if twin(place + offset, len(data)) != bytes(data):
            raise OtherBytesError

    gather(tensor, source, compare)


def number(value: object) -> int:
    """A number from 0 to 2^63 - 1. Raises ValueError."""
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise ValueError("a number of bytes that is none")
    return value


def numbers(value: object) -> tuple[int, ...]:
    """A list of such numbers, one per dimension. Raises ValueError."""
    if not isinstance(value, list) or len(value) > _MAX_DIMENSIONS:
        raise ValueError("a list of numbers that is none")
    return tuple(map(number, value))


def _check(tensor: PlannedTensor, source_size: int) -> None:
    if tensor.itemsize not in _WIDTHS or tensor.swap not in _WIDTHS or tensor.swap > tensor.itemsize:
        raise ValueError("an element of a width that no type has")
    if len(tensor.flip) > _MAX_PATTERN or (tensor.flip and tensor.length % len(tensor.flip)):
        raise ValueError("a pattern of bits that no conversion flips")
    elements = tensor.itemsize
    for size in tensor.size:
        elements *= size
        if elements >= _BEYOND:
            raise ValueError("a tensor of more bytes than there can be")
    if len(tensor.size) != len(tensor.stride) or elements != tensor.length:
        raise ValueError("a tensor whose size is not that of its bytes")
    if tensor.source_offset + tensor.source_length > source_size:
        raise ValueError("a tensor that reaches beyond the source")
    within = tensor.inflated.length - tensor.skip if tensor.inflated else tensor.source_length
    if tensor.span > within or (tensor.inflated is None and tensor.length and tensor.span != within):
        raise ValueError("a tensor that reaches beyond its source range")
    plain = tensor.swap == 1 and not tensor.flip and tensor.inflated is None
    if tensor.transform is Transform.COPY and not (plain and is_contiguous(tensor.size, tensor.stride)):
        raise ValueError("a copy that is none")
