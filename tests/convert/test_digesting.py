"""Digests in one pass, and behind a writer: the same as hashlib gives of the bytes in the file."""

import hashlib
import mmap
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiverify.convert import kernel, reading
from aiverify.convert.digesting import Follower, RangeDigests, range_digests
from aiverify.convert.kernel import copy_ranges
from aiverify.convert.plan import SourceChangedError
from aiverify.progress import Silent

CONTENT = bytes(index * 31 % 251 for index in range(1000))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 100)), max_size=8), st.integers(1, 400))
def test_ranges_have_the_digests_of_their_bytes_whatever_the_chunks(ranges, width):
    parts = RangeDigests(ranges)
    for offset in range(0, len(CONTENT), width):
        parts.take(offset, memoryview(CONTENT[offset : offset + width]))
    assert parts.digests == [hashlib.sha256(CONTENT[start : start + length]).hexdigest() for start, length in ranges]


def test_one_pass_gives_the_digests_of_the_whole_and_of_the_ranges(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    with (tmp_path / "f").open("rb") as file:
        whole, parts = range_digests(file.fileno(), 1000, [(10, 20), (0, 0)], Silent())
    assert whole == hashlib.sha256(CONTENT).hexdigest()
    assert parts == [hashlib.sha256(CONTENT[10:30]).hexdigest(), hashlib.sha256().hexdigest()]


@pytest.fixture
def file(tmp_path: Path):
    descriptor = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    os.truncate(descriptor, 1000)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("ours", [False, True])
def test_a_follower_gives_everything_to_all_of_its_consumers_in_order(file, monkeypatch, ours):
    monkeypatch.setattr(reading, "CHUNK", 64)
    taken, told = (bytearray(), bytearray()), []

    def into(place: bytearray):
        def take(offset: int, chunk: memoryview) -> None:
            assert offset == len(place)
            place.extend(chunk)

        return take

    with Follower(file, 1000, [into(place) for place in taken], told.append, ours=ours) as follower:
        for start in range(0, 900, 300):
            os.pwrite(file, CONTENT[start : start + 300], start)
            follower.reach(start + 300)
        os.pwrite(file, CONTENT[900:], 900)
        follower.finish()
    assert taken == (CONTENT, CONTENT)
    assert sum(told) == 1000


def test_a_file_that_cannot_be_mapped_is_read(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 16)
    version = Path("/proc/version")
    content, taken = version.read_bytes(), bytearray()
    with version.open("rb") as file:
        with pytest.raises((OSError, ValueError)):
            mmap.mmap(file.fileno(), len(content), prot=mmap.PROT_READ)
        takes = [lambda _, chunk: taken.extend(chunk)]
        with Follower(file.fileno(), len(content), takes, lambda _: None, ours=True) as follower:
            follower.finish()
    assert taken == content


def test_a_follower_reads_nothing_that_is_not_complete(file, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 64)
    seen, first = [], threading.Event()

    def take(offset: int, chunk: memoryview) -> None:
        seen.append(offset + len(chunk))
        first.set()

    with Follower(file, 1000, [take], lambda _: None) as follower:
        follower.reach(100)
        assert first.wait(timeout=20)
    assert max(seen) <= 100


def test_a_follower_of_a_file_that_is_cut_off_fails(file):
    os.truncate(file, 10)
    with Follower(file, 1000, [], lambda _: None) as follower, pytest.raises(SourceChangedError):
        follower.finish()


def test_an_error_in_a_follower_is_not_lost(file):
    def broken(offset: int, chunk: memoryview) -> None:
        raise ValueError("broken")

    with Follower(file, 1000, [lambda *_: None, broken], lambda _: None) as follower:
        follower.reach(500)
        with pytest.raises(ValueError, match="broken"):
            follower.finish()


def test_a_follower_that_nobody_finishes_ends_at_once(file):
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Follower(file, 1000, [lambda *_: None], lambda _: None):
        raise KeyboardInterrupt
    assert threading.active_count() == threads


LACKING = [[], ["copy_file_range"], ["copy_file_range", "sendfile"]]


@pytest.fixture
def lack(monkeypatch):
    """A system that cannot copy in the ways that are named."""

    def unable(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    return lambda names: [monkeypatch.setattr(kernel.os, name, unable) for name in names]


@pytest.mark.parametrize("large", [0, 1 << 30], ids=["threads", "one thread"])
@pytest.mark.parametrize("lacking", LACKING, ids=len)
def test_every_way_to_copy_brings_the_same_bytes(file, tmp_path, monkeypatch, lack, lacking, large):
    monkeypatch.setattr(kernel, "_STEP", 7)
    monkeypatch.setattr(kernel, "_LARGE", large)
    lack(lacking)
    os.pwrite(file, CONTENT, 0)
    target = os.open(tmp_path / "t", os.O_RDWR | os.O_CREAT)
    told: list[int] = []
    copy_ranges(file, target, [(37, 500, 11), (0, 0, 0), (700, 300, 511), (0, 5, 2)], told.append)
    os.close(target)
    assert sum(told) == 805
    assert (tmp_path / "t").read_bytes() == bytes(2) + CONTENT[:5] + bytes(4) + CONTENT[37:537] + CONTENT[700:]


@pytest.mark.parametrize("large", [0, 1 << 30], ids=["threads", "one thread"])
@pytest.mark.parametrize("lacking", LACKING, ids=len)
def test_a_source_that_ends_too_early_is_noticed_by_every_way(file, tmp_path, monkeypatch, lack, lacking, large):
    monkeypatch.setattr(kernel, "_LARGE", large)
    lack(lacking)
    target = os.open(tmp_path / "t", os.O_RDWR | os.O_CREAT)
    with pytest.raises(SourceChangedError):
        copy_ranges(file, target, [(0, 10, 0), (990, 20, 10)], lambda _: None)
    os.close(target)


@pytest.mark.parametrize("large", [0, 1 << 30], ids=["threads", "one thread"])
def test_an_error_of_the_disk_is_not_taken_for_a_lack_of_ability(file, monkeypatch, large):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel, "_LARGE", large)
    monkeypatch.setattr(kernel.os, "copy_file_range", full)
    threads = threading.active_count()
    with pytest.raises(OSError, match="No space left"):
        copy_ranges(file, file, [(0, 10, 100)], lambda _: None)
    assert threading.active_count() == threads


def test_an_interrupt_ends_the_threads_that_copy(file, monkeypatch):
    def pressed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "_LARGE", 0)
    monkeypatch.setattr(kernel, "_STEP", 1)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        copy_ranges(file, file, [(0, 400, 500)], pressed)
    assert threading.active_count() == threads
