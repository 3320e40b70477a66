"""Zip archives that say one thing to one reader and another thing to the next."""

import contextlib
import io
import random
import stat
import struct
import zipfile
import zlib
from collections import Counter

import pytest
from fuzzing import effort
from hypothesis import example, given
from hypothesis import strategies as st
from zip_builder import Member, archive

from aiverify.formats import archives
from aiverify.formats.archives import ArchiveError, ends_in_zip, read_zip
from aiverify.formats.content import Allowance, in_place
from aiverify.formats.interface import FormatError
from aiverify.formats.zip_members import read_member

A = Member(name=b"a.txt", data=b"first")
B = Member(name=b"b.txt", data=b"second" * 20, method=8)


def listed(raw: bytes):
    return read_zip(io.BytesIO(raw), len(raw))


def oddities(raw: bytes) -> list[str]:
    return [oddity.text for oddity in listed(raw).oddities]


def whole(raw: bytes, entry, limit: int = 1 << 20) -> bytes:
    """The content of ``entry``, if nothing is wrong with it."""
    data, result = read_member(in_place(raw), entry, Allowance(), limit=limit)
    if result.fault:
        raise ArchiveError(result.fault)
    if result.wrong_checksum:
        raise ArchiveError("a wrong checksum")
    return data


def contents(raw: bytes, limit: int = 1 << 20) -> dict[str, bytes]:
    return {entry.name: whole(raw, entry, limit) for entry in listed(raw).entries}


def test_an_honest_archive_is_read_whole():
    raw = archive(A, B)
    assert oddities(raw) == []
    assert contents(raw) == {"a.txt": A.data, "b.txt": B.data}
    assert [entry.stored for entry in listed(raw).entries] == [True, False]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_python_writes_has_no_oddity(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as writer:
        writer.comment = b"a comment"
        writer.writestr("é/ü.txt", b"x" * 1000)
        writer.writestr("empty", b"")
        with writer.open("big", "w", force_zip64=True) as member:
            member.write(b"y" * 1000)
    assert oddities(file.getvalue()) == []
    assert contents(file.getvalue())["big"] == b"y" * 1000


def test_what_python_writes_to_a_pipe_has_no_oddity():
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, part):
            self.data += bytes(part)
            return len(part)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("a", b"x" * 100)
        writer.writestr("b", b"y" * 100)
    assert oddities(pipe.data) == []
    assert contents(pipe.data) == {"a": b"x" * 100, "b": b"y" * 100}


def test_a_zip64_archive_is_read():
    extra = struct.pack("<HHQQ", 1, 16, 5, 5)
    wide = {"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF, "extra": extra}
    raw = archive(
        Member(name=b"a", data=b"first", local=wide, central=wide),
        zip64={},
        end={"count": 0xFFFF, "size": 0xFFFFFFFF, "start": 0xFFFFFFFF},
    )
    assert oddities(raw) == []
    assert contents(raw) == {"a": b"first"}


BOGUS_END = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)
ODD = {
    "two entries of one name": (archive(A, A), "two entries are named"),
    "another local name": (archive(Member(name=b"a", local={"name": b"b"})), "its local header names it 'b'"),
    "another local method": (
        archive(Member(name=b"a", data=b"xy", local={"method": 8})),
        "different compression methods",
    ),
    "a local encryption flag": (archive(Member(name=b"a", local={"flags": 1})), "different flags"),
    "a local descriptor flag": (archive(Member(name=b"a", data=b"x", local={"flags": 8})), "different flags"),
    "another local size": (archive(Member(name=b"a", data=b"xy", local={"size": 1})), "different sizes or checksums"),
    "another local compressed size": (
        archive(Member(name=b"a", data=b"xy", local={"compressed": 1})),
        "different sizes",
    ),
    "another local checksum": (
        archive(Member(name=b"a", data=b"xy", local={"crc": 1})),
        "different sizes or checksums",
    ),
    "a stored entry with two sizes": (
        archive(Member(name=b"a", data=b"xyz", local={"size": 2}, central={"size": 2})),
        "a stored entry with two sizes",
    ),
    "bytes in front, offsets right": (archive(A, prefix=b"#!/bin/sh\n" + b"x" * 30), "stand before it"),
    "a byte in front": (archive(A, prefix=b"x"), "stand before it"),
    "bytes in front, offsets wrong": (archive(A, prefix=b"x" * 10, shift=True), "10 bytes were put before the archive"),
    "a zip64 end far away": (archive(A, zip64={"place": (1 << 64) - 1}), "not where its locator states"),
    "an end in the comment": (archive(A, comment=BOGUS_END), "were put before the archive, or before its directory"),
    "another name in an extra field": (
        archive(Member(name=b"a", central={"extra": struct.pack("<HHBL", 0x7075, 6, 1, 0) + b"b"})),
        "an extra field gives it another name",
    ),
    "a descriptor that states something else": (
        archive(Member(name=b"a", data=b"xy", flags=8, after=struct.pack("<4s3L", b"PK\x07\x08", 1, 2, 2))),
        "its data descriptor states something else",
    ),
    "a descriptor that nobody announced": (
        archive(Member(name=b"a", data=b"", after=struct.pack("<4s3L", b"PK\x07\x08", 0, 0, 0))),
        "stand before the directory",
    ),
    "four bytes between the entries": (archive(A, Member(name=b"b", before=b"1234")), "stand before it"),
    "bytes behind": (archive(A, suffix=b"x"), "bytes follow the end"),
    "bytes between entries": (archive(A, Member(name=b"b", before=b"x" * 100)), "stand before it"),
    "bytes before the directory": (archive(A, between=b"x" * 100), "stand before the directory"),
    "another number of entries": (archive(A, end={"count": 2}), "another number of entries"),
    "a hidden entry": (archive(A, B, end={"count": 1}), "another number of entries"),
    "a comment that is cut": (archive(A, end={"comment": 5}), "bytes follow the end"),
    "two ends that disagree": (archive(A, zip64={}, end={"count": 2}), "two ends of the directory disagree"),
    "one entry twice by offset": (
        archive(A, Member(name=b"b", data=b"first", central={"header": 0, "name": b"b"})),
        "overlaps another entry",
    ),
    "a link": (
        archive(Member(name=b"a", data=b"/etc/passwd", external=(stat.S_IFLNK | 0o777) << 16)),
        "a symbolic link",
    ),
}
LEADING_OUT = [b"../a", b"a/../../b", b"/etc/passwd", b"\\windows", b"..\\a", b"C:/a", b"c:a", b"a\0.txt", b"/"]


@pytest.mark.parametrize("name", ODD)
def test_an_archive_that_can_be_read_in_two_ways_is_odd(name):
    raw, text = ODD[name]
    assert any(text in oddity for oddity in oddities(raw)), oddities(raw)


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_name_that_leads_out_of_the_archive_is_unsafe(name):
    (oddity,) = listed(archive(Member(name=name))).oddities
    assert oddity.rule == "AIV403"


@pytest.mark.parametrize("name", [b"a..b", b"...", b"a/b..", b".hidden", b"a b", b"\xff\xfe"])
def test_a_name_that_only_looks_unusual_is_not(name):
    assert oddities(archive(Member(name=name))) == []


@pytest.mark.parametrize("form", ["<4s3L", "<4sLQQ"])
def test_a_data_descriptor_that_states_the_same_is_part_of_its_entry(form):
    descriptor = struct.pack(form, b"PK\x07\x08", zlib.crc32(b"xy"), 2, 2)
    for after in (descriptor, descriptor[4:]):
        assert oddities(archive(Member(name=b"a", data=b"xy", flags=8, after=after), A)) == []


def test_what_stands_before_an_archive_is_counted_and_the_rest_is_read():
    raw = archive(A, B, prefix=b"x" * 10, shift=True)
    assert listed(raw).before == 10
    assert contents(raw) == {"a.txt": A.data, "b.txt": B.data}


UNREADABLE = {
    "nothing": b"",
    "no end": b"PK\x03\x04" + b"x" * 50,
    "half an end": archive(A)[:-1],
    "several parts": archive(A, end={"disk": 1}),
    "a first part elsewhere": archive(A, end={"first": 1}),
    "encrypted": archive(Member(name=b"a", flags=1)),
    "a directory elsewhere": archive(A, end={"start": 1}),
    "a directory of gigabytes": archive(A, zip64={"size": 1 << 40}, end={"size": 0xFFFFFFFF}),
    "a directory before the file": archive(A, zip64={"start": (1 << 64) - 1, "size": 1}),
    "a zip64 end that is none": archive(A, zip64={"sign": 1}),
    "no local header": archive(Member(name=b"a", data=b"x" * 50, central={"header": 5})),
    "a local header far away": archive(
        Member(name=b"a", central={"header": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, (1 << 64) - 1)})
    ),
    "a broken directory": archive(A).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "a name beyond the directory": archive(Member(name=b"a"), end={"size": 46, "start": 31}),
}


@pytest.mark.parametrize("raw", [UNREADABLE[name] for name in ("a first part elsewhere", "encrypted")])
def test_an_archive_behind_something_else_is_one_even_if_it_is_refused_here(raw):
    assert zipfile.ZipFile(io.BytesIO(raw)).namelist()
    assert ends_in_zip(io.BytesIO(b"text\n" + raw), 5 + len(raw))
    assert not ends_in_zip(io.BytesIO(b"text\n" + raw[:-22]), 5 + len(raw) - 22)


def test_an_archive_behind_another_of_its_length_is_odd():
    one = archive(Member(name=b"a", data=b"1"), zip64={})
    other = archive(Member(name=b"a", data=b"2"), zip64={})
    assert len(one) == len(other)
    assert oddities(one) == []
    assert oddities(one + other) != []


def test_entries_that_share_their_bytes_many_times_over_are_refused():
    first = Member(name=b"n" * 60_000, data=b"x" * 60_000)
    raw = archive(first, *(Member(name=b"a", central={"header": 0}) for _ in range(50)))
    with pytest.raises(ArchiveError, match="share"):
        listed(raw)


def test_what_is_odd_about_many_entries_is_said_of_the_first(monkeypatch):
    raw = archive(*(Member(name=b"/a") for _ in range(300)))
    assert sorted(Counter(item.rule for item in listed(raw).oddities).values()) == [100, 100]
    monkeypatch.setattr(archives, "MAX_ENTRIES", 299)
    with pytest.raises(ArchiveError, match="entries"):
        listed(raw)


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_archive_that_cannot_be_listed_is_refused(name):
    with pytest.raises(FormatError):
        listed(UNREADABLE[name])


def member(raw: bytes, limit: int = 1 << 20) -> bytes:
    return whole(raw, listed(raw).entries[0], limit)


def test_a_member_over_the_limit_is_refused_before_it_is_inflated():
    bomb = archive(Member(name=b"a", data=b"\0" * 5_000_000, method=8))
    assert len(bomb) < 10_000
    with pytest.raises(ArchiveError, match="more than the limit"):
        member(bomb)


def test_a_member_that_inflates_to_more_than_it_states_is_refused():
    lie = {"size": 10}
    with pytest.raises(ArchiveError, match="more than the limit"):
        member(archive(Member(name=b"a", data=b"\0" * 5_000_000, method=8, local=lie, central=lie)))


def test_a_member_that_inflates_to_less_than_it_states_is_refused():
    lie = {"size": 1000}
    with pytest.raises(ArchiveError, match="another number of bytes"):
        member(archive(Member(name=b"a", data=b"xy", method=8, local=lie, central=lie)))


def test_bytes_behind_the_compressed_data_are_refused():
    inflated = Member(name=b"a", data=b"xy" * 50, method=8)
    longer = {"compressed": len(inflated.stored) + 5}
    with pytest.raises(ArchiveError, match="does not end where"):
        member(archive(Member(name=b"a", data=b"xy" * 50, method=8, after=b"12345", local=longer, central=longer)))


def test_compressed_data_that_stands_in_no_proportion_is_refused():
    with pytest.raises(ArchiveError, match="more than the limit"):
        member(archive(Member(name=b"a", data=random.Random(1).randbytes(5000), method=8)), limit=4000)
    huge = {"compressed": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, 1 << 62)}
    with pytest.raises(FormatError):
        member(archive(Member(name=b"a", data=b"x", local=huge, central=huge)))


def test_broken_compressed_data_is_refused():
    with pytest.raises(ArchiveError, match="broken"):
        member(archive(Member(name=b"a", data=b"\xff" * 20, local={"method": 8}, central={"method": 8})))


def test_an_unknown_method_is_refused():
    with pytest.raises(ArchiveError, match="method 12"):
        member(archive(Member(name=b"a", data=b"x", method=12)))


def test_a_wrong_checksum_is_told_apart_and_the_content_is_there():
    wrong = {"crc": 1}
    raw = archive(Member(name=b"a", data=b"xy", local=wrong, central=wrong))
    data, result = read_member(in_place(raw), listed(raw).entries[0], Allowance(), limit=10)
    assert (data, result.fault, result.wrong_checksum) == (b"xy", None, True)


def test_an_archive_cut_at_any_byte_is_refused_or_odd():
    raw = archive(A, B, comment=b"the end")
    for cut in range(len(raw)):
        try:
            assert listed(raw[:cut]).oddities
        except FormatError:
            continue


def test_a_file_that_ends_while_it_is_read_is_refused():
    class Short(io.BytesIO):
        def read(self, size=-1):
            return super().read(max(0, size - 1))

    raw = archive(A)
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_zip(Short(raw), len(raw))


BASE = archive(A, B, Member(name=b"dir/", data=b""), comment=b"c", zip64={})


@effort(300)
@given(
    st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 40)
)
@example([(len(BASE) - 3, 0)], 0)
def test_no_alteration_makes_the_reader_raise_something_else(changes, cut):
    raw = bytearray(BASE)
    for place, value in changes:
        raw[place] = value
    raw = bytes(raw[: len(raw) - cut])
    try:
        entries = listed(raw).entries
    except FormatError:
        return
    for entry in entries:
        with contextlib.suppress(FormatError):
            assert len(whole(raw, entry, 10_000)) == entry.size


@effort(200)
@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=2))
def test_an_archive_without_oddities_reads_as_python_reads_it(changes):
    raw = bytearray(BASE)
    for place, value in changes:
        raw[place] = value
    raw = bytes(raw)
    try:
        listing = listed(raw)
        ours = [(entry.name, whole(raw, entry, 10_000)) for entry in listing.entries]
    except FormatError:
        return
    if listing.oddities:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as theirs:
            assert [info.orig_filename for info in theirs.infolist()] == [name for name, _ in ours]
            assert [theirs.read(info) for info in theirs.infolist()] == [data for _, data in ours]
    except (zipfile.BadZipFile, NotImplementedError):
        pass  # it reads less than we do, and that is not two readings
