"""Compressed files: read as Python's own modules and joblib read them, within limits, and never unpacked by name."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import tarfile
import tempfile
import zipfile
import zlib

import joblib
import lz4.frame
import numpy as np
import pickle_builder as b
import pytest
import torch
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from aiverify.formats import content as content_module
from aiverify.formats import decompression
from aiverify.formats.compressed import inner_name
from aiverify.formats.content import Allowance, in_place, inflated
from aiverify.formats.decompression import Decompression, codec_of
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, FormatError, ScanOptions

RUN = b.stream(b.call("os.system", b.text("true")))
PLAIN = pickle.dumps({"a": [1, 2, 3]})
WRITE = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    ".z": zlib.compress,
    ".lz4": lz4.frame.compress,
}
READ = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".lzma": lzma.decompress,
    ".lz4": lambda data: lz4.frame.LZ4FrameFile(io.BytesIO(data)).read(),
}


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions())

    return look


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


def clean(examination) -> bool:
    return not examination.unexamined and not examination.findings


def torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file)
    return file.getvalue()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.ones(3))
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("model.pkl")
        info.size = len(PLAIN)
        archive.addfile(info, io.BytesIO(PLAIN))
    return file.getvalue()


INSIDE = {
    "model.pkl": PLAIN,
    "model.pt": torch_file(),
    "model.npz": npz(),
    "model.safetensors": save({"a": np.ones(2, np.float32)}),
    "model.tar": tar(),
    "config.json": b'{"a": 1}',
    "README.md": b"# Model\n",
}


@pytest.mark.parametrize("suffix", WRITE)
@pytest.mark.parametrize("name", INSIDE)
def test_what_is_inside_is_examined_as_a_file_of_its_own(look, name, suffix):
    examination = look(WRITE[suffix](INSIDE[name]), name + suffix)
    assert examination.format is Format.COMPRESSED
    assert clean(examination), examination


@pytest.mark.parametrize("suffix", WRITE)
def test_a_payload_inside_is_found_and_placed(look, suffix):
    examination = look(WRITE[suffix](RUN), "model.pkl" + suffix)
    assert rules(examination) == {"AIV301"}
    (found,) = examination.findings
    assert (found.file, found.location.member) == ("model.pkl" + suffix, "model.pkl")
    twice = look(WRITE[suffix](gzip.compress(RUN)), "model.pkl.gz" + suffix)
    assert [item.location.member for item in twice.findings] == ["model.pkl.gz!model.pkl"]


@pytest.mark.parametrize("suffix", WRITE)
def test_a_compressed_file_under_another_name_is_a_lie(look, suffix):
    for name in ("README.md", "config.json", "model.safetensors", "model.npy"):
        examination = look(WRITE[suffix](RUN), name)
        assert {"AIV301", "AIV401"} <= rules(examination)


def test_a_name_that_promises_compression_is_kept(look):
    for name in ("model.pkl.gz", "a.tgz", "a.xz", "a.bz2"):
        assert "AIV401" in rules(look(PLAIN, name))


@pytest.mark.parametrize("suffix", READ)
def test_streams_in_a_row_are_one(look, suffix):
    raw = WRITE[suffix](RUN[:9]) + WRITE[suffix](RUN[9:])
    assert READ[suffix](raw) == RUN
    assert rules(look(raw, "a.pkl" + suffix)) == {"AIV301"}


def test_zeros_between_gzip_streams_are_skipped(look):
    raw = gzip.compress(RUN[:9]) + bytes(100_000) + gzip.compress(RUN[9:]) + bytes(10)
    assert gzip.decompress(raw) == RUN
    assert rules(look(raw, "a.pkl.gz")) == {"AIV301"}


@pytest.mark.parametrize("suffix", WRITE)
def test_bytes_behind_the_compressed_data_are_a_finding(look, suffix):
    raw = WRITE[suffix](PLAIN) + b"more"
    examination = look(raw, "a.pkl" + suffix)
    assert rules(examination) == {"AIV402"}
    assert examination.findings[0].location.offset == len(raw) - 4


@pytest.mark.parametrize("suffix", WRITE)
def test_what_came_before_the_data_broke_is_judged(look, suffix):
    raw = WRITE[suffix](RUN + random.Random(1).randbytes(2_000_000))
    examination = look(raw[:-1000], "a.pkl" + suffix)
    assert "AIV301" in rules(examination)
    assert any("only the first" in gap.reason for gap in examination.unexamined)


@pytest.mark.parametrize("suffix", WRITE)
def test_a_cut_file_is_never_clean(look, suffix):
    raw = WRITE[suffix](PLAIN)
    for cut in range(4, len(raw)):
        assert not clean(look(raw[:cut], "a.pkl" + suffix)), cut


def test_an_expansion_beyond_proportion_is_a_finding_and_stops(look, monkeypatch):
    monkeypatch.setattr(content_module, "_LEAST_LIMIT", 1 << 20)
    raw = gzip.compress(RUN + bytes(50 << 20))
    examination = look(raw, "a.pkl.gz")
    assert {"AIV301", "AIV416"} <= rules(examination)
    assert any("expand to more than" in gap.reason for gap in examination.unexamined)


def test_all_members_together_have_one_allowance():
    allowance = Allowance(inflated=1000)
    with inflated(iter([bytes(900)]), 10, allowance) as first:
        assert (first.fault, first.content.size) == (None, 900)
    with inflated(iter([bytes(90), bytes(90)]), 10, allowance) as second:
        assert (second.bomb, second.content.size) == (True, 90)


def test_large_contents_lie_in_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    size = content_module.IN_MEMORY + 5
    with inflated(iter([bytes(size - 3), b"end"]), size, Allowance()) as result:
        assert result.content.size == size
        assert bytes(result.content.data[-3:]) == b"end"
        result.content.file.seek(size - 3)
        assert result.content.file.read(9) == b"end"
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_what_comes_out_is_an_error():
    def full():
        yield b"x"
        raise OSError(28, "No space left on device")

    with pytest.raises(FormatError, match="no room"), inflated(full(), 1, Allowance()):
        pass


def test_a_dictionary_of_gigabytes_is_refused(look):
    raw = b"]" + (1 << 31).to_bytes(4, "little") + bytes(8) + bytes(50)
    assert not clean(look(raw, "a.pkl"))
    header = lzma.compress(PLAIN, format=lzma.FORMAT_ALONE)
    huge = header[:1] + (0xF0000000).to_bytes(4, "little") + header[5:]
    assert not clean(look(huge, "a.lzma"))


@pytest.mark.parametrize("name", ["model.sav", "model.bin", "m.onnx_data", "README.md"])
def test_compressed_data_with_a_dictionary_of_gigabytes_is_compressed_data_under_every_name(look, tmp_path, name):
    header = lzma.compress(PLAIN, format=lzma.FORMAT_ALONE)
    raw = header[:1] + (1 << 30).to_bytes(4, "little") + header[5:]
    (tmp_path / "m.onnx").write_bytes(b"a model")  # beside which a file of numbers would lie
    (tmp_path / "x").write_bytes(raw)
    assert joblib.load(tmp_path / "x") == pickle.loads(PLAIN)
    examination = look(raw, name)
    assert examination.format is Format.COMPRESSED
    assert "limit exceeded" in examination.unexamined[0].reason


def zfile(data: bytes, length: str) -> bytes:
    """What joblib wrote before 0.10, with its ``length`` in any spelling."""
    return b"ZF" + length.encode().ljust(19) + zlib.compress(data)


@pytest.mark.parametrize("spelling", ["{:#x}", "{:x}", " {:X}", "+{:#X}", "\t0{:x}", "0_{:x}"])
def test_an_old_joblib_file_is_one_however_its_length_is_spelled(look, tmp_path, spelling):
    raw = zfile(RUN, spelling.format(len(RUN)))
    (tmp_path / "x").write_bytes(zfile(PLAIN, spelling.format(len(PLAIN))))
    assert joblib.load(tmp_path / "x") == pickle.loads(PLAIN)
    examination = look(raw, "model.sav")
    assert examination.format is Format.COMPRESSED
    assert "AIV301" in rules(examination)


def as_text(data: bytes) -> bytes:
    """``data`` as zlib data that is text: one block that is stored, whose length and its complement are UTF-8."""
    length = 0xC240
    block = b"V" + b"a" * (length - len(data) - 3) + b"\n0" + data
    stored = b"x" + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little") + block
    return b"x^" + stored + b"\x03\0" + zlib.adler32(block).to_bytes(4)


@pytest.mark.parametrize("front", [b"", b"ZF" + b"c240".ljust(19)], ids=["zlib", "old joblib"])
@pytest.mark.parametrize("name", ["model.sav", "notes.txt", "model"])
def test_compressed_data_that_looks_like_text_is_compressed_data(look, front, name):
    examination = look(front + as_text(b"cos\nsystem\n(S'true'\ntR."), name)
    assert examination.format is Format.COMPRESSED
    assert "AIV301" in rules(examination)


@pytest.mark.parametrize("moved", [False, True], ids=["counted from the first byte", "moved"])
@pytest.mark.parametrize("name", ["model.bin", "model"])
def test_an_archive_in_a_header_of_compressed_data_is_found(look, name, moved):
    """To readers of zip archives the file ends in one."""
    inner = zlib.compress(PLAIN, wbits=31)[10:]
    file = io.BytesIO()
    front = 0 if moved else 12
    file.write(bytes(front))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("evil.pkl", RUN)
    hidden = file.getvalue()[front:-2] + len(inner).to_bytes(2, "little")
    raw = b"\x1f\x8b\x08\x04" + bytes(6) + len(hidden).to_bytes(2, "little") + hidden + inner
    assert gzip.decompress(raw) == PLAIN
    assert zipfile.ZipFile(io.BytesIO(raw)).read("evil.pkl") == RUN
    assert rules(look(raw, name)) >= {"AIV402", "AIV301"}


def test_a_small_archive_that_was_compressed_without_gain_is_none_at_the_end(look):
    raw = random.Random(1).randbytes(4000)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(np.frombuffer(raw, np.uint8)))
    assert clean(look(gzip.compress(file.getvalue(), 0), "a.npz.gz"))


def test_lz4_without_its_package_is_unexamined_and_says_what_to_do(look, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lz4.frame", None)
    examination = look(lz4.frame.compress(RUN), "a.pkl.lz4")
    assert examination.format is Format.COMPRESSED
    assert "install the package lz4" in examination.unexamined[0].reason


@pytest.mark.parametrize(
    "magic", [b"(\xb5/\xfd", b"\x1f\x9d\x90", b"LZIP\x01", b"\x89LZO\0\r\n\x1a\n", b"\xff\x06\x00\x00sNaPpY"]
)
def test_other_codecs_are_named_and_unexamined(look, magic):
    examination = look(magic + bytes(30), "a.zst")
    assert examination.format is Format.COMPRESSED
    assert "decompress the file" in examination.unexamined[0].reason


@pytest.mark.parametrize("text", ["x^2 + y^2 = 1\n" * 40, "x\n", "xylophone", "]", "ZF0 is a name\n", "BZ", "x"])
def test_text_that_begins_like_compressed_data_is_text(look, text):
    assert look(text.encode(), "a.txt").format is Format.TEXT


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("d/model.pkl.gz", "model.pkl"),
        ("a.tgz", "a.tar"),
        ("a.joblib", "a.joblib"),
        (".gz", ".gz"),
        ("a", "a"),
        ("x.zip!in/b.PKL.XZ", "b.PKL"),
    ],
)
def test_the_inner_name(path, name):
    assert inner_name(path) == name


def test_too_many_streams_are_refused(monkeypatch):
    monkeypatch.setattr(decompression, "_MAX_STREAMS", 3)
    raw = gzip.compress(b"x") * 4
    with pytest.raises(FormatError, match="more than 3"):
        list(Decompression(in_place(raw).file, codec_of(raw, len(raw))).parts())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(200))
@given(
    st.sampled_from(sorted(READ)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    st.integers(0, 20),
    st.binary(max_size=20),
)
def test_what_python_decompresses_is_what_is_examined(suffix, changes, cut, tail):
    """Whatever Python's own module gives out of an altered file, ours gives out, too, or says that it cannot."""
    raw = bytearray(WRITE[suffix](RUN + b"some more text " * 9) + WRITE[suffix](b"second"))
    for place, value in changes:
        raw[place % len(raw)] = value
    data = bytes(raw[: len(raw) - cut]) + tail
    codec = codec_of(data[:4096], len(data))
    try:
        theirs = READ[suffix](data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError):
        theirs = None
    if codec is None:
        return
    stream = Decompression(in_place(data).file, codec)
    with inflated(stream.parts(), len(data), Allowance()) as result:
        ours = bytes(result.content.data)
        if theirs is not None and codec.name == suffix[1:].replace("gz", "gzip"):
            assert ours == theirs or result.fault is not None
        if theirs is not None and not stream.trailing and result.fault is None:
            assert ours == theirs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(150))
@given(st.sampled_from(sorted(WRITE)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4))
def test_no_alteration_makes_the_examination_raise(look, suffix, changes):
    raw = bytearray(WRITE[suffix](RUN))
    for place, value in changes:
        raw[place % len(raw)] = value
    look(bytes(raw), "a.pkl" + suffix)
