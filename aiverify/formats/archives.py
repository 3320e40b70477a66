"""Reading zip archives so that no reader sees something else in them.

Rules it keeps:

1. Every entry is read from the central directory *and* from its local header; where the two differ, that is an anomaly.
2. Two entries with one name are an anomaly. Names that differ in letter case only are the business of formats whose
   reader ignores it.
3. Bytes that belong to nothing (before, between and behind the entries, behind the directory) are an anomaly. Only an
   entry that says so is followed by a data descriptor, which must state what the directory states.
4. A second name in an extra field, which some readers take instead of the first, is an anomaly.
5. The work is linear in the file: entries that share their bytes many times over are refused, and so are more than
   ``MAX_ENTRIES``. Of the anomalies of one rule, the first ``MAX_ODDITIES`` are kept.

Source: APPNOTE.TXT 6.3.10 (PKWARE); zip64 included, encryption and multi-disk archives refused. Readers of archives
with bytes before them: CPython Lib/zipfile, ``_RealGetContents``.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from aiverify.formats.interface import FormatError
from aiverify.formats.zip_records import (
    CENTRAL,
    CENTRAL_SIGN,
    DESCRIPTORS,
    EOCD,
    EOCD64,
    EOCD64_LOCATOR,
    EOCD64_LOCATOR_SIGN,
    EOCD_SIGN,
    LOCAL,
    TAIL,
    descriptors,
    extras,
    has_directory,
    name_of,
    widened,
)

MAX_ENTRIES = 200_000
MAX_ODDITIES = 100
_TIMES_READ = 4  # an honest archive has every byte in one entry
_MAX_DIRECTORY = 128 << 20
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
    """Whether readers of archives find one with entries at the end of ``file``, whatever it begins with.

    One that is refused here counts as well, if a directory stands before its end: other readers may list it.
    """
    try:
        return bool(read_zip(file, size).entries)
    except ArchiveError:
        return has_directory(file, size)


def counts_from_start(file: BinaryIO, size: int) -> bool:
    """Whether the archive that ``file`` ends with counts its offsets from the first byte of the file.

    Readers that allow for no bytes before an archive, as PyTorch's, find only such a one.
    """
    try:
        return not read_zip(file, size).before
    except ArchiveError:
        return has_directory(file, size, moved=False)


class _Lister:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.listing = Listing()
        self._odd_of: Counter[str] = Counter()

    def _at(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:  # asked before reading: the numbers are the archive's own
            raise ArchiveError("the archive is shorter than its headers state")
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            raise ArchiveError("the archive cannot be read")
        return data

    def _odd(self, text: str, offset: int, member: str | None = None, *, rule: str = "AIV402") -> None:
        self._odd_of[rule] += 1
        if self._odd_of[rule] > MAX_ODDITIES:
            return
        self.listing.oddities.append(Oddity(rule=rule, text=text, offset=offset, member=member))

    def run(self) -> Listing:
        start, length, count = self._directory()
        directory = self._at(start, length)
        position = read = 0
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
            read += entry.start - entry.header + min(entry.compressed, self.size)
            if read > _TIMES_READ * self.size:
                raise ArchiveError("its entries share their bytes many times over")
            if len(spans) > MAX_ENTRIES:
                raise ArchiveError(f"more than {MAX_ENTRIES} entries")
        if len(self.listing.entries) != count:
            self._odd("the directory holds another number of entries than its end states", start)
        self._check_spans(spans, start)
        return self.listing

    def _directory(self) -> tuple[int, int, int]:
        """Start and length of the central directory, and the number of entries that it should have."""
        length = min(self.size, TAIL)
        tail = self._at(self.size - length, length)
        found = tail.rfind(EOCD_SIGN)
        if found < 0 or len(tail) - found < EOCD.size:
            raise ArchiveError("no end of the zip directory")
        end = self.size - length + found
        _, disk, first_disk, _, count, size, start, comment = EOCD.unpack_from(tail, found)
        if disk or first_disk:
            raise ArchiveError("a zip archive in several parts")
        if end + EOCD.size + comment != self.size:
            self._odd("bytes follow the end of the archive", end)
        directory_end = end
        if end >= EOCD64_LOCATOR.size:
            locator = self._at(end - EOCD64_LOCATOR.size, EOCD64_LOCATOR.size)
            if locator.startswith(EOCD64_LOCATOR_SIGN):
                directory_end, record = self._zip64_end(EOCD64_LOCATOR.unpack(locator)[2], end)
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
        before = end - EOCD64_LOCATOR.size - EOCD64.size
        for place in (stated, before):
            if 0 <= place <= self.size - EOCD64.size:
                record = EOCD64.unpack(self._at(place, EOCD64.size))
                if record[0] == b"PK\x06\x06":
                    if stated != before:  # some readers take the one that is stated, others the one before the locator
                        self._odd("the zip64 end of the directory is not where its locator states", place)
                    return place, record
        raise ArchiveError("a broken zip64 directory")

    def _check_zip64(self, plain: tuple[int, int, int], wide: tuple[int, int, int], offset: int) -> None:
        limits = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        if any(narrow not in (limit, full) for narrow, full, limit in zip(plain, wide, limits, strict=True)):
            self._odd("the two ends of the directory disagree", offset)

    def _entry(self, directory: bytes, position: int) -> tuple[Entry, int, int]:
        """The entry at ``position`` of the directory, its flags, and where the next one begins."""
        if len(directory) - position < CENTRAL.size:
            raise ArchiveError("a truncated zip directory")
        fields = CENTRAL.unpack_from(directory, position)
        sign, _, _, flags, method, _, _, crc, compressed, size, n_name, n_extra, n_comment, *_, external, header = (
            fields
        )
        after = position + CENTRAL.size + n_name + n_extra + n_comment
        if sign != CENTRAL_SIGN or after > len(directory):
            raise ArchiveError("a broken zip directory")
        names = position + CENTRAL.size
        raw = directory[names : names + n_name]
        extra = directory[names + n_name : names + n_name + n_extra]
        size, compressed, header = widened(extra, (size, compressed, header))
        header += self.listing.before
        name = name_of(raw)
        if any(kind == _UNICODE_PATH and value[5:] != raw for kind, value in extras(extra)):
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
        rest = self.file.read(min(max(DESCRIPTORS), self.size - end))
        for length in DESCRIPTORS:
            if rest[:length] in descriptors(entry.crc32, entry.compressed, entry.size, length):
                return end + length
        if rest[:4] == b"PK\x07\x08":
            self._odd("its data descriptor states something else than the directory", entry.header, entry.name)
        return end

    def _local(self, name: str, raw: bytes, header: int, flags: int, stated: tuple[int, int, int, int]) -> int:
        """Compare the local header with what the directory states; the offset at which the data begins."""
        sign, _, l_flags, l_method, _, _, l_crc, l_compressed, l_size, n_name, n_extra = LOCAL.unpack(
            self._at(header, LOCAL.size)
        )
        if sign != b"PK\x03\x04":
            raise ArchiveError(f"{name}: no local header where the directory states one")
        rest = self._at(header + LOCAL.size, n_name + n_extra)
        method, crc, compressed, size = stated
        if rest[:n_name] != raw:
            self._odd(f"its local header names it {name_of(rest[:n_name])!r}", header, name)
        if l_method != method:
            self._odd("its two headers state different compression methods", header, name)
        if (l_flags ^ flags) & (_ENCRYPTED | _DESCRIPTOR):
            self._odd("its two headers have different flags", header, name)
        if not l_flags & _DESCRIPTOR:
            l_size, l_compressed, _ = widened(rest[n_name:], (l_size, l_compressed, 0))
            if (l_crc, l_compressed, l_size) != (crc, compressed, size):
                self._odd("its two headers state different sizes or checksums", header, name)
        return header + LOCAL.size + len(rest)

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
