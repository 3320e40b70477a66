"""How to walk a strided tensor in pieces: bounded memory, and few steps per element whatever the strides are.

A tensor of any strides is cut into tiles, boxes of its index space. A tile is long along the source and along the
output at once, so that both are read and written in long runs. Inside a tile, parts that lie close together in the
source are read in one piece, and elements move in one strided copy per row of the longest axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod

TILE = 4 << 20
WINDOW = 8 << 20
NEAR = 4096  # bytes that are read in about the time that another read takes


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension: its ``size``, and how many elements one step along it is in the source and in the output."""

    size: int
    source: int
    output: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a tensor is cut: per axis, how far a tile reaches, and how far one reading inside a tile does."""

    axes: tuple[Axis, ...]
    tile: tuple[int, ...]
    reading: tuple[int, ...]

    @property
    def steps(self) -> int:
        """About how many reads, strided copies and writes the tensor takes."""
        tiles = prod(ceil(axis.size / reach) for axis, reach in zip(self.axes, self.tile, strict=True))
        readings = prod(ceil(reach / part) for reach, part in zip(self.tile, self.reading, strict=True))
        copies = prod(self.reading) // max(self.reading)
        writes = prod(self.tile) // run_length(self.axes, self.tile)
        return tiles * (readings * (1 + copies) + writes)


def is_contiguous(size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether the elements lie in the source one after the other, in the order of the output."""
    expected = 1
    for length, step in zip(reversed(size), reversed(stride), strict=True):
        if length != 1 and step != expected:
            return False
        expected *= length
    return True


def tiling(size: Sequence[int], stride: Sequence[int], itemsize: int) -> Tiling:
    """The way to walk a tensor without empty dimensions, ``itemsize`` bytes per element."""
    axes = _merged(size, stride)
    tile = _tile(axes, TILE // itemsize)
    return Tiling(axes, tile, _reading(axes, tile, itemsize))


def corners(sizes: Sequence[int], steps: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The first index of every box of ``steps`` that ``sizes`` is cut into, in the order of the output."""
    counts = [ceil(size / step) for size, step in zip(sizes, steps, strict=True)]
    for number in range(prod(counts)):
        corner: list[int] = []
        for count, step in zip(reversed(counts), reversed(steps), strict=True):
            number, index = divmod(number, count)
            corner.append(index * step)
        yield tuple(reversed(corner))


def run_length(axes: Sequence[Axis], tile: Sequence[int]) -> int:
    """How many elements of a tile stand together in the output."""
    length = 1
    for axis, reach in zip(reversed(axes), reversed(tile), strict=True):
        length *= reach
        if reach < axis.size:
            break
    return length


def _merged(size: Sequence[int], stride: Sequence[int]) -> tuple[Axis, ...]:
    """The axes, without those of size 1, and with neighbours made one that the source steps through as one."""
    merged: list[tuple[int, int]] = []
    for length, step in zip(size, stride, strict=True):
        if length == 1:
            continue
        if merged and merged[-1][1] == step * length:
            merged[-1] = (merged[-1][0] * length, step)
        else:
            merged.append((length, step))
    axes: list[Axis] = []
    output = 1
    for length, step in reversed(merged or [(1, 1)]):
        axes.insert(0, Axis(length, step, output))
        output *= length
    return tuple(axes)


def _tile(axes: Sequence[Axis], limit: int) -> tuple[int, ...]:
    """A box of at most ``limit`` elements that is long along the fastest axes of both the source and the output."""
    tile = [1] * len(axes)
    by_source = sorted(range(len(axes)), key=lambda index: axes[index].source)
    by_output = list(reversed(range(len(axes))))
    growing = True
    while growing:
        growing = False
        for order in (by_output, by_source):
            index = next((index for index in order if tile[index] < axes[index].size), None)
            if index is None:
                continue
            reach = min(2 * tile[index], axes[index].size)
            if prod(tile) // tile[index] * reach <= limit:
                tile[index] = reach
                growing = True
    return tuple(tile)


def _reading(axes: Sequence[Axis], tile: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """The part of a tile that is worth reading in one piece: at most ``WINDOW`` bytes, mostly of use."""
    reading = [1] * len(axes)
    span = elements = 1
    for index in sorted(range(len(axes)), key=lambda index: axes[index].source):
        step = axes[index].source
        if step * itemsize > NEAR * elements:
            break
        reach = min(tile[index], 1 + (WINDOW // itemsize - span) // step) if step else tile[index]
        reading[index] = reach
        span += (reach - 1) * step
        elements *= reach
        if reach < tile[index]:
            break
    return tuple(reading)
