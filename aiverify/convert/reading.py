"""Reading a file once, from front to back, for several consumers of its bytes; reading and writing exact amounts.

Two ways. What is cheap for each byte is done one after the other on a small piece that is still in the processor's
cache. What is dear, such as hashing, is done on larger chunks by several threads at the same time: it releases the
interpreter lock. Memory is one ``PIECE``, or ``CHUNKS`` times ``CHUNK`` bytes, whatever the size of the file.

A file that is nobody else's can be mapped in chunks instead, which saves a copy of every byte. Another's cannot: who
cuts a file ends the program that has mapped it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeAlias

from aiverify.convert.plan import SourceChangedError
from aiverify.progress import Progress

PIECE = 1 << 19
CHUNK = 4 << 20
CHUNKS = 3

Consumer: TypeAlias = Callable[[int, memoryview], object]
"""Takes a chunk and its offset in the file. The chunk is good until it returns."""


class Fan:
    """Hands the chunks of one file to several consumers, each in a thread of its own. Use it as a context manager."""

    def __init__(self, consumers: Sequence[Consumer], size: int, *, ours: bool = False) -> None:
        """``size`` is that of the file in bytes. ``ours`` tells that nobody else can cut it."""
        self._consumers = consumers
        self._ours = ours
        self._buffers = [memoryview(bytearray(min(CHUNK, size))) for _ in range(CHUNKS)]
        self._pending: list[list[Future[object]]] = [[] for _ in self._buffers]
        self.chunk = len(self._buffers[0])
        self._turn = 0
        self._threads = ExitStack()
        self._pools = [self._threads.enter_context(ThreadPoolExecutor(1)) for _ in consumers]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close()

    def hand_on(self, file: int, offset: int, end: int) -> int:
        """Read a chunk from ``offset``, at most to ``end``, and hand it on; its length, 0 at the end of the file.

        Raises what a consumer raised.
        """
        _wait(self._pending[self._turn])
        chunk = self._chunk(file, offset, min(self.chunk, end - offset))
        if chunk:
            self._pending[self._turn] = [
                pool.submit(consumer, offset, chunk)
                for pool, consumer in zip(self._pools, self._consumers, strict=True)
            ]
            self._turn = (self._turn + 1) % len(self._buffers)
        return len(chunk)

    def _chunk(self, file: int, offset: int, length: int) -> memoryview:
        if self._ours:
            with contextlib.suppress(OSError, ValueError):  # some file systems cannot map
                return _mapped(file, offset, length)
        chunk = self._buffers[self._turn][:length]
        return chunk[: os.preadv(file, [chunk], offset)]

    def drain(self) -> None:
        """Return when everything was taken. Raises what a consumer raised."""
        for futures in self._pending:
            _wait(futures)


def read_through(file: int, size: int, consumers: Sequence[Consumer], progress: Progress) -> None:
    """Hand every byte of ``file`` (a descriptor), ``size`` of them, to all ``consumers``.

    Raises SourceChangedError if the file ends early, and whatever a consumer raises.
    """
    with Fan(consumers, size) as fan:
        offset = 0
        while offset < size:
            length = fan.hand_on(file, offset, size)
            if not length:
                raise SourceChangedError(f"the file ends at byte {offset}, {size} were expected")
            offset += length
            progress.advance(length)
        fan.drain()


def read_in_pieces(file: int, size: int, consumers: Sequence[Consumer], progress: Progress) -> None:
    """Like ``read_through``, but the consumers take turns in this thread."""
    buffer = memoryview(bytearray(min(PIECE, size)))
    offset = 0
    while offset < size:
        length = os.preadv(file, [buffer[: size - offset]], offset)
        if not length:
            raise SourceChangedError(f"the file ends at byte {offset}, {size} were expected")
        for consumer in consumers:
            consumer(offset, buffer[:length])
        offset += length
        progress.advance(length)


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


def _mapped(file: int, offset: int, length: int) -> memoryview:
    """The bytes of ``file`` where they lie; the mapping ends with the last view of it."""
    begin = offset - offset % mmap.ALLOCATIONGRANULARITY
    mapping = mmap.mmap(file, offset + length - begin, prot=mmap.PROT_READ, offset=begin)
    return memoryview(mapping)[offset - begin :]


def _wait(futures: list[Future[object]]) -> None:
    for future in futures:
        future.result()
