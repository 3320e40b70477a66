"""The records of a zip archive: how they are laid out, and what their fields say.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

EOCD = struct.Struct("<4s4H2LH")
EOCD64_LOCATOR = struct.Struct("<4sLQL")
EOCD64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
EOCD_SIGN, EOCD64_LOCATOR_SIGN, CENTRAL_SIGN = b"PK\x05\x06", b"PK\x06\x07", b"PK\x01\x02"
#: The bytes from the end of a file in which the end of a directory may begin.
TAIL = EOCD.size + 0xFFFF
#: The lengths that a data descriptor may have.
DESCRIPTORS = (12, 16, 20, 24)


def has_directory(file: BinaryIO, size: int, *, moved: bool = True) -> bool:
    """Whether a directory stands before the end of an archive that ``file`` ends with, as readers look for it.

    It may have ``moved`` since its offset was written, or stands where that says.
    """
    end = last_end(file, size)
    if end is None:
        return False
    file.seek(end)
    stated = EOCD.unpack(file.read(EOCD.size))
    place = end - stated[5] if moved else stated[6]
    file.seek(max(0, place))
    at_its_place = place >= 0 and file.read(len(CENTRAL_SIGN)) == CENTRAL_SIGN
    file.seek(max(0, end - EOCD64_LOCATOR.size))
    locator = file.read(min(end, EOCD64_LOCATOR.size))
    return at_its_place or locator.startswith(EOCD64_LOCATOR_SIGN)


def last_end(file: BinaryIO, size: int) -> int | None:
    """Where the last end of a directory stands that readers find in ``file``; ``None`` if there is none."""
    length = min(size, TAIL)
    file.seek(size - length)
    tail = file.read(length)
    found = tail.rfind(EOCD_SIGN, 0, max(0, len(tail) - EOCD.size + len(EOCD_SIGN)))
    return None if found < 0 else size - length + found


def name_of(raw: bytes) -> str:
    """A name as readers show it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def descriptors(crc32: int, compressed: int, size: int, length: int) -> tuple[bytes, ...]:
    """The data descriptors of ``length`` bytes that state this: with or without signature, narrow or wide."""
    wide = length >= DESCRIPTORS[2]
    if not wide and max(compressed, size) > 0xFFFFFFFF:
        return ()
    plain = struct.pack("<LQQ" if wide else "<3L", crc32, compressed, size)
    return (plain,) if len(plain) == length else (b"PK\x07\x08" + plain,)


def extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields: their kinds and values."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        yield kind, extra[position + 4 : position + 4 + length]
        position += 4 + length


def widened(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """``values`` (size, compressed, header) with the saturated ones taken from the zip64 extra field."""
    for kind, value in extras(extra):
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{len(value) // 8}Q", value))
            size, compressed, header = (next(wide, narrow) if narrow == 0xFFFFFFFF else narrow for narrow in values)
            return size, compressed, header
    return values
