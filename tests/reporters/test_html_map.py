"""The map of the tensors: areas say sizes, and nothing lies on top of something else."""

from __future__ import annotations

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.reporters.html.tensor_map import Box, squarified

ROOM = Box(0, 0, 960, 420)
_sizes = st.lists(st.integers(1, 10**6), min_size=1, max_size=60).map(lambda sizes: sorted(sizes, reverse=True))


def overlap(one: Box, other: Box) -> float:
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(width, 0) * max(height, 0)


@effort(100)
@given(_sizes)
def test_areas_are_in_proportion_to_sizes(sizes: list[int]) -> None:
    boxes = squarified(sizes, ROOM)

    area = ROOM.width * ROOM.height / sum(sizes)
    assert [box.width * box.height for box in boxes] == pytest.approx([size * area for size in sizes], rel=1e-3)


@effort(50)
@given(_sizes)
def test_boxes_lie_beside_each_other_and_inside(sizes: list[int]) -> None:
    boxes = squarified(sizes, ROOM)

    for box in boxes:
        assert box.x >= -1e-6
        assert box.y >= -1e-6
        assert box.x + box.width <= ROOM.width + 1e-6
        assert box.y + box.height <= ROOM.height + 1e-6
    assert sum(overlap(one, other) for number, one in enumerate(boxes) for other in boxes[:number]) < 1e-3


def test_equal_sizes_give_shapes_like_squares() -> None:
    for box in squarified([1] * 28, ROOM):
        assert 0.4 < box.width / box.height < 2.5


def test_sizes_without_any_area_give_boxes_all_the_same() -> None:
    assert len(squarified([2**63, 1, 1], ROOM)) == 3
