"""Tar archives: every member is examined as a file of its own, in place.

Rules:

1. Names that lead out, absolute names, links, devices and pipes are findings. Nothing is unpacked.
2. Two members with one name, a name or size that two headers state differently, and bytes behind the end are findings:
   readers take one or the other. What Python takes is shown: the extension header that comes first.
3. A header that cannot be read ends the archive for every reader; what is behind it was not examined, and said so.

Source: POSIX.1-2001 (ustar, pax); GNU tar for long names and numbers in base 256; CPython Lib/tarfile.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from aiverify.finding import Unexamined
from aiverify.formats.content import Content, window
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.pickles.machine import Buffer
from aiverify.rules import finding

BLOCK = 512
_MAX_MEMBERS = 100_000
_MAX_EXTENSION = 1 << 20
_LONGEST_NAME = 4096  # of a path, where files are unpacked
_STEP = 1 << 20
_LARGEST_OCTAL = 0o77777777777
_REGULAR = frozenset((b"0", b"\0", b"7"))
_LINKS = {b"1": "a hard link", b"2": "a symbolic link"}
_SPECIAL = {b"3": "a character device", b"4": "a block device", b"6": "a named pipe"}
_FOLDER = b"5"
_TORCH = frozenset(("pickle", "storages", "sys_info", "tensors"))
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SPARSE = b"L", b"K", b"x", b"g", b"S"


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member: its kind as in the header, and ``size`` bytes from ``start``. ``offset`` is that of its header.

    ``disputed``: not every reader takes it to have ``size`` bytes; ``renamed``: not every one calls it ``name``.
    """

    name: str
    kind: bytes
    offset: int
    start: int
    size: int
    link: str = ""
    disputed: bool = False
    renamed: bool = False


@dataclass(slots=True)
class _Pending:
    """What extension headers say about the member that follows."""

    name: str | None = None
    link: str | None = None
    size: int | None = None
    sparse: bool = False
    disputed: bool = False
    renamed: bool = False

    def call(self, name: str) -> None:
        """Take ``name`` unless there is one: Python reads the headers from the last to the first."""
        self.renamed |= self.name not in (None, name)
        self.name = name if self.name is None else self.name

    def fill(self, earlier: _Pending) -> None:
        """Take from ``earlier`` what is not said here."""
        self.name = earlier.name if self.name is None else self.name
        self.link = earlier.link if self.link is None else self.link
        self.size = earlier.size if self.size is None else self.size
        self.sparse, self.renamed = self.sparse or earlier.sparse, self.renamed or earlier.renamed

    def measure(self, size: int) -> None:
        """Take ``size`` in the same way."""
        self.disputed |= self.size not in (None, size)
        self.size = size if self.size is None else self.size


@dataclass(slots=True)
class TarListing:
    """The members in order. ``end`` is where the last one ends; ``fault`` says why the list breaks off."""

    members: list[TarMember] = field(default_factory=list)
    sparse: set[str] = field(default_factory=set)
    end: int = 0
    fault: str | None = None


def begins_like_tar(head: bytes) -> bool:
    """Whether the first block is a header whose checksum is right, as every reader asks for."""
    return len(head) >= BLOCK and any(head[:BLOCK]) and _checksum_is_right(head[:BLOCK])


def is_torch_tar(data: Buffer) -> bool:
    """Whether the archive has members of PyTorch's old checkpoints, so that its loader would read or refuse it."""
    return len(_TORCH.intersection(member.name for member in list_tar(data).members)) > 1


def list_tar(data: Buffer) -> TarListing:
    """The members of the archive in ``data``, as far as it can be read."""
    listing = TarListing()
    try:
        for member in _walk(data, listing):
            listing.members.append(member)
            if len(listing.members) >= _MAX_MEMBERS:
                raise FormatError(f"more than {_MAX_MEMBERS} members")
    except FormatError as error:
        listing.fault = str(error)
    return listing


def examine_tar_archive(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    """Examine the archive ``content`` and every member of it."""
    examination = Examination(format=Format.TAR)
    listing = list_tar(content.data)
    seen: set[str] = set()
    for member in listing.members:
        for rule, text in _complaints(member, seen):
            text = f"{member.name}: {text}"
            examination.findings.append(finding(rule, text, file=path, member=member.name, offset=member.offset))
        seen.add(member.name)
        if member.name in listing.sparse:
            reason = "a sparse member: its content is not examined"
            examination.unexamined.append(Unexamined(file=path, member=member.name, reason=reason))
        elif member.kind not in (*_LINKS, *_SPECIAL, _FOLDER):  # readers take an unknown kind for a regular file
            with window(content, member.start, member.size) as inner:
                nesting.look(inner, member.name, examination, path, options)
    if listing.fault is not None:
        examination.unexamined.append(Unexamined(file=path, reason=f"a tar archive that breaks off: {listing.fault}"))
    elif (place := _first_byte(content.data, listing.end)) is not None:
        text = "bytes follow the end of the tar archive"
        examination.findings.append(finding("AIV402", text, file=path, offset=place))
        examination.unexamined.append(Unexamined(file=path, reason=text))
    return examination


def _complaints(member: TarMember, seen: set[str]) -> Iterator[tuple[str, str]]:
    if leads_out(member.name):
        yield "AIV403", "a name that leads out of the archive"
    if member.kind in _LINKS:
        yield "AIV403", f"{_LINKS[member.kind]} to {member.link[:200]!r}"
    elif member.kind in _SPECIAL:
        yield "AIV403", _SPECIAL[member.kind]
    elif member.kind != _FOLDER and member.kind not in _REGULAR:
        yield "AIV402", f"a member of the unknown kind {member.kind!r}"
    if member.disputed:
        yield "AIV402", "readers take its size from different places"
    if member.renamed:
        yield "AIV402", "readers take its name from different places"
    if member.name in seen and member.kind != _FOLDER:
        yield "AIV402", "two members have this name"


def leads_out(name: str) -> bool:
    """Whether unpacking a file called ``name`` would write outside of the target folder."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in name


def _walk(data: Buffer, listing: TarListing) -> Iterator[TarMember]:
    offset, pending, shared = 0, _Pending(), _Pending()
    while True:
        header = bytes(data[offset : offset + BLOCK])
        if len(header) < BLOCK or not any(header):
            listing.end = min(offset, len(data))
            if len(header) < BLOCK:
                raise FormatError("it has no end")
            return
        if not _checksum_is_right(header):
            raise FormatError(f"a header with a wrong checksum at byte {offset}")
        kind, size, start = header[156:157], _number(header[124:136]), offset + BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            if size > _MAX_EXTENSION or size > len(data) - start:
                raise FormatError("an extension header of that size")
            extended = _Pending() if kind == _PAX_GLOBAL else pending
            _extend(extended, kind, bytes(data[start : start + size]))
            if kind == _PAX_GLOBAL:
                extended.fill(shared)
                shared = extended
            offset = start + _padded(size)
            continue
        member = _member(header, kind, size, offset, pending, shared)
        if pending.sparse or shared.sparse or kind == _SPARSE:
            listing.sparse.add(member.name)
        if kind == _SPARSE and header[482:483] != b"\0":
            raise FormatError("a sparse member with further headers")
        length = 0 if member.kind in (*_LINKS, *_SPECIAL, _FOLDER) else member.size
        if length > len(data) - start:
            raise FormatError(f"it ends inside {member.name[:100]!r}")
        yield member
        offset, pending = start + _padded(length), _Pending()


def _member(header: bytes, kind: bytes, size: int, offset: int, pending: _Pending, shared: _Pending) -> TarMember:
    name, link = _text(header[:100]), _text(header[157:257])
    if kind == b"\0" and name.endswith("/"):
        kind = _FOLDER  # as tar wrote folders before ustar
    given = pending.name or shared.name
    prefix = _text(header[345:500]) if kind != _SPARSE else ""
    # GNU tar knows no prefix, and keeps times there; Python takes it for one, whatever the header calls itself.
    renamed = pending.renamed or shared.renamed or bool(prefix and not given and header[257:263] != b"ustar\0")
    name = given or (f"{prefix}/{name}" if prefix else name)
    if len(name) > _LONGEST_NAME:
        raise FormatError(f"a name of {len(name)} characters")
    stated = pending.size if pending.size is not None else shared.size
    empty = kind in (*_LINKS, *_SPECIAL, _FOLDER)
    return TarMember(
        name=name,
        kind=kind,
        offset=offset,
        start=offset + BLOCK,
        size=size if stated is None else stated,
        link=pending.link or shared.link or link,
        disputed=pending.disputed
        or (empty and size > 0)
        or (stated is not None and stated != size and stated <= _LARGEST_OCTAL),
        renamed=renamed,
    )


def _extend(pending: _Pending, kind: bytes, value: bytes) -> None:
    if kind == _LONG_NAME:
        pending.call(_text(value))
    elif kind == _LONG_LINK:
        pending.link = _text(value)
    else:
        for key, text in _records(value):
            if key == "path":
                pending.call(text)
            elif key == "linkpath":
                pending.link = text
            elif key == "size":
                if not (text.isascii() and text.isdigit()) or len(text) > 19:
                    raise FormatError("a pax size that is no number")
                pending.measure(int(text))
            elif key.startswith("GNU.sparse."):
                pending.sparse = True


def _records(value: bytes) -> Iterator[tuple[str, str]]:
    """The records ``length key=value`` of a pax header."""
    position = 0
    while position < len(value) and value[position : position + 1] != b"\0":
        digits, space, _ = value[position : position + 20].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = value[position + len(digits) + 1 : position + length]
        key, sign, text = record.partition(b"=")
        if length <= len(digits) + 1 or not record.endswith(b"\n") or not sign:
            raise FormatError("a broken pax header")
        yield key.decode("utf-8", "surrogateescape"), text[:-1].decode("utf-8", "replace")
        position += length


def _checksum_is_right(header: bytes) -> bool:
    try:
        stated = _checksum(header[148:156])
    except ValueError:
        return False
    unsigned = sum(header[:148]) + 8 * 32 + sum(header[156:])
    high = sum(byte >= 128 for byte in header[:148] + header[156:])
    return stated in (unsigned, unsigned - 256 * high)  # some writers took bytes for signed


def _checksum(field_: bytes) -> int:
    """As Python's tarfile reads it: signs, underscores and ``0o`` belong to a number, too. Raises ValueError."""
    if field_[:1] == b"\x80":
        return int.from_bytes(field_[1:])
    return int(field_.partition(b"\0")[0].decode("ascii").strip() or "0", 8)


def _number(field_: bytes) -> int:
    """Octal digits, or base 256 as GNU writes large numbers."""
    if field_[:1] == b"\x80":
        return int.from_bytes(field_[1:])
    digits = field_.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise FormatError("a number that is not octal")
    return int(digits or b"0", 8)


def _text(field_: bytes) -> str:
    return field_.partition(b"\0")[0].decode("utf-8", "replace")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _first_byte(data: Buffer, start: int) -> int | None:
    """Where the first byte that is not zero lies, from ``start``."""
    for position in range(start, len(data), _STEP):
        part = bytes(data[position : position + _STEP])
        if rest := part.lstrip(b"\0"):
            return position + len(part) - len(rest)
    return None
