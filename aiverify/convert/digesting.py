"""SHA-256 of a file and of ranges in it, in one pass over it, or behind a writer that is still at work.

The digests are always those of bytes that were read from the file, never of bytes that were meant to be in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from aiverify.convert.plan import SourceChangedError
from aiverify.convert.reading import Consumer, Ranges, read_through
from aiverify.progress import Progress

CHUNK = 1 << 20


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

    def __init__(self, file: int, take: Consumer, advance: Callable[[int], object]) -> None:
        """``take`` gets every chunk with its offset, ``advance`` the number of bytes that were read."""
        self._file = file
        self._take = take
        self._advance = advance
        self._buffer = memoryview(bytearray(CHUNK))
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self._done = 0
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._thread.shutdown(cancel_futures=True)

    def reach(self, end: int) -> None:
        """The first ``end`` bytes of the file are complete."""
        if self._last is not None and self._last.done():
            self._last.result()
        self._last = self._thread.submit(self._read_to, end)

    def finish(self, size: int) -> None:
        """All ``size`` bytes are complete. Returns when they have been taken."""
        self._thread.submit(self._read_to, size).result()

    def _read_to(self, end: int) -> None:
        while self._done < end and not self._stopped:
            count = os.preadv(self._file, [self._buffer[: end - self._done]], self._done)
            if not count:
                raise SourceChangedError(f"the file ends at byte {self._done}")
            self._take(self._done, self._buffer[:count])
            self._advance(count)
            self._done += count
