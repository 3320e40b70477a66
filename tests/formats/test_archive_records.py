"""Archives that nobody wrote, read by us and by torch's reader: the same records and the same bytes, or a finding."""

import io
import zlib

import pytest
from fuzzing import effort
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from record_reader import RecordReader
from zip_builder import Member, archive

from aiverify.formats.archives import ArchiveError, Entry, read_zip

ROOT = "archive/"
VERSION = Member(name=b"archive/version", data=b"3\n")  # torch opens no archive without one


@pytest.fixture(scope="module")
def reader():
    reader = RecordReader()
    yield reader
    reader.close()


def ours(raw: bytes) -> dict[str, bytes] | None:
    """The records as we read them; ``None`` when we say that something is wrong with the archive."""
    try:
        listing = read_zip(io.BytesIO(raw), len(raw))
    except ArchiveError:
        return None
    names = [entry.name.lower() for entry in listing.entries]
    if listing.oddities or len(set(names)) != len(names):  # torch ignores letter case; that has a rule of its own
        return None
    records = {entry.name.removeprefix(ROOT): content(raw, entry) for entry in listing.entries}
    return None if None in records.values() else records


def content(raw: bytes, entry: Entry) -> bytes | None:
    data = raw[entry.start : entry.start + entry.compressed]
    if entry.deflated:
        inflate = zlib.decompressobj(-15)
        try:
            data = inflate.decompress(data)
        except zlib.error:
            return None
        if not inflate.eof or inflate.unused_data:
            return None
    elif not entry.stored:
        return None
    return data if len(data) == entry.size and zlib.crc32(data) == entry.crc32 else None


def check(reader: RecordReader, path, raw: bytes) -> str:
    path.write_bytes(raw)
    mine = ours(raw)
    if mine is None:
        return "reported"
    theirs = reader.read(path)
    if theirs is None:
        return "refused by torch"
    assert theirs == mine
    return "alike"


names = st.sampled_from(
    [b"data.pkl", b"data/0", b"data/1", b"DATA/0", b"data/2", b"byteorder", b"a\\b", b"\xe9", b"../x"]
)
numbers = st.sampled_from([0, 1, 2, 5, 8, 0x800, 0xFFFF])
extras = st.sampled_from(
    [b"", b"\0\0\0\0", b"FB\x04\0ZZZZ", b"\x01\0\x08\0" + bytes(8), b"up\x09\0\x01" + bytes(4) + b"data", b"\x01"]
)
lies = st.dictionaries(
    st.sampled_from(["name", "method", "flags", "crc", "compressed", "size", "extra"]), numbers, max_size=1
).flatmap(
    lambda drawn: st.fixed_dictionaries(
        {
            key: names.map(lambda name: b"archive/" + name)
            if key == "name"
            else extras
            if key == "extra"
            else st.just(value)
            for key, value in drawn.items()
        }
    )
)
mostly_nothing = st.one_of(
    st.just(b""), st.just(b""), st.just(b""), st.just(b""), st.sampled_from([b"x", b"PK\x03\x04", bytes(8)])
)
members = st.builds(
    Member,
    name=st.one_of(names.map(lambda name: b"archive/" + name), names.map(lambda name: b"other/" + name)),
    data=st.binary(max_size=20),
    method=st.sampled_from([0, 0, 0, 8, 8, 1]),
    flags=st.sampled_from([0, 0, 0, 0, 8, 1, 0x800, 0x40]),
    before=mostly_nothing,
    after=mostly_nothing,
    external=st.sampled_from([0, 0, 0o120777 << 16]),
    local=st.one_of(st.just({}), st.just({}), lies),
    central=st.one_of(st.just({}), st.just({}), lies),
)
honest = st.builds(
    Member,
    name=names.map(lambda name: b"archive/" + name),
    data=st.binary(max_size=200),
    method=st.sampled_from([0, 8]),
)
archives = st.builds(
    lambda parts, **options: archive(*parts, VERSION, **options),
    st.one_of(
        st.lists(members, min_size=1, max_size=4),
        st.lists(honest, min_size=1, max_size=5, unique_by=lambda member: member.name.lower()),
    ),
    prefix=mostly_nothing,
    between=mostly_nothing,
    suffix=mostly_nothing,
    comment=mostly_nothing,
    shift=st.booleans(),
    zip64=st.sampled_from([None, None, None, {}, {"count": 1}, {"start": 0}, {"size": 5}, {"sign": 0}]),
    end=st.sampled_from([None, None, None, {"count": 1}, {"size": 0xFFFFFFFF}, {"start": 0}, {"comment": 3}]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(300))
@given(archives)
@example(
    archive(
        Member(name=b"archive/data.pkl", data=b"N."), Member(name=b"archive/data/0", data=b"xyz", method=8), VERSION
    )
)
def test_what_torch_reads_is_what_we_read_or_we_say_that_something_is_wrong(reader, tmp_path, raw):
    check(reader, tmp_path / "a.pt", raw)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(200))
@given(
    st.lists(honest, min_size=1, max_size=4, unique_by=lambda member: member.name.lower()),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=2),
)
def test_an_archive_with_altered_bytes_is_read_alike_or_something_is_wrong(reader, tmp_path, parts, changes):
    raw = bytearray(archive(*parts, VERSION))
    for place, value in changes:
        raw[place % len(raw)] = value
    check(reader, tmp_path / "a.pt", bytes(raw))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(50))
@given(st.lists(honest, min_size=1, max_size=5, unique_by=lambda member: member.name.lower()))
def test_an_honest_archive_is_read_alike(reader, tmp_path, parts):
    parts = [part for part in parts if b"\\" not in part.name and b".." not in part.name and part.name.isascii()]
    assert check(reader, tmp_path / "a.pt", archive(*parts, VERSION)) == "alike"
