"""The bytes of one tensor out of a deflated storage: in one pass, in bounded memory, with size and checksum exact.

The whole storage is inflated even for a part of it, because only then is its CRC-32 known. What was handed out before
an error was found is worth nothing: the caller throws the twin away.

Source: RFC 1951 (deflate), APPNOTE.TXT 6.3.10 (PKWARE).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from aiverify.convert.plan import ConversionError, PlannedTensor, StorageChecksumError
from aiverify.formats.checkpoint import Inflated
from aiverify.formats.safetensors import shown

CHUNK = 1 << 20  # a multiple of every element size


def inflated_parts(
    tensor: PlannedTensor, inflated: Inflated, length: int, read: Callable[[int, int], bytes]
) -> Iterator[bytearray]:
    """``length`` bytes of the storage of ``tensor``, from ``tensor.skip`` on, in parts of ``CHUNK`` bytes.

    Raises ConversionError if the data is broken or longer or shorter than stated, StorageChecksumError for the CRC.
    """
    position, crc = 0, 0
    begin, end = tensor.skip, tensor.skip + length
    part = bytearray()
    for data in _chunks(tensor, read):
        position += len(data)
        if position > inflated.length:
            raise _broken(tensor, f"it inflates to more than the {inflated.length} bytes that are stated")
        crc = zlib.crc32(data, crc)
        start = position - len(data)
        part += memoryview(data)[max(begin - start, 0) : max(end - start, 0)]
        while len(part) >= CHUNK:
            yield part[:CHUNK]
            del part[:CHUNK]
    if position != inflated.length:
        raise _broken(tensor, f"it inflates to {position} bytes, {inflated.length} are stated")
    if crc != inflated.crc32:
        raise StorageChecksumError(tensor.storage, inflated.crc32, crc)
    if part:
        yield part


def _chunks(tensor: PlannedTensor, read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """Everything that comes out of the compressed bytes, at most ``CHUNK`` at a time."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    done = 0
    waiting = b""
    while not machine.eof:
        if not waiting and done < tensor.source_length:
            waiting = read(tensor.source_offset + done, min(CHUNK, tensor.source_length - done))
            done += len(waiting)
        try:
            data = machine.decompress(waiting, CHUNK)
        except zlib.error as error:
            raise _broken(tensor, "its compressed data is broken") from error
        waiting = machine.unconsumed_tail
        if not data and not waiting and not machine.eof and done >= tensor.source_length:
            raise _broken(tensor, "its compressed data breaks off")
        if data:
            yield data
    if machine.unused_data or waiting or done < tensor.source_length:
        raise _broken(tensor, "bytes follow its compressed data")


def _broken(tensor: PlannedTensor, reason: str) -> ConversionError:
    return ConversionError(f"storage {shown(tensor.storage)}: {reason}")
