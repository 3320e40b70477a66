"""Byte strings that a callable of the stream would load are examined as that loader reads them."""

import gzip
import io
import pickle
import tarfile

import cloudpickle
import dill
import pickle_builder as b
import pytest
import torch
from zip_builder import Member, archive, checkpoint

from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.formats.nesting import MAX_DEPTH

RUN = b.stream(b.call("os.system", b.text("true")), 2)
LOADER = "torch.storage._load_from_bytes"


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str = "a.pkl", trust=frozenset((LOADER,))):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions(trust=trust))

    return look


def found(examination, rule: str = "AIV301") -> list[str | None]:
    return [item.location.member for item in examination.findings if item.rule == rule]


def saved(value, **options) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def latin(data: bytes) -> bytes:
    """Bytes as protocols below 3 write them."""
    return b.call("_codecs.encode", b.text(data.decode("latin-1")), b.text("latin1"))


def load(data: bytes, write=b.blob) -> bytes:
    return b.stream(b.call(LOADER, write(data)))


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as writer:
        info = tarfile.TarInfo("a.pkl")
        info.size = len(RUN)
        writer.addfile(info, io.BytesIO(RUN))
    return file.getvalue()


WAYS = {
    "BINBYTES": b.blob,
    "SHORT_BINBYTES": lambda data: b"C" + bytes((len(data),)) + data,
    "BINBYTES8": lambda data: b"\x8e" + len(data).to_bytes(8, "little") + data,
    "BYTEARRAY8": lambda data: b"\x96" + len(data).to_bytes(8, "little") + data,
    "BINSTRING": lambda data: b"T" + len(data).to_bytes(4, "little") + data,
    "STRING": lambda data: b"S" + repr(data)[1:].encode() + b"\n",
    "text that is encoded": latin,
    "BytesIO": lambda data: b.call("io.BytesIO", b.blob(data)),
}


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_followed_however_they_are_written(look, way):
    raw = load(RUN, WAYS[way])
    (place,) = found(look(raw))
    assert place == f"bytes loaded at {raw.rindex(b'R')}"


@pytest.mark.parametrize(
    "inner",
    [
        RUN,
        saved({"w": torch.ones(2)}, _use_new_zipfile_serialization=False) + b"",
        archive(*checkpoint(RUN)),
        tar(),
        b"cos\nsystem\n(S'true'\ntR.",
        b"{\"a\": 1}cos\nsystem\n(S'true'\ntR.",
    ],
    ids=["pickle", "legacy", "zip", "tar", "protocol 0", "what looks like JSON"],
)
def test_bytes_are_read_as_torch_reads_them(look, inner):
    examination = look(load(inner))
    if inner.startswith(b"\x80\x02\x8a\x0a"):
        assert (examination.findings, examination.unexamined) == ([], [])
    else:
        assert found(examination) or examination.unexamined


def test_a_storage_that_torch_pickles_is_silent(look):
    storage = torch.ones(3).untyped_storage()
    for protocol in (2, 4):
        raw = pickle.dumps(torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32), protocol)
        examination = look(raw)
        assert found(examination) == []
        assert not examination.unexamined


def test_bytes_in_bytes_are_followed_to_a_bounded_depth(look):
    raw = RUN
    for _ in range(MAX_DEPTH):
        raw = load(raw)
    (place,) = found(look(raw))
    assert place.count("!") == MAX_DEPTH - 1
    examination = look(load(raw))
    assert found(examination) == []
    assert examination.unexamined


def test_bytes_that_are_computed_are_unexamined(look):
    for argument in (b.call("my_package.make"), b"N", b.call("io.BytesIO", b.call("my_package.make"))):
        examination = look(b.stream(b.call(LOADER, argument)))
        assert any("not written in the stream" in gap.reason for gap in examination.unexamined)
    assert look(b.stream(b.call(LOADER))).unexamined


def test_bytes_that_nothing_loads_are_a_value(look):
    assert look(b.stream(b.blob(RUN))).findings == []


@pytest.mark.parametrize("loader", ["pickle.loads", "_pickle.loads", "dill.loads", "cloudpickle.loads", "numpy.load"])
def test_what_other_loaders_would_load_is_shown_too(look, loader):
    data = gzip.compress(RUN) if loader == "numpy.load" else RUN
    examination = look(b.stream(b.call(loader, b.blob(data))))
    assert any(place and place.startswith("bytes loaded") for place in found(examination))


def test_bytes_in_a_member_are_placed_in_that_member(look):
    raw = archive(*checkpoint(load(RUN)))
    assert found(look(raw, "m.pt"))[0].startswith("archive/data.pkl!bytes loaded at")
    raw = archive(Member(name=b"x/a.pkl", data=load(RUN)))
    assert found(look(raw, "m.zip"))[0].startswith("x/a.pkl!bytes loaded at")


# Picklers that write code


def double(value):
    return value * 2


@pytest.mark.parametrize("write", [dill.dumps, cloudpickle.dumps], ids=["dill", "cloudpickle"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_streams_with_code_are_never_silent(look, write, protocol):
    own = type("Own", (), {"run": lambda self: 1, "__module__": "__main__"})
    for value in (lambda x: x + 1, own, own()):
        examination = look(write(value, protocol=protocol), trust=frozenset())
        assert examination.findings
        assert not any("cannot be read on" in item.message for item in examination.findings)


@pytest.mark.parametrize("write", [dill.dumps, cloudpickle.dumps], ids=["dill", "cloudpickle"])
def test_plain_values_of_dill_and_cloudpickle_are_silent(look, write):
    assert look(write({"a": [1, 2.5, None, b"x", "y"]}), "a.dill").findings == []


def test_bytes_that_many_calls_load_are_examined_once(look):
    shared = b.named(LOADER) + b"q\x000" + b.blob(RUN) + b"q\x010"
    assert len(found(look(b.stream(shared + b.lst(*[b"h\x00h\x01\x85R"] * 1000))))) == 1
    wrapped = b"h\x02" + b.named("io.BytesIO") + b"h\x01\x85R\x85R"
    members = found(look(b.stream(shared + b.named("torch.load") + b"q\x020" + b.lst(*[wrapped] * 9))))
    assert len([member for member in members if member is not None]) == 1
