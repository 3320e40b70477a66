"""Strided copies against numpy, with tiles so small that every way of cutting happens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiverify.convert import strides
from aiverify.convert.gather import gather
from aiverify.convert.plan import PlannedTensor, Transform
from aiverify.convert.strides import is_contiguous, tiling

START = 3  # the storage begins somewhere in the file


def copied(data: np.ndarray, size, stride, offset=0, swap=1) -> tuple[bytes, int]:
    """What ``gather`` makes of a view on ``data``, and how many reads and writes it took."""
    raw = bytes(START) + data.tobytes()
    length = int(np.prod(size, dtype=np.int64)) * data.itemsize
    output = bytearray(b"\xaa" * length)
    calls = 0

    def read(at: int, count: int) -> bytes:
        nonlocal calls
        calls += 1
        assert at >= START
        assert at + count <= len(raw)
        return raw[at : at + count]

    def write(part: memoryview, at: int) -> None:
        nonlocal calls
        calls += 1
        assert at + len(part) <= length
        output[at : at + len(part)] = part

    tensor = PlannedTensor(
        name="w",
        dtype="U8",
        shape=tuple(size),
        transform=Transform.GATHER,
        storage="0",
        source_offset=START + offset * data.itemsize,
        source_length=0,
        offset=0,
        length=length,
        size=tuple(size),
        stride=tuple(stride),
        itemsize=data.itemsize,
        swap=swap,
    )
    gather(tensor, read, write)
    return bytes(output), calls


def expected(data: np.ndarray, size, stride, offset=0) -> np.ndarray:
    steps = [step * data.itemsize for step in stride]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(data[offset:], size, steps, writeable=False))


def random_data(count: int, itemsize: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, count * itemsize, dtype=np.uint8).view(f"u{itemsize}")


VIEWS = {
    "transposed": ((37, 53), (1, 37)),
    "a column": ((50,), (41,)),
    "every third": ((500,), (3,)),
    "channels last": ((8, 6, 5, 5), (150, 1, 30, 6)),
    "expanded in front": ((7, 40), (0, 1)),
    "expanded behind": ((40, 7), (1, 0)),
    "expanded everywhere": ((5, 6), (0, 0)),
    "overlapping windows": ((20, 5), (2, 1)),
    "reversed dimensions": ((3, 4, 5, 6), (1, 3, 12, 60)),
    "contiguous": ((12, 12), (12, 1)),
    "ones in between": ((1, 6, 1, 7), (99, 1, 99, 6)),
    "a single element": ((), ()),
    "nothing": ((0, 5), (1, 7)),
}


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_copied_bit_by_bit(view, itemsize):
    size, stride = VIEWS[view]
    data = random_data(2100, itemsize)
    assert copied(data, size, stride, 7)[0] == expected(data, size, stride, 7).tobytes()


@pytest.mark.parametrize(("itemsize", "swap"), [(2, 2), (4, 4), (8, 8), (8, 4)])
def test_bytes_are_reversed_within_each_number(itemsize, swap):
    data = random_data(600, itemsize)
    swapped = expected(data, (20, 30), (1, 20)).view(f"u{swap}").byteswap()
    assert copied(data, (20, 30), (1, 20), swap=swap)[0] == swapped.tobytes()


views = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 20)), max_size=5)


@settings(max_examples=400, deadline=None)
@given(
    views,
    st.integers(0, 5),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 64),
    st.integers(1, 256),
    st.integers(1, 64),
)
def test_any_view_is_copied_bit_by_bit_however_it_is_cut(view, offset, itemsize, tile, window, near):
    size, stride = [length for length, _ in view], [step for _, step in view]
    data = random_data(offset + sum((length - 1) * step for length, step in view) + 1, itemsize)
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(strides, "TILE", tile * itemsize)
        limits.setattr(strides, "WINDOW", max(window, itemsize))
        limits.setattr(strides, "NEAR", near)
        result, calls = copied(data, size, stride, offset)
        steps = tiling(size, stride, itemsize).steps
    assert result == expected(data, size, stride, offset).tobytes()
    assert calls <= steps


@settings(max_examples=200, deadline=None)
@given(views, st.sampled_from([1, 8]))
def test_contiguous_means_what_numpy_means(view, itemsize):
    size, stride = [length for length, _ in view], [step for _, step in view]
    data = random_data(sum((length - 1) * step for length, step in view) + 1, itemsize)
    array = np.lib.stride_tricks.as_strided(data, size, [step * itemsize for step in stride])
    assert is_contiguous(size, stride) == array.flags.c_contiguous


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ((1 << 15, 1 << 15), (1, 1 << 15)),  # transposed
        ((187, 1 << 24), (1, 187)),  # transposed, a few long columns
        ((1 << 24, 48), (1, 1 << 24)),  # transposed, many short ones
        ((1 << 28,), (4,)),  # every fourth
        ((1 << 24, 10), (64, 1)),  # the first columns
        ((512, 512, 64, 64), (1 << 21, 1, 1 << 15, 1 << 9)),  # channels last
    ],
)
def test_large_tensors_take_bounded_memory_and_few_steps(size, stride):
    plan = tiling(size, stride, 1)
    span = 1 + sum((reach - 1) * axis.source for axis, reach in zip(plan.axes, plan.reading, strict=True))
    assert span <= strides.WINDOW
    assert np.prod(plan.tile) <= strides.TILE
    assert plan.steps < 1_500_000
