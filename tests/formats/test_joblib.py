"""Joblib: raw arrays between opcodes, every codec it writes, and the files of its past; joblib itself is the judge."""

import io
import pickle
import struct
import zlib

import joblib
import numpy as np
import pickle_builder as b
import pytest
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naming import Naming

from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions
from aiverify.formats.joblib import RawArrays
from aiverify.pickles.machine import interpret

WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
TRUSTED = frozenset(
    (
        *(WRAPPER, "numpy.ndarray", "numpy.matrix", "copyreg._reconstructor", "builtins.object"),
        *("numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar"),
    )
)
CODECS = ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"]
EVIL = b.call("os.mkdir", b.text("marker"))
ARRAYS = {
    "numbers": np.arange(1000.0),
    "columns": np.asfortranarray(np.ones((3, 4), np.int16)),
    "text": np.array(["abc", "d"]),
    "bytes": np.array([b"abc", b"d"]),
    "nothing": np.zeros((0, 3)),
    "one number": np.array(5),
    "dates": np.array(["2020-01-01"], dtype="M8[ns]"),
    "records": np.zeros(3, dtype=[("a", "<i4"), ("b", "f8")]),
    "blocks": np.zeros(2, dtype=[("a", "<i4", (2, 3))]),
    "big end first": np.arange(7, dtype=">u2"),
    "truth": np.array([True, False]),
    "objects": np.array([["x", 1], [None, {"k": 2}]], dtype=object),
    "records with objects": np.zeros(3, dtype=[("a", "<i4"), ("b", "O")]),
}


@pytest.fixture(scope="module")
def loaders():
    naming = Naming()
    yield naming
    naming.close()


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str = "a.joblib", trust=TRUSTED):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions(trust=trust))

    return look


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


def clean(examination) -> bool:
    return not examination.unexamined and not examination.findings


def dumped(value, **options) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


def named(raw: bytes) -> set[tuple[str, str]]:
    """The names that the machine sees in a stream of joblib, as they are written."""
    arrays = RawArrays(raw)
    graphs = [interpret(raw, after_build=arrays.after_build), *arrays.nested]
    return {found.written for graph in graphs for found in graph.globals}


class Evil:
    def __reduce__(self):
        import os

        return os.mkdir, ("marker",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ARRAYS)
def test_the_names_are_those_that_joblib_looks_up(tmp_path, loaders, kind, protocol):
    path = tmp_path / "a.joblib"
    raw = dumped({"before": 1, "array": ARRAYS[kind], "after": ["x"]}, protocol=protocol)
    path.write_bytes(raw)
    theirs, outcome = loaders.names("joblib", path)
    assert outcome == "'loaded'"
    assert named(raw) == theirs
    assert clean(examine(path, path.name, ScanOptions(trust=TRUSTED)))


def test_the_arrays_lie_where_joblib_reads_them():
    raw = dumped(list(ARRAYS.values()))
    arrays = RawArrays(raw)
    assert interpret(raw, after_build=arrays.after_build).failure is None
    assert len(arrays.skipped) == len(ARRAYS)
    for array, (begin, end) in zip(ARRAYS.values(), arrays.skipped, strict=True):
        if array.dtype.hasobject:
            assert pickle.loads(raw[begin:end]).shape == array.shape
        else:
            content = raw[begin + 1 + raw[begin] : end]
            assert content == array.tobytes("F" if array.flags.f_contiguous else "C")


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_opened(look, codec):
    examination = look(dumped(list(ARRAYS.values()), compress=(codec, 3)))
    assert examination.format is Format.COMPRESSED
    assert clean(examination)
    for value in (Evil(), [ARRAYS["numbers"], Evil()], np.array([Evil()], dtype=object)):
        examination = look(dumped(value, compress=(codec, 3)))
        assert "AIV301" in rules(examination)
        assert {item.location.member for item in examination.findings} == {"a.joblib"}


def test_the_old_compression_is_opened(look):
    inner = b.stream(EVIL)
    for header in (hex(len(inner)).ljust(19), hex(len(inner)).ljust(20)):
        raw = b"ZF" + header.encode() + zlib.compress(inner)
        assert "AIV301" in rules(look(raw))
    assert clean(look(b"ZF" + hex(3).ljust(19).encode() + zlib.compress(b.stream(b"N"))))


def test_what_comes_before_behind_and_inside_of_an_array_is_judged(look):
    for value in ([Evil(), ARRAYS["numbers"]], [ARRAYS["numbers"], Evil()], np.array([1, Evil()], dtype=object)):
        assert "AIV301" in rules(look(dumped(value)))


def test_an_array_that_other_unpicklers_would_run_is_a_finding(look):
    payload = b.stream(EVIL)[2:]
    hidden = np.frombuffer(payload, np.uint8)
    old = b.stream(wrapper(len(payload), alignment=None) + payload + b"0N", 4)
    examination = look(old)
    assert "AIV301" in rules(examination)
    assert "does not know joblib's arrays" in examination.findings[0].message
    assert "AIV301" not in rules(look(dumped(hidden)))  # the padding is no opcode


def wrapper(size: int, *, dtype: bytes | None = None, alignment: int | None = 16, more=(), made: bytes | None = None):
    """A wrapper of ``size`` bytes, by hand."""
    state = b.dct(
        (b.text("subclass"), b.named("numpy.ndarray")),
        (b.text("shape"), b.tup(b.number(size))),
        (b.text("order"), b.text("C")),
        (b.text("dtype"), dtype or b.dtype("u1")),
        (b.text("allow_mmap"), b"\x88"),
        (b.text("numpy_array_alignment_bytes"), b"N" if alignment is None else b.number(alignment)),
        *more,
    )
    return b.build(made or b.new(WRAPPER), state)


ARRAY = b"\x02\xff\xff" + b"12345"


def test_a_wrapper_by_hand_is_read_like_one_of_joblib(look, loaders, tmp_path):
    raw = b.stream(b.tup(wrapper(5) + ARRAY, EVIL))
    path = tmp_path / "x"
    path.write_bytes(raw)
    assert ("os", "mkdir") in loaders.names("joblib", path)[0]
    assert "AIV301" in rules(look(raw))
    assert clean(look(b.stream(b.tup(wrapper(5) + ARRAY, b"N"))))


UNCLEAR = {
    "state twice": b.build(wrapper(5) + ARRAY, b"}") + ARRAY,
    "a size that is computed": wrapper(5, dtype=b.call("numpy.dtype", b.call("x.y"))) + ARRAY,
    "no element type": b.build(b.new(WRAPPER), b"}") + ARRAY,
    "an element type with a hidden object": wrapper(
        1, dtype=b.dtype("O8", b.number(3), b.text("|"), b"N", b"N", b"N", b.number(-1), b.number(-1), b.number(0))
    )
    + ARRAY,
    "an unknown attribute": wrapper(5, more=((b.text("read"), b"N"),)) + ARRAY,
    "one attribute twice": wrapper(5, more=((b.text("order"), b.text("F")),)) + ARRAY,
    "slots": b.build(b.new(WRAPPER), b.tup(b"}", b"}")) + ARRAY,
    "arguments": wrapper(5, made=b.call(WRAPPER, b.named("numpy.ndarray"))) + ARRAY,
    "negative": wrapper(-5) + ARRAY,
    "past the end": wrapper(1 << 40) + ARRAY,
    "no padding": wrapper(5),
    "elements of no size": wrapper(5, dtype=b.dtype("S0")) + ARRAY,
    "objects in memory": wrapper(1, dtype=b.dtype("O8")) + b.stream(b"N"),
    "a frame around": b"\x95" + struct.pack("<Q", len(wrapper(5)) + 3) + wrapper(5) + b"0N0" + ARRAY,
    "no file name": b.build(b.new("joblib.numpy_pickle.NDArrayWrapper"), b"}"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_a_wrapper_that_leaves_open_how_long_its_array_is_ends_the_reading(look, case):
    examination = look(b.stream(b.tup(UNCLEAR[case], b"N")))
    assert examination.unexamined


@pytest.mark.parametrize("module", ["numpy_pickle", "numpy_pickle_compat"])
@pytest.mark.parametrize("class_", ["NDArrayWrapper", "ZNDArrayWrapper"])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a.pkl_01.npy", "AIV303"),
        ("../a.npy", "AIV409"),
        ("/etc/passwd", "AIV409"),
        ("sub/a.npy", "AIV409"),
        ("C:\\a", "AIV409"),
    ],
)
def test_an_old_wrapper_names_a_file_that_is_loaded(look, module, class_, name, rule):
    made = b.new(f"joblib.{module}.{class_}")
    raw = b.stream(b.build(made, b.dct((b.text("filename"), b.text(name)))))
    trust = TRUSTED | {f"joblib.{module}.{class_}"}
    assert rules(look(raw, trust=trust)) == {rule}


# Alterations: what the real loader looks up is never silent

BASES = {
    "plain": dumped([ARRAYS["numbers"][:4], "x", ARRAYS["objects"]]),
    "a payload in an array": dumped([np.frombuffer(b.stream(EVIL)[2:] * 2, np.uint8), ARRAYS["truth"], "x"]),
    "old": b.stream(b.tup(wrapper(40, alignment=None) + EVIL.ljust(40, b"N"), b"N")),
    "text": dumped([np.frombuffer(b.stream(EVIL), np.uint8), "x"], protocol=0),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(150))
@given(
    st.sampled_from(list(BASES)),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 8),
)
def test_no_alteration_hides_a_name_that_joblib_looks_up(tmp_path, loaders, base, changes, cut):
    raw = bytearray(BASES[base])
    for place, value in changes:
        raw[place % len(raw)] = value
    path = tmp_path / "a.joblib"
    path.write_bytes(bytes(raw[: len(raw) - cut]))
    asked, _ = loaders.names("joblib", path)
    examination = examine(path, path.name, ScanOptions(trust=TRUSTED))
    harmless = {("joblib.numpy_pickle", "NumpyArrayWrapper"), ("numpy", "ndarray"), ("numpy", "dtype")}
    harmless |= {("numpy._core.multiarray", "_reconstruct"), ("copy_reg", "_reconstructor")}
    if asked - harmless - {("__builtin__", "object"), ("_codecs", "encode")}:
        assert not clean(examination), (asked, examination)
