"""One pass over a file, from front to back, with several readers of the same bytes at the same time.

Each consumer runs in a thread of its own and gets every chunk in order; hashing, checksums and writing release the
interpreter lock, so they overlap. Memory is ``CHUNKS`` chunks of ``CHUNK`` bytes, whatever the size of the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeAlias

from aiverify.convert.plan import SourceChangedError
from aiverify.progress import Progress

CHUNK = 4 << 20
CHUNKS = 3

Consumer: TypeAlias = Callable[[int, memoryview], object]
"""Takes a chunk and its offset in the file. The chunk is good until it returns."""


def read_through(file: int, size: int, consumers: Sequence[Consumer], progress: Progress) -> None:
    """Hand every byte of ``file`` (a descriptor), ``size`` of them, to all ``consumers``.

    Raises SourceChangedError if the file ends early, and whatever a consumer raises.
    """
    with ExitStack() as threads:
        pools = [threads.enter_context(ThreadPoolExecutor(1)) for _ in consumers]
        buffers = [memoryview(bytearray(min(CHUNK, size))) for _ in range(CHUNKS)]
        pending: list[list[Future[object]]] = [[] for _ in buffers]
        offset = turn = 0
        while offset < size:
            _wait(pending[turn])
            chunk = buffers[turn][: size - offset]
            length = os.preadv(file, [chunk], offset)
            if not length:
                raise SourceChangedError(f"the file ends at byte {offset}, {size} were expected")
            pending[turn] = [
                pool.submit(consumer, offset, chunk[:length]) for pool, consumer in zip(pools, consumers, strict=True)
            ]
            offset += length
            turn = (turn + 1) % len(buffers)
            progress.advance(length)
        for futures in pending:
            _wait(futures)


def read_exactly(file: int, offset: int, length: int) -> bytes:
    """``length`` bytes at ``offset``. Raises SourceChangedError if the file is shorter."""
    data = os.pread(file, length, offset)
    if len(data) == length:
        return data
    parts = [data]
    while length > (done := sum(map(len, parts))):
        part = os.pread(file, length - done, offset + done)
        if not part:
            raise SourceChangedError(f"the file ends at byte {offset + done}")
        parts.append(part)
    return b"".join(parts)


def write_exactly(file: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``."""
    while data:
        done = os.pwrite(file, data, offset)
        data, offset = data[done:], offset + done


class Ranges:
    """Which bytes of the chunks belong to which of many ranges, which may overlap. Chunks must come in order."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        """``ranges`` are offsets and lengths in bytes."""
        self.ranges = ranges
        self.waiting = sorted(
            (index for index, (_, length) in enumerate(ranges) if length), key=self._start, reverse=True
        )
        self.open: list[int] = []

    def _start(self, index: int) -> int:
        return self.ranges[index][0]

    def parts(self, offset: int, chunk: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """For each range that ``chunk`` has bytes of: its index, how many of its bytes came before, and the bytes."""
        end = offset + len(chunk)
        while self.waiting and self._start(self.waiting[-1]) < end:
            self.open.append(self.waiting.pop())
        still_open: list[int] = []
        for index in self.open:
            start, length = self.ranges[index]
            begin = max(start, offset)
            yield index, begin - start, chunk[begin - offset : start + length - offset]
            if start + length > end:
                still_open.append(index)
        self.open = still_open


def _wait(futures: list[Future[object]]) -> None:
    for future in futures:
        future.result()
