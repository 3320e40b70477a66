"""The reader of array headers against numpy's own."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from fuzzing import effort
from hypothesis import example, given
from hypothesis import strategies as st

from aiverify.formats import numpy
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.formats.numpy import examine_npy

OPTIONS = ScanOptions()


def look(raw: bytes):
    return examine_npy(raw, "a.npy", OPTIONS)


def clean(raw: bytes) -> bool:
    examination = look(raw)
    return not examination.findings and not examination.unexamined


def written(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def file_of(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    layout = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(layout, len(raw)) + raw + data


ARRAYS = [
    *(np.zeros(3, code) for code in np.typecodes["All"] if code not in "OSUVMm"),
    *(
        np.zeros((2, 3), ">f4"),
        np.asfortranarray(np.ones((2, 3))),
        np.zeros((0, 4)),
        np.array(1.5),
        np.array(["a", "bcd"]),
    ),
    *(
        np.array([b"x"]),
        np.zeros(2, "V5"),
        np.array(["2020"], "M8[D]"),
        np.array([3], "m8[25s]"),
        np.zeros(2, "U0"),
        np.zeros(2, "S"),
    ),
    *(
        np.zeros(2, [("a", "<i4"), ("b", ">f8", (2, 2))]),
        np.zeros(1, [("a", [("x", "f4")])]),
        np.zeros(2, [(("t", "n"), "i4")]),
    ),
    *(np.zeros(2, [("Output", "<f4"), ("O", "i4")]), np.zeros(2, [("é", "f4")]), np.zeros(2, [("a", "f4", 3)])),
    np.zeros(1, {"names": ["a", "b"], "formats": ["i4", "i8"], "offsets": [0, 8]}),
    np.zeros(1, [(f"field{number}", "f4") for number in range(2000)]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype)[:30])
def test_what_numpy_writes_is_clean(array):
    assert clean(written(array)), look(written(array))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_is_read(version):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ones(3), version=version)
    assert clean(file.getvalue())


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, 1], dtype=object),
        np.zeros(2, [("a", "i4"), ("o", "O")]),
        np.zeros(1, [("a", [("b", "O", (2,))])]),
    ],
)
def test_an_array_of_objects_is_judged_as_a_pickle(array):
    assert clean(written(array))
    begin = written(array).index(b"\x80")
    evil = written(array)[:begin] + b"\x80\x02cos\nsystem\n(S'true'\ntR."
    assert [item.rule for item in look(evil).findings] == ["AIV301"]


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
BAD = [
    "",
    "x",
    "[]",
    "{}",
    "{'descr': '<f4', 'fortran_order': False}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
    "{'descr': '<f4', 'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ('2',)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 70 + ")}",
    "{'descr': 'object', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': 'float32', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': 4, 'fortran_order': False, 'shape': (2,)}",
    "{'descr': None, 'fortran_order': False, 'shape': (2,)}",
    "{'descr': [1], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': [('a',)], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': {'a': 1}, 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ]}",
    "{1: 2}",
    "{'descr' '<f4'}",
    "{'descr': '\\x7cO', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (2,)}",
    "(" * 5000,
]


@pytest.mark.parametrize("header", BAD)
def test_a_header_that_is_none_is_malformed(header):
    examination = look(file_of(header, bytes(8)))
    assert [item.rule for item in examination.findings] == ["AIV404"]
    assert examination.unexamined


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x93NUMP",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\xff",
        b"\x93NUMPY\x04\x00\x00\x00",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"PK\x03\x04" + bytes(50),
        b"\x93NUMPY\x01\x00\xff\xff{}",
    ],
)
def test_a_file_that_begins_wrong_is_malformed(raw):
    assert [item.rule for item in look(raw).findings] == ["AIV404"]


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(9), bytes(800)])
def test_the_numbers_must_fill_the_file_exactly(data):
    assert clean(file_of(GOOD, bytes(8)))
    assert not clean(file_of(GOOD, data))


def test_sizes_beyond_all_measure_are_malformed():
    huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 99999999999999999999)}"
    assert not clean(file_of(huge, bytes(8)))


types = st.sampled_from(
    [
        "<f4",
        "|u1",
        ">i8",
        "|b1",
        "<U3",
        "|S2",
        "|V4",
        "<M8[D]",
        "|O",
        "O",
        "object",
        "f4,O",
        "<c8",
        "f",
        "",
        "x",
        "|O8",
        "(2,)f4",
        "i4, O",
    ]
)
descriptions = st.recursive(
    types,
    lambda inner: (
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from(["a", "b", "O", ""]), inner),
                st.tuples(st.sampled_from(["a", "b", "c"]), inner, st.lists(st.integers(0, 3), max_size=2).map(tuple)),
                inner,
            ),
            max_size=3,
        )
        | st.tuples(inner, st.lists(st.integers(0, 3), max_size=2).map(tuple))
    ),
    max_leaves=4,
)
MARKER = pickle.dumps([None] * 2, 2)


@effort(400)
@given(
    descriptions,
    st.one_of(
        st.lists(st.integers(0, 3), max_size=3).map(tuple), st.integers(0, 3), st.sampled_from([(True,), [2], None])
    ),
    st.booleans(),
    st.sampled_from(
        [
            "{{'descr': {0!r}, 'fortran_order': {1}, 'shape': {2!r}}}",
            '{{"descr": {0!r},"shape": {2!r}, "fortran_order":{1} , }}   \n',
        ]
    ),
    st.integers(0, 64),
)
@example("|O", (2,), False, "{{'descr': ({0!r}), 'fortran_order': {1}, 'shape': {2!r}}}", 0)
@example("object", (), False, "{{'descr': {0!r}, 'fortran_order': {1}, 'shape': {2!r}}}", 0)
def test_a_clean_header_means_what_numpy_makes_of_it(descr, shape, order, layout, extra):
    header = layout.format(descr, order, shape)
    try:
        theirs = np.lib.format.read_array_header_1_0(io.BytesIO(struct.pack("<H", len(header)) + header.encode()))
    except Exception:  # noqa: BLE001 - numpy refuses the header, in whatever way
        return
    their_shape, _, dtype = theirs
    size = int(np.prod(their_shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject:
        # Not numbers but a pickle: what is clean as numbers would be missed.
        assert not clean(file_of(header, b"\x80\x02cos\nsystem\n(S'true'\ntR."))
        assert not clean(file_of(header, bytes(size)))
    else:
        assert not clean(file_of(header, bytes(size + 1 + extra)))


@effort(200)
@given(
    st.sampled_from([written(array) for array in ARRAYS]),
    st.lists(st.tuples(st.integers(0, 130), st.integers(0, 255)), max_size=4),
)
def test_no_alteration_makes_the_reader_raise(raw, changes):
    altered = bytearray(raw)
    for place, value in changes:
        altered[place % len(altered)] = value
    look(bytes(altered))


class Strange:
    def __reduce__(self):
        return print, ("x",)


@pytest.mark.parametrize("first", [np.ones(3), np.array([1], dtype=object)], ids=["numbers", "objects"])
def test_an_array_behind_too_many_arrays_is_unexamined(first, monkeypatch):
    monkeypatch.setattr(numpy, "_MAX_ARRAYS", 2)
    assert not look(written(first) * 2).unexamined
    assert look(written(first) * 3).unexamined


@pytest.mark.parametrize("first", [np.ones(3), np.array([1], dtype=object)], ids=["numbers", "objects"])
def test_several_arrays_in_one_file_are_examined_each(first):
    """NumPy's own idiom: several calls of save, and as many of load."""
    honest = written(first) + written(np.ones(2)) + written(first)
    examination = look(honest)
    assert (examination.findings, examination.unexamined) == ([], [])
    raw = written(first) + written(np.ones(2)) + written(np.array([Strange()], dtype=object))
    assert any("builtins.print" in item.message for item in look(raw).findings)


def test_of_several_arrays_there_is_no_twin(tmp_path):
    file = tmp_path / "a.npy"
    file.write_bytes(written(np.ones(2)))
    assert examine(file, "a.npy", ScanOptions()).checkpoint is not None
    file.write_bytes(written(np.ones(2)) * 2)
    assert examine(file, "a.npy", ScanOptions()).checkpoint is None


def test_an_array_behind_an_array_of_an_archive_is_a_finding(tmp_path):
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", written(np.ones(2)) * 2)
    assert [item.rule for item in examine(file, "a.npz", ScanOptions()).findings] == ["AIV308"]
