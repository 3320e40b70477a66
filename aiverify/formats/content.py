"""The bytes of one file, or of one member of it, as every reader of a format takes them.

Nothing is ever unpacked under a name. A stored member is a window on the file that holds it; what has to be inflated
lies in memory while it is small, and then in a temporary file without a name that is gone when it is closed.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from aiverify.formats.interface import FormatError
from aiverify.pickles.machine import Buffer

IN_MEMORY = 8 << 20
_LEAST_LIMIT = 256 << 20
_PROPORTION = 250


@dataclass(slots=True)
class Allowance:
    """What is left to spend on the members of one file: bytes that come out of decompression, and members.

    A single stream may grow to ``_PROPORTION`` times its size, or to 256 MiB if that is more.
    """

    inflated: int = 16 << 30
    members: int = 20_000

    def limit(self, compressed: int) -> int:
        """How many bytes may come out of ``compressed`` bytes."""
        return min(self.inflated, max(_LEAST_LIMIT, _PROPORTION * compressed))


@dataclass(frozen=True, slots=True)
class Content:
    """``data`` to read in place, ``file`` to read from front to back: the same ``size`` bytes."""

    data: Buffer
    file: BinaryIO

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)


def in_place(data: bytes) -> Content:
    """Bytes that lie in memory."""
    return Content(data, io.BytesIO(data))


@contextlib.contextmanager
def on_disk(file: BinaryIO) -> Iterator[Content]:
    """The content of an open file. Raises OSError or ValueError when it cannot be mapped."""
    if not file.seek(0, 2):
        yield Content(b"", file)
        return
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        yield Content(data, file)
    finally:
        with contextlib.suppress(BufferError):  # a view that an exception still holds; it closes the map when it goes
            data.close()


@contextlib.contextmanager
def window(content: Content, start: int, length: int) -> Iterator[Content]:
    """``length`` bytes from ``start`` of ``content``, without a copy. Raises FormatError if they are not all there."""
    if start < 0 or length < 0 or length > content.size - start:
        raise FormatError("a member reaches past the end of the file")
    view = memoryview(content.data)
    part = view[start : start + length]
    try:
        yield Content(part, cast("BinaryIO", _Part(content.file, start, length)))
    finally:
        with contextlib.suppress(BufferError):
            part.release()
            view.release()


@dataclass(slots=True)
class Inflated:
    """What came out of a decompression: all of it, or what came before ``fault``. ``bomb``: it had to be stopped."""

    content: Content
    fault: str | None = None
    bomb: bool = False
    wrong_checksum: bool = False


@contextlib.contextmanager
def inflated(parts: Iterator[bytes], compressed: int, allowance: Allowance) -> Iterator[Inflated]:
    """The joined ``parts`` that come out of ``compressed`` bytes, as far as the allowance reaches.

    ``parts`` may raise FormatError where the compressed data is broken: what came before is there all the same, as a
    loader would have used it by then. Raises FormatError when there is no room to put the bytes.
    """
    limit = allowance.limit(compressed)
    total, fault, bomb = 0, None, False
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
        try:
            for part in parts:
                total += len(part)
                if total > limit:
                    fault, bomb = f"{compressed} bytes expand to more than {limit}", True
                    break
                spool.write(part)
        except FormatError as error:
            fault = str(error)
        except OSError as error:
            raise FormatError(f"no room to decompress it: {error.strerror or error}") from error
        allowance.inflated -= min(total, limit)
        if total <= IN_MEMORY:
            spool.seek(0)
            yield Inflated(in_place(spool.read()), fault, bomb)
            return
        spool.rollover()
        spool.flush()
        with on_disk(cast("BinaryIO", spool)) as content:
            yield Inflated(content, fault, bomb)


class _Part(io.RawIOBase):
    """``length`` bytes from ``start`` of another file, as a file that is only read.

    What is read this way is not counted as memory of this process, as the pages of a memory map are.
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to ``offset``, and return the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes; all that is left if ``size`` is negative."""
        left = max(0, self._length - self._position)
        self._file.seek(self._start + self._position)
        part = self._file.read(left if size is None or size < 0 else min(size, left))
        self._position += len(part)
        return part

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def readinto(self, target: object, /) -> int:
        """Fill ``target``; the number of bytes."""
        view = memoryview(target)  # type: ignore[arg-type]  # the base class takes any writable buffer
        part = self.read(len(view))
        view[: len(part)] = part
        return len(part)
