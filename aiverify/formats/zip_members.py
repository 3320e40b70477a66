"""Reading the members of a zip archive: in place where they are stored, inflated within limits where they are not.

Sizes and CRC must be exact. What came out of a broken member is there all the same: a loader that reads while it
inflates has used it by then.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import replace

from aiverify.formats.archives import ArchiveError, Entry
from aiverify.formats.content import Allowance, Content, Inflated, in_place, inflated, window

_STEP = 1 << 20
_CHUNK = 1 << 16


@contextlib.contextmanager
def open_member(content: Content, entry: Entry, allowance: Allowance) -> Iterator[Inflated]:
    """The content of ``entry`` of the archive ``content``. Raises FormatError when there is nothing to read."""
    with window(content, entry.start, entry.compressed) as raw:
        if entry.stored:
            yield Inflated(raw, _wrong_size(entry, raw.size), wrong_checksum=_checksum(raw) != entry.crc32)
            return
        if not entry.deflated:
            raise ArchiveError(f"{entry.name}: compression method {entry.method} is not supported")
        with inflated(_inflate(entry, raw), entry.compressed, allowance) as result:
            result.fault = result.fault or _wrong_size(entry, result.content.size)
            result.wrong_checksum = result.fault is None and _checksum(result.content) != entry.crc32
            yield result


def read_member(content: Content, entry: Entry, allowance: Allowance, *, limit: int) -> tuple[bytes, Inflated]:
    """The whole content of ``entry`` in memory, at most ``limit`` bytes, and how it came out. Raises FormatError."""
    if entry.size > limit:
        raise ArchiveError(f"{entry.name}: {entry.size} bytes are more than the limit of {limit}")
    with open_member(content, entry, allowance) as result:
        data = bytes(result.content.data[: limit + 1])
        if len(data) > limit:
            raise ArchiveError(f"{entry.name}: inflates to more than the limit of {limit}")
        return data, replace(result, content=in_place(data))


def _wrong_size(entry: Entry, size: int) -> str | None:
    return None if size == entry.size else f"{entry.name}: holds another number of bytes than its header states"


def _checksum(content: Content) -> int:
    content.file.seek(0)
    value = 0
    while part := content.file.read(_STEP):
        value = zlib.crc32(part, value)
    return value


def _inflate(entry: Entry, raw: Content) -> Iterator[bytes]:
    """The parts of a raw deflate stream that must end where its data ends."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    raw.file.seek(0)
    try:
        while not inflate.eof:
            part = inflate.unconsumed_tail or raw.file.read(_CHUNK)
            out = inflate.decompress(part, _STEP)
            yield out
            if not part and not out and not inflate.eof:
                raise ArchiveError(f"{entry.name}: the compressed data is cut off")
    except zlib.error as error:
        raise ArchiveError(f"{entry.name}: the compressed data is broken") from error
    if inflate.unused_data or raw.file.read(1):
        raise ArchiveError(f"{entry.name}: the compressed data does not end where its header states")
