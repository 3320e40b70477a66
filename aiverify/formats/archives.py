"""Reading zip archives so that no reader sees something else in them.

Rules it keeps:

1. Every entry is read from the central directory *and* from its local header; where the two differ, that is an anomaly.
2. Two entries with one name are an anomaly. Names that differ in letter case only are the business of formats whose
   reader ignores it.
3. Bytes that belong to nothing (before, between and behind the entries, behind the directory) are an anomaly. Only an
   entry that says so is followed by a data descriptor, which must state what the directory states.
4. A second name in an extra field, which some readers take instead of the first, is an anomaly.

Source: APPNOTE.TXT 6.3.10 (PKWARE); zip64 included, encryption and multi-disk archives refused. Readers of archives
with bytes before them: CPython Lib/zipfile, ``_RealGetContents``.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from aiverify.formats.interface import FormatError

_EOCD = struct.Struct("<4s4H2LH")
_EOCD64_LOCATOR = struct.Struct("<4sLQL")
_EOCD64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EOCD_SIGN = b"PK\x05\x06"
_TAIL = _EOCD.size + 0xFFFF
_MAX_DIRECTORY = 128 << 20
_DESCRIPTORS = (12, 16, 20, 24)
_UNICODE_PATH = 0x7075
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8


class ArchiveError(FormatError):
    """The archive cannot be read. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member: where its local header (``header``) and its data (``start``) begin, and what the directory states.

    ``compressed`` and ``size`` are in bytes; ``method`` is 0 (stored) or 8 (deflated), or one that we do not read.
    """

    name: str
    header: int
    start: int
    compressed: int
    size: int
    method: int
    crc32: int

    @property
    def stored(self) -> bool:
        """Whether the data lies in the file as it is."""
        return self.method == _STORED

    @property
    def deflated(self) -> bool:
        """Whether the data is a deflate stream."""
        return self.method == _DEFLATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """Something in the archive that readers disagree about (``rule`` AIV402) or that is unsafe to unpack (AIV403)."""

    rule: str
    text: str
    offset: int
    member: str | None = None


@dataclass(slots=True)
class Listing:
    """The members of an archive in the order of the directory, and what is odd about it.

    ``before`` is how many bytes were put before the archive after its offsets were written.
    """

    entries: list[Entry] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    before: int = 0


def read_zip(file: BinaryIO, size: int) -> Listing:
    """List the archive in ``file`` of ``size`` bytes. Raises ArchiveError when it cannot be listed."""
    return _Lister(file, size).run()


def ends_in_zip(file: BinaryIO, size: int) -> bool:
    """Whether readers of archives find one with entries at the end of ``file``, whatever it begins with."""
    try:
        return bool(read_zip(file, size).entries)
    except ArchiveError:
        return False


class _Lister:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.listing = Listing()

    def _at(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:  # asked before reading: the numbers are the archive's own
            raise ArchiveError("the archive is shorter than its headers state")
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            raise ArchiveError("the archive cannot be read")
        return data

    def _odd(self, text: str, offset: int, member: str | None = None, *, rule: str = "AIV402") -> None:
        self.listing.oddities.append(Oddity(rule=rule, text=text, offset=offset, member=member))

    def run(self) -> Listing:
        start, length, count = self._directory()
        directory = self._at(start, length)
        position = 0
        spans: list[tuple[int, int, str]] = []
        seen: set[str] = set()
        while position < length:
            entry, flags, position = self._entry(directory, position)
            if entry.name in seen:
                self._odd(f"two entries are named {entry.name!r}", entry.header, entry.name)
            seen.add(entry.name)
            self._check_name(entry)
            self.listing.entries.append(entry)
            spans.append((entry.header, self._end(entry, flags), entry.name))
        if len(self.listing.entries) != count:
            self._odd("the directory holds another number of entries than its end states", start)
        self._check_spans(spans, start)
        return self.listing

    def _directory(self) -> tuple[int, int, int]:
        """Start and length of the central directory, and the number of entries that it should have."""
        length = min(self.size, _TAIL)
        tail = self._at(self.size - length, length)
        found = tail.rfind(_EOCD_SIGN)
        if found < 0 or len(tail) - found < _EOCD.size:
            raise ArchiveError("no end of the zip directory")
        end = self.size - length + found
        _, disk, first_disk, _, count, size, start, comment = _EOCD.unpack_from(tail, found)
        if disk or first_disk:
            raise ArchiveError("a zip archive in several parts")
        if end + _EOCD.size + comment != self.size:
            self._odd("bytes follow the end of the archive", end)
        directory_end = end
        if end >= _EOCD64_LOCATOR.size:
            locator = self._at(end - _EOCD64_LOCATOR.size, _EOCD64_LOCATOR.size)
            if locator[:4] == b"PK\x06\x07":
                directory_end, record = self._zip64_end(_EOCD64_LOCATOR.unpack(locator)[2], end)
                self._check_zip64((count, size, start), (record[7], record[8], record[9]), directory_end)
                count, size, start = record[7:10]
        if size > _MAX_DIRECTORY:
            raise ArchiveError(f"a zip directory of {size} bytes")
        self.listing.before = directory_end - start - size
        if self.listing.before < 0:
            raise ArchiveError("the zip directory is not where its end states")
        if self.listing.before:
            self._odd(f"{self.listing.before} bytes were put before the archive, or before its directory", 0)
        return start + self.listing.before, size, count

    def _zip64_end(self, stated: int, end: int) -> tuple[int, tuple[int, ...]]:
        """Where the zip64 end of the directory is, and its fields. It may have moved with the whole archive."""
        for place in (stated, end - _EOCD64_LOCATOR.size - _EOCD64.size):
            if 0 <= place <= self.size - _EOCD64.size:
                record = _EOCD64.unpack(self._at(place, _EOCD64.size))
                if record[0] == b"PK\x06\x06":
                    if place != stated:
                        self._odd("the zip64 end of the directory is not where its locator states", place)
                    return place, record
        raise ArchiveError("a broken zip64 directory")

    def _check_zip64(self, plain: tuple[int, int, int], wide: tuple[int, int, int], offset: int) -> None:
        limits = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        if any(narrow not in (limit, full) for narrow, full, limit in zip(plain, wide, limits, strict=True)):
            self._odd("the two ends of the directory disagree", offset)

    def _entry(self, directory: bytes, position: int) -> tuple[Entry, int, int]:
        """The entry at ``position`` of the directory, its flags, and where the next one begins."""
        if len(directory) - position < _CENTRAL.size:
            raise ArchiveError("a truncated zip directory")
        fields = _CENTRAL.unpack_from(directory, position)
        sign, _, _, flags, method, _, _, crc, compressed, size, n_name, n_extra, n_comment, *_, external, header = (
            fields
        )
        after = position + _CENTRAL.size + n_name + n_extra + n_comment
        if sign != b"PK\x01\x02" or after > len(directory):
            raise ArchiveError("a broken zip directory")
        names = position + _CENTRAL.size
        raw = directory[names : names + n_name]
        extra = directory[names + n_name : names + n_name + n_extra]
        size, compressed, header = _widened(extra, (size, compressed, header))
        header += self.listing.before
        name = _name(raw)
        if any(kind == _UNICODE_PATH and value[5:] != raw for kind, value in _extras(extra)):
            self._odd("an extra field gives it another name", header, name)
        if flags & _ENCRYPTED:
            raise ArchiveError(f"{name}: encrypted")
        if stat.S_ISLNK(external >> 16):
            self._odd("a symbolic link", header, name, rule="AIV403")
        start = self._local(name, raw, header, flags, (method, crc, compressed, size))
        if method == _STORED and compressed != size:
            self._odd("a stored entry with two sizes", header, name)
        entry = Entry(name=name, header=header, start=start, compressed=compressed, size=size, method=method, crc32=crc)
        return entry, flags, after

    def _end(self, entry: Entry, flags: int) -> int:
        """Where ``entry`` ends: behind its data, or behind a data descriptor that states what the directory states."""
        end = entry.start + entry.compressed
        if not flags & _DESCRIPTOR or end > self.size:
            return end
        self.file.seek(end)
        rest = self.file.read(min(max(_DESCRIPTORS), self.size - end))
        for length in _DESCRIPTORS:
            if rest[:length] in _descriptors(entry, length):
                return end + length
        if rest[:4] == b"PK\x07\x08":
            self._odd("its data descriptor states something else than the directory", entry.header, entry.name)
        return end

    def _local(self, name: str, raw: bytes, header: int, flags: int, stated: tuple[int, int, int, int]) -> int:
        """Compare the local header with what the directory states; the offset at which the data begins."""
        sign, _, l_flags, l_method, _, _, l_crc, l_compressed, l_size, n_name, n_extra = _LOCAL.unpack(
            self._at(header, _LOCAL.size)
        )
        if sign != b"PK\x03\x04":
            raise ArchiveError(f"{name}: no local header where the directory states one")
        rest = self._at(header + _LOCAL.size, n_name + n_extra)
        method, crc, compressed, size = stated
        if rest[:n_name] != raw:
            self._odd(f"its local header names it {_name(rest[:n_name])!r}", header, name)
        if l_method != method:
            self._odd("its two headers state different compression methods", header, name)
        if (l_flags ^ flags) & (_ENCRYPTED | _DESCRIPTOR):
            self._odd("its two headers have different flags", header, name)
        if not l_flags & _DESCRIPTOR:
            l_size, l_compressed, _ = _widened(rest[n_name:], (l_size, l_compressed, 0))
            if (l_crc, l_compressed, l_size) != (crc, compressed, size):
                self._odd("its two headers state different sizes or checksums", header, name)
        return header + _LOCAL.size + len(rest)

    def _check_name(self, entry: Entry) -> None:
        parts = entry.name.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in entry.name:
            self._odd("a name that leads out of the archive", entry.header, entry.name, rule="AIV403")

    def _check_spans(self, spans: list[tuple[int, int, str]], directory: int) -> None:
        for text, offset, member in _gaps(sorted(spans), directory):
            self._odd(text, offset, member)


def _gaps(spans: list[tuple[int, int, str]], directory: int) -> Iterator[tuple[str, int, str | None]]:
    """What is wrong with how the entries follow each other, up to the directory."""
    reached = 0
    for begin, end, name in spans:
        if begin < reached:
            yield "overlaps another entry", begin, name
        elif begin > reached:
            yield "bytes that belong to no entry stand before it", reached, name
        reached = max(reached, end)
    if reached > directory:
        yield "reaches into the directory", reached, spans[-1][2]
    elif directory > reached:
        yield "bytes that belong to no entry stand before the directory", reached, None


def _name(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _descriptors(entry: Entry, length: int) -> tuple[bytes, ...]:
    """The data descriptors of ``length`` bytes that ``entry`` may have: with or without signature, narrow or wide."""
    wide = length >= _DESCRIPTORS[2]
    if not wide and max(entry.compressed, entry.size) > 0xFFFFFFFF:
        return ()
    plain = struct.pack("<LQQ" if wide else "<3L", entry.crc32, entry.compressed, entry.size)
    return (plain,) if len(plain) == length else (b"PK\x07\x08" + plain,)


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields: their kinds and values."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        yield kind, extra[position + 4 : position + 4 + length]
        position += 4 + length


def _widened(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """``values`` (size, compressed, header) with the saturated ones taken from the zip64 extra field."""
    for kind, value in _extras(extra):
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{len(value) // 8}Q", value))
            size, compressed, header = (next(wide, narrow) if narrow == 0xFFFFFFFF else narrow for narrow in values)
            return size, compressed, header
    return values
