"""The bytes of one tensor from a strided or deflated source into a contiguous output, with the standard library only.

Memory is bounded by ``strides.TILE`` and ``strides.WINDOW``, whatever the size of the tensor; a tensor that is strided
inside a deflated storage is held as a whole, and plans allow it ``MAX_HELD`` bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Literal, TypeAlias

from aiverify.convert.inflate import inflated_parts
from aiverify.convert.plan import PlannedTensor
from aiverify.convert.strides import Axis, corners, is_contiguous, run_length, tiling
from aiverify.formats.checkpoint import Inflated

Read: TypeAlias = Callable[[int, int], bytes]
"""Gives ``length`` bytes at ``offset`` of the source, all of them."""
Write: TypeAlias = Callable[[memoryview, int], None]
"""Takes bytes and their offset within the output tensor."""

_FORMATS: Mapping[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


MAX_HELD = 256 << 20


def gather(tensor: PlannedTensor, read: Read, write: Write) -> None:
    """Read the elements of ``tensor``, reverse bytes and flip bits if it says so, and write them in order."""
    if not tensor.length:
        return
    if tensor.inflated is not None:
        _inflate(tensor, tensor.inflated, read, write)
        return
    plan = tiling(tensor.size, tensor.stride, tensor.itemsize)
    for corner in corners([axis.size for axis in plan.axes], plan.tile):
        reach = _clipped([axis.size for axis in plan.axes], corner, plan.tile)
        base = sum(index * axis.source for index, axis in zip(corner, plan.axes, strict=True))
        tile = _Tile(tensor, plan.axes, reach)
        tile.fill(read, base, plan.reading)
        _reverse(tile.data, tensor.swap)
        _flip(tile.data, tensor.flip)
        start = sum(index * axis.output for index, axis in zip(corner, plan.axes, strict=True))
        tile.write(write, start)


def _inflate(tensor: PlannedTensor, inflated: Inflated, read: Read, write: Write) -> None:
    parts = inflated_parts(tensor, inflated, tensor.span, read)
    if not is_contiguous(tensor.size, tensor.stride):
        held = b"".join(parts)
        plain = replace(tensor, inflated=None, skip=0, source_offset=0, source_length=len(held))
        gather(plain, lambda offset, length: held[offset : offset + length], write)
        return
    offset = 0
    for part in parts:
        _reverse(part, tensor.swap)
        _flip(part, tensor.flip)
        write(memoryview(part), offset)
        offset += len(part)


class _Tile:
    """One box of the tensor, in the order of the output."""

    def __init__(self, tensor: PlannedTensor, axes: Sequence[Axis], reach: Sequence[int]) -> None:
        self.tensor = tensor
        self.axes = axes
        self.reach = reach
        self.strides = [prod(reach[index + 1 :]) for index in range(len(reach))]
        self.data = bytearray(prod(reach) * tensor.itemsize)

    def fill(self, read: Read, base: int, reading: Sequence[int]) -> None:
        """Read everything that the tile needs, beginning at element ``base`` of the source."""
        itemsize = self.tensor.itemsize
        target = memoryview(self.data).cast(_FORMATS[itemsize])
        for corner in corners(self.reach, reading):
            part = _clipped(self.reach, corner, reading)
            span = 1 + sum((length - 1) * axis.source for length, axis in zip(part, self.axes, strict=True))
            first = base + sum(index * axis.source for index, axis in zip(corner, self.axes, strict=True))
            data = read(self.tensor.source_offset + first * itemsize, span * itemsize)
            source = memoryview(data).cast(_FORMATS[itemsize])
            place = sum(index * stride for index, stride in zip(corner, self.strides, strict=True))
            self._scatter(source, target, place, part)

    def _scatter(self, source: memoryview, target: memoryview, place: int, part: Sequence[int]) -> None:
        """Move one reading to its places: one strided copy per row of its longest axis."""
        longest = max(range(len(part)), key=lambda index: part[index])
        length, step, stride = part[longest], self.axes[longest].source, self.strides[longest]
        rows = [1 if index == longest else size for index, size in enumerate(part)]
        for row in corners(rows, [1] * len(rows)):
            begin = sum(index * axis.source for index, axis in zip(row, self.axes, strict=True))
            to = place + sum(index * width for index, width in zip(row, self.strides, strict=True))
            if step:
                taken = source[begin : begin + (length - 1) * step + 1 : step]
            else:
                taken = memoryview(bytes(source[begin : begin + 1]) * length).cast(_FORMATS[source.itemsize])
            target[to : to + (length - 1) * stride + 1 : stride] = taken

    def write(self, write: Write, start: int) -> None:
        """Hand over the tile, which begins at element ``start`` of the output, in runs."""
        itemsize = self.tensor.itemsize
        run = run_length(self.axes, self.reach)
        view = memoryview(self.data)
        for position in range(0, prod(self.reach), run):
            offset = start + self._output_of(position)
            write(view[position * itemsize : (position + run) * itemsize], offset * itemsize)

    def _output_of(self, position: int) -> int:
        """Where the element at ``position`` of the tile stands in the output, counted from the tile's first."""
        offset = 0
        for axis, stride in zip(self.axes, self.strides, strict=True):
            index, position = divmod(position, stride)
            offset += index * axis.output
        return offset


def _clipped(sizes: Sequence[int], corner: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [min(step, size - index) for size, index, step in zip(sizes, corner, steps, strict=True)]


def _reverse(data: bytearray, width: int) -> None:
    """Reverse the bytes of every ``width``, in place."""
    if width > 1:
        values = array(_FORMATS[width], data)
        values.byteswap()
        data[:] = values.tobytes()


def _flip(data: bytearray, pattern: bytes) -> None:
    """Flip the bits of ``pattern``, over and over, in place. Tiles begin and end between two patterns."""
    if pattern:
        times, rest = divmod(len(data), len(pattern))
        if rest:
            raise ValueError("a tile that ends inside an element")
        flipped = int.from_bytes(data, "little") ^ int.from_bytes(pattern * times, "little")
        data[:] = flipped.to_bytes(len(data), "little")
