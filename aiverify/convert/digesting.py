"""SHA-256 of a file and of ranges in it, in one pass over it, or behind a writer that is still at work.

The digests are always those of bytes that were read from the file, never of bytes that were meant to be in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from types import TracebackType
from typing import Self

from aiverify.convert.plan import SourceChangedError
from aiverify.convert.reading import Consumer, Fan, Ranges, read_through
from aiverify.progress import Progress


class RangeDigests:
    """The SHA-256 of each of ``ranges`` (offset and length in bytes), of chunks that come in order."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        """All begin as the digest of nothing."""
        self._ranges = ranges
        self._split = Ranges(ranges)
        self._begun: dict[int, hashlib._Hash] = {}
        self.digests = [hashlib.sha256().hexdigest()] * len(ranges)

    def take(self, offset: int, chunk: memoryview) -> None:
        """Takes the chunk that stands at ``offset``."""
        for index, done, part in self._split.parts(offset, chunk):
            if len(part) == self._ranges[index][1]:
                self.digests[index] = hashlib.sha256(part).hexdigest()
                continue
            digest = self._begun.setdefault(index, hashlib.sha256())
            digest.update(part)
            if done + len(part) == self._ranges[index][1]:
                self.digests[index] = self._begun.pop(index).hexdigest()


def range_digests(file: int, size: int, ranges: Sequence[tuple[int, int]], progress: Progress) -> tuple[str, list[str]]:
    """The SHA-256 of the whole ``file`` of ``size`` bytes, and of each of ``ranges`` (offset and length), in hex."""
    whole = hashlib.sha256()
    parts = RangeDigests(ranges)
    read_through(file, size, [lambda _, chunk: whole.update(chunk), parts.take], progress)
    return whole.hexdigest(), parts.digests


class Follower:
    """Reads a file in a thread of its own, in order, as far as it is complete. Use it as a context manager."""

    def __init__(
        self,
        file: int,
        size: int,
        consumers: Sequence[Consumer],
        advance: Callable[[int], object],
        *,
        ours: bool = False,
    ) -> None:
        """Each of ``consumers`` gets every chunk, ``advance`` the number of bytes that were read.

        ``ours`` tells that nobody else can cut the file.
        """
        self._file = file
        self._size = size
        self._consumers = consumers
        self._advance = advance
        self._ours = ours
        self._complete = 0
        self._stopped = False
        self._further = Condition()
        self._thread = ThreadPoolExecutor(1)
        self._work = self._thread.submit(self._follow)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._further:
            self._stopped = True
            self._further.notify()
        self._thread.shutdown(cancel_futures=True)

    def reach(self, end: int) -> None:
        """The first ``end`` bytes of the file are complete. Raises what went wrong in the thread."""
        if self._work.done():
            self._work.result()
        with self._further:
            self._complete = end
            self._further.notify()

    def finish(self) -> None:
        """The whole file is complete. Returns when all of it has been taken."""
        self.reach(self._size)
        self._work.result()

    def _await(self, end: int) -> int:
        """How far the file is complete, when that is ``end`` or when nobody waits for the rest any more."""
        with self._further:
            self._further.wait_for(lambda: self._stopped or self._complete >= end)
            return self._complete

    def _follow(self) -> None:
        done = 0
        with Fan(self._consumers, self._size, ours=self._ours) as fan:
            while done < self._size and not self._stopped:
                complete = self._await(min(done + fan.chunk, self._size))  # a piece of a chunk is not worth a turn
                while done < complete and not self._stopped:
                    count = fan.hand_on(self._file, done, complete)
                    if not count:
                        raise SourceChangedError(f"the file ends at byte {done}")
                    self._advance(count)
                    done += count
            fan.drain()
