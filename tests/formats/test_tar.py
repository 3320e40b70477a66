"""Tar archives: every member where Python's tarfile finds it, and a finding for whatever readers disagree about."""

import io
import tarfile

import pickle_builder as b
import pytest
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions
from aiverify.formats.tar import list_tar

RUN = b.stream(b.call("os.system", b.text("true")))
FORMS = [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str = "a.tar"):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions())

    return look


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


def tar(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT, **facts) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def theirs(raw: bytes) -> list[tuple[str, bytes]]:
    """The regular members as Python's tarfile reads them."""
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        regular = [item for item in archive if item.isreg() and not item.issparse()]
        return [(legible(item.name), archive.extractfile(item).read()) for item in regular]


def legible(name: str) -> str:
    """``name`` without the surrogates that Python puts in the place of broken text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def ours(raw: bytes) -> list[tuple[str, bytes]]:
    listing = list_tar(raw)
    regular = [item for item in listing.members if item.kind in (b"0", b"\0", b"7") and item.name not in listing.sparse]
    return [(item.name, raw[item.start : item.start + item.size]) for item in regular]


def resealed(raw: bytearray, offset: int = 0) -> bytes:
    """``raw`` with the checksum of the header at ``offset`` made right."""
    header = raw[offset : offset + 512]
    total = sum(header[:148]) + 8 * 32 + sum(header[156:512])
    raw[offset + 148 : offset + 156] = b"%06o\0 " % total
    return bytes(raw)


@pytest.mark.parametrize("form", FORMS)
def test_the_members_are_those_that_python_reads(form):
    names = ["a.pkl", "folder/b.txt", "x" * 90 + "/" + "y" * 60]
    raw = tar(*((name, name.encode() * 50) for name in names), form=form)
    assert ours(raw) == theirs(raw) == [(name, name.encode() * 50) for name in names]


def test_names_beyond_ascii_and_long_ones_are_read():
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        raw = tar(("é" * 200 + "/ü.pkl", b"x"), form=form)
        assert ours(raw) == theirs(raw)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["m.tar", "m.nemo"])
def test_members_are_examined_as_files_of_their_own(look, form, name):
    examination = look(tar(("config.yaml", b"a: 1\n"), ("d/weights.ckpt", RUN), form=form), name)
    assert examination.format is Format.TAR
    assert [(item.rule, item.location.member) for item in examination.findings] == [("AIV301", "d/weights.ckpt")]
    examination = look(tar(("config.yaml", b"a: 1\n"), ("d/", b"")), name)
    assert (examination.findings, examination.unexamined) == ([], [])


def test_an_old_archive_without_a_signature_is_a_tar_archive(look):
    raw = bytearray(tar(("weights.ckpt", RUN), form=tarfile.USTAR_FORMAT))
    raw[257:265] = bytes(8)
    examination = look(resealed(raw), "noname")
    assert examination.format is Format.TAR
    assert rules(examination) == {"AIV301"}


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "..\\a", "C:/a"])
def test_a_name_that_leads_out_is_unsafe(look, name):
    assert "AIV403" in rules(look(tar((name, b"text"))))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (tarfile.SYMTYPE, "a symbolic link to 'x'"),
        (tarfile.LNKTYPE, "a hard link to 'x'"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a named pipe"),
    ],
)
def test_what_is_no_file_is_unsafe(look, kind, text):
    examination = look(tar(("a", b""), type=kind, linkname="x"))
    (found,) = examination.findings
    assert found.rule == "AIV403"
    assert text in found.message


def test_two_members_of_one_name_are_a_finding_and_both_are_examined(look):
    examination = look(tar(("a.pkl", RUN), ("a.pkl", b.stream(b"N"))))
    assert rules(examination) == {"AIV301", "AIV402"}


def test_a_member_of_an_unknown_kind_is_a_finding(look):
    assert rules(look(tar(("a", b"x"), type=b"Z"))) == {"AIV402"}


def test_a_member_of_an_unknown_kind_is_examined_as_the_file_that_python_takes_it_for(look):
    raw = tar(("a.pkl", RUN), type=b"Z")
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        assert archive.extractfile("a.pkl").read() == RUN
    assert rules(look(raw)) == {"AIV301", "AIV402"}


def test_a_name_that_no_path_could_be_ends_the_archive(look):
    examination = look(tar(("a" * 5000, b"x")))
    assert "a name of 5000 characters" in examination.unexamined[0].reason


def test_a_folder_with_content_is_a_finding(look):
    raw = bytearray(tar(("a/", b""), form=tarfile.USTAR_FORMAT))
    raw[124:136] = b"%011o\0" % 512
    raw[156:157] = b"5"
    assert "AIV402" in rules(look(resealed(raw)))


def test_a_size_that_two_headers_state_differently_is_a_finding(look):
    raw = bytearray(tar(("a.pkl", RUN), pax_headers={"size": str(len(RUN))}))
    place = raw.index(b"a.pkl\0")
    raw[place + 124 : place + 136] = b"%011o\0" % 0
    examination = look(resealed(raw, place))
    assert {"AIV301", "AIV402"} <= rules(examination)


def header(
    name: bytes, data: bytes, kind: bytes = b"0", *, magic: bytes = b"ustar\x0000", prefix: bytes = b""
) -> bytes:
    raw = bytearray(512)
    raw[: len(name)], raw[100:108], raw[124:136] = name, b"0000644\0", b"%011o\0" % len(data)
    raw[156:157], raw[257:265], raw[345 : 345 + len(prefix)] = kind, magic, prefix
    return resealed(raw) + data + bytes(-len(data) % 512)


LONG = header(b"@LongLink", b"model_config.yaml\0", b"L", magic=b"ustar  \0")
PATH = header(b"x", b"18 path=notes.txt\n", b"x")
CONFIG = b"_target_: os.system\n"


@pytest.mark.parametrize(
    "raw",
    [
        LONG + PATH + header(b"a", CONFIG),
        PATH + LONG + header(b"a", CONFIG),
        header(b"", CONFIG, prefix=b"model_config.yaml", magic=b"ustar  \0"),
        header(b"a.yaml", CONFIG, prefix=b"sub", magic=bytes(8)),
    ],
    ids=["long name, then pax", "pax, then long name", "a prefix and nothing else", "a prefix before ustar"],
)
def test_a_name_that_readers_take_from_different_places_is_a_finding(look, raw):
    raw += bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        (name,) = archive.getnames()
    examination = look(raw)
    assert [member.name for member in list_tar(raw).members] == [name]
    assert "AIV402" in rules(examination)
    assert ("AIV501" in rules(examination)) == name.rstrip("/").endswith(".yaml")


def test_of_several_headers_for_all_members_the_last_one_counts(look):
    first, last = (header(b"g", b"14 path=%b.txt\n" % name, b"g") for name in (b"a", b"b"))
    raw = first + header(b"x", b"x") + last + header(b"x", b"x") + bytes(1024)
    assert [name for name, _ in ours(raw)] == [name for name, _ in theirs(raw)] == ["a.txt", "b.txt"]
    assert rules(look(raw)) == set()


def test_a_folder_of_old_is_told_by_the_name_in_its_own_header(look):
    """Python finds the next header right behind it, where its content would be."""
    hidden = header(b"evil.pkl", RUN)
    raw = header(b"x", b"10 path=a\n", b"x") + header(b"d/", hidden, b"\0") + bytes(1024)
    assert [name for name, _ in theirs(raw)] == ["evil.pkl"]
    assert rules(look(raw)) >= {"AIV301", "AIV402"}


def test_a_sparse_member_is_unexamined(look):
    examination = look(tar(("a.pkl", b"N."), pax_headers={"GNU.sparse.map": "0,2"}))
    assert "sparse" in examination.unexamined[0].reason


def test_bytes_behind_the_end_are_a_finding(look):
    raw = tar(("a.pkl", b.stream(b"N")))
    examination = look(raw + tar(("b.pkl", RUN)))
    assert "AIV402" in rules(examination)
    assert examination.unexamined


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:600],
        lambda raw: raw[:512] + raw[512:1024] + b"x" * 512 + raw[1024:],
        lambda raw: raw[:1100],
    ],
)
def test_an_archive_that_breaks_off_is_unexamined(look, damage):
    assert look(damage(tar(("a.pkl", RUN), ("b.pkl", RUN)))).unexamined


def test_a_pax_header_that_is_broken_or_huge_is_unexamined(look):
    raw = bytearray(tar(("é.pkl", b"N.")))
    place = raw.index(b" path=")
    for damage in (b"x", b"0"):
        raw[place - 1 : place] = damage
        assert look(bytes(raw)).unexamined
    raw[124:136] = b"%011o\0" % (1 << 30)
    assert look(resealed(raw)).unexamined


BASE = tar(("a.txt", b"first" * 30), ("x" * 120, b"second"), ("é", b"third"), ("d/", b""))
GNU = tar(("a.txt", b"first" * 30), ("x" * 120, b"second"), form=tarfile.GNU_FORMAT)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(300))
@given(
    st.sampled_from([BASE, GNU]),
    st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 3000),
)
def test_an_altered_archive_without_findings_reads_as_python_reads_it(look, base, changes, sealed, cut):
    raw = bytearray(base)
    for place, value in changes:
        place %= len(raw)
        raw[place] = value
        if sealed:
            resealed(raw, place // 512 * 512)
    data = bytes(raw[: len(raw) - cut])
    examination = look(data)
    if examination.findings or examination.unexamined or examination.format is not Format.TAR:
        return
    try:
        expected = theirs(data)
    except tarfile.TarError:
        return
    assert ours(data)[: len(expected)] == expected  # Python stops at a header with a strange date; that hides nothing
