"""Ranges of one file copied into another by the system itself, without the bytes passing through this program.

Large ranges are copied by several threads at the same time: where the disk is quick, one alone waits for its processor.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock

from aiverify.convert.plan import SourceChangedError
from aiverify.convert.reading import read_exactly, write_exactly

Range = tuple[int, int, int]
"""Where it stands in the source, how many bytes it has, and where it goes in the target."""

_STEP = 16 << 20
_BUFFER = 1 << 20
_LARGE = 1 << 20  # bytes of a range, on average, from which more than one thread is quicker
_THREADS = 4
_UNABLE = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF, errno.ENOTSUP}
)


def copy_ranges(source: int, target: int, ranges: Sequence[Range], advance: Callable[[int], object]) -> None:
    """Copy ``ranges`` of the descriptor ``source`` into ``target``, which is open for writing.

    ``advance`` is told how many bytes were copied, by one thread at a time. Raises SourceChangedError if the source
    ends early, and OSError.
    """
    copier = _Copier(source, target, advance)
    large = sum(length for _, length, _ in ranges) >= _LARGE * max(len(ranges), 1)
    count = min(_THREADS, os.cpu_count() or 1) if large else 1
    steps = _steps(ranges)
    if count == 1:
        copier.work(steps)
        return
    shared = _Shared(steps)
    with ThreadPoolExecutor(count) as pool:
        try:
            for done in as_completed([pool.submit(copier.work, shared) for _ in range(count)]):
                done.result()
        finally:
            shared.stop.set()  # an interrupt, or what went wrong in one thread, ends the others


def _steps(ranges: Sequence[Range]) -> Iterator[Range]:
    for offset, length, place in ranges:
        for done in range(0, length, _STEP):
            yield offset + done, min(_STEP, length - done), place + done


class _Shared:
    """The same ranges for several threads: each is given once."""

    def __init__(self, ranges: Iterator[Range]) -> None:
        self._ranges = ranges
        self._lock = Lock()
        self.stop = Event()

    def __iter__(self) -> Iterator[Range]:
        while not self.stop.is_set():
            with self._lock:
                found = next(self._ranges, None)
            if found is None:
                return
            yield found


class _Copier:
    """Copies by the fastest way that the system has."""

    def __init__(self, source: int, target: int, advance: Callable[[int], object]) -> None:
        self._source = source
        self._target = target
        self._advance = advance
        self._lock = Lock()
        self._ways = (self._by_range, self._by_sendfile, self._by_hand)
        self._way = 0

    def work(self, ranges: Iterator[Range] | _Shared) -> None:
        """Copy ``ranges``, one after the other."""
        for offset, length, place in ranges:
            end = offset + length
            while offset < end:
                done = self._some(offset, end - offset, place)
                if not done:
                    raise SourceChangedError(f"the file ends at byte {offset}")
                with self._lock:
                    self._advance(done)
                offset, place = offset + done, place + done

    def _some(self, offset: int, length: int, place: int) -> int:
        while True:
            way = self._way
            try:
                return self._ways[way](offset, length, place)
            except OSError as error:
                if error.errno not in _UNABLE or way + 1 == len(self._ways):
                    raise
                self._way = max(self._way, way + 1)

    def _by_range(self, offset: int, length: int, place: int) -> int:
        copy = getattr(os, "copy_file_range", None)
        if copy is None:
            raise OSError(errno.ENOSYS, "no copy_file_range")
        return int(copy(self._source, self._target, length, offset, place))

    def _by_sendfile(self, offset: int, length: int, place: int) -> int:
        with self._lock:  # the position in the file is one for all threads
            os.lseek(self._target, place, os.SEEK_SET)
            return os.sendfile(self._target, self._source, offset, length)

    def _by_hand(self, offset: int, length: int, place: int) -> int:
        data = read_exactly(self._source, offset, min(length, _BUFFER))
        write_exactly(self._target, memoryview(data), place)
        return len(data)
