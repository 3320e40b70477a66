"""The header reader against hand-made headers, and against the safetensors library itself."""

import io
import json
import struct

import numpy as np
import pytest
import safetensors
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from aiverify.formats.safetensors import DTYPE_BITS, Header, MalformedHeaderError, examine, read_header

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def read(raw: bytes) -> Header:
    return read_header(io.BytesIO(raw), len(raw))


def test_a_file_that_the_library_writes_is_read_in_full():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), dtype=np.int64)}
    header = read(save(arrays, {"format": "np", "note": "ä\n"}))
    assert {entry.name: (entry.dtype, entry.shape) for entry in header.tensors} == {
        "a": ("F32", (2, 3)),
        "b": ("I64", (0, 4)),
    }
    assert header.metadata == {"format": "np", "note": "ä\n"}


def test_a_reader_that_stands_elsewhere_or_gives_short_answers_is_read_from_the_start():
    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 3))

    raw = file_of({"a": F32}, bytes(8))
    file = Trickle(raw)
    file.seek(5)
    assert read_header(file, len(raw)).tensors[0].name == "a"


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_type_has_the_width_that_the_library_gives_it(dtype):
    raw = file_of(
        {"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, DTYPE_BITS[dtype]]}}, bytes(DTYPE_BITS[dtype])
    )
    assert read(raw).tensors[0].dtype == dtype
    assert safetensors.deserialize(raw)[0][1]["dtype"] == dtype


REFUSED = {
    "an empty file": (b"", "shorter than the length"),
    "half a length": (b"\x08\0\0", "shorter than the length"),
    "a header longer than the file": (struct.pack("<Q", 100) + b"{}", "more than the file has"),
    "a header longer than the format allows": (struct.pack("<Q", 100_000_001) + b"{}", "more than the 100000000"),
    "a header that is a list": (file_of(b"[]"), "does not begin with {"),
    "leading space": (file_of(b" {}"), "does not begin with {"),
    "text behind the JSON": (file_of(b"{} x"), "not JSON"),
    "an unclosed string": (file_of(b'{"a'), "not JSON"),
    "bytes that are not UTF-8": (file_of(b'{"\xff":1}'), "not UTF-8"),
    "a repeated tensor": (
        file_of(b'{"a":%s,"a":%s}' % ((json.dumps(F32).encode(),) * 2), bytes(8)),
        "'a' stands twice",
    ),
    "a repeated key in a tensor": (
        file_of(b'{"a":{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}}', b"1"),
        "'dtype' stands twice",
    ),
    "an unknown key": (file_of({"a": {**F32, "strides": []}}, bytes(8)), "not an object of dtype"),
    "a missing key": (file_of({"a": {"dtype": "F32", "shape": []}}, bytes(4)), "not an object of dtype"),
    "a tensor as an array": (file_of({"a": ["F32", [2], [0, 8]]}, bytes(8)), "not an object of dtype"),
    "a type that does not exist": (file_of({"a": {**F32, "dtype": "C128"}}, bytes(8)), "does not know"),
    "a type that is not text": (file_of({"a": {**F32, "dtype": ["F32"]}}, bytes(8)), "does not know"),
    "a negative size": (file_of({"a": {**F32, "shape": [-2]}}, bytes(8)), "not an unsigned number"),
    "minus zero": (file_of(b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'), "not an unsigned number"),
    "a fraction": (file_of({"a": {**F32, "shape": [2.0]}}, bytes(8)), "not an unsigned number"),
    "an infinite size": (file_of(b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}'), "not an unsigned"),
    "a size that is true": (file_of({"a": {**F32, "shape": [True, 2]}}, bytes(8)), "not a list of"),
    "a number of many digits": (file_of(b'{"a":{"dtype":"F32","shape":[' + b"9" * 9000 + b"]}}"), "not an unsigned"),
    "too many dimensions": (file_of({"a": {**F32, "shape": [1] * 1025}}, bytes(4)), "at most 1024"),
    "a size that overflows": (file_of({"a": {**F32, "shape": [1 << 40, 1 << 40]}}, bytes(8)), "overflows"),
    "an overflow before a zero": (file_of({"a": {**F32, "shape": [1 << 40, 1 << 40, 0]}}), "overflows"),
    "half a byte": (file_of({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 0]}}), "need 4 bits"),
    "a number beyond 64 bits": (
        file_of(b'{"a":{"dtype":"U8","shape":[0,18446744073709551616],"data_offsets":[0,0]}}'),
        "not an unsigned number",
    ),
    "offsets that are text": (file_of({"a": {**F32, "data_offsets": ["0", "8"]}}, bytes(8)), "not two numbers"),
    "offsets that are false": (file_of({"a": {**F32, "shape": [0], "data_offsets": [False] * 2}}), "not two numbers"),
    "offsets that run backwards": (file_of({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8)), "takes -8 bytes"),
    "three offsets": (file_of({"a": {**F32, "data_offsets": [0, 8, 8]}}, bytes(8)), "not two numbers"),
    "fewer bytes than the shape needs": (file_of({"a": {**F32, "shape": [3]}}, bytes(8)), "need 96 bits"),
    "a hole": (file_of({"a": {**F32, "data_offsets": [4, 12]}}, bytes(12)), "a hole before"),
    "an overlap": (file_of({"a": F32, "b": F32}, bytes(8)), "an overlap before"),
    "bytes behind the last tensor": (file_of({"a": F32}, bytes(9)), "9 bytes follow"),
    "data that is cut off": (file_of({"a": F32}, bytes(7)), "7 bytes follow"),
    "metadata that is not an object": (file_of({"__metadata__": ["x"]}), "not an object"),
    "metadata that is not text": (file_of({"__metadata__": {"x": {}}}), "not a string"),
    "half a character in the metadata": (file_of(b'{"__metadata__":{"x":"\\ud800"}}'), "half a surrogate"),
    "half a character in a key of the metadata": (file_of(b'{"__metadata__":{"\\udfff":"x"}}'), "half a surrogate"),
    "a control character in a name": (file_of({"a\x1b[31m": F32}, bytes(8)), "cannot be shown"),
    "an invisible character in a name": (file_of({"a\u202e": F32}, bytes(8)), "cannot be shown"),
    "half a character in a name": (file_of(b'{"\\ud800":%s}' % json.dumps(F32).encode(), bytes(8)), "cannot be shown"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_header_is_refused_with_the_rule_it_breaks(case):
    raw, reason = REFUSED[case]
    with pytest.raises(MalformedHeaderError, match=reason):
        read(raw)


@pytest.mark.parametrize(
    "bomb", [b"[" * 90_000_000, b'{"a":' * 400_000, b'"' * 90_000_000, b'{"a":[' + b"1," * 20_000_000]
)
def test_a_header_made_to_exhaust_the_reader_is_refused_before_it_is_parsed(bomb):
    raw = file_of(b"{" + bomb)
    with pytest.raises(MalformedHeaderError, match=r"nested deeper|more values|more than 1000000"):
        read(raw)


def test_a_string_full_of_quotes_that_never_ends_takes_linear_time():
    with pytest.raises(MalformedHeaderError, match="not JSON"):
        read(file_of(b'{"' + b'\\"' * 4_000_000))


def test_a_file_that_was_cut_off_since_its_size_was_taken_is_refused():
    raw = file_of({"a": F32}, bytes(8))
    with pytest.raises(MalformedHeaderError, match="ends inside its header"):
        read_header(io.BytesIO(raw[:20]), len(raw))


def test_a_broken_file_is_a_finding_that_names_the_file():
    raw = file_of({"a": F32}, bytes(9))
    (found,) = examine(io.BytesIO(raw), len(raw), "model.safetensors").findings
    assert (found.rule, found.file) == ("AIV404", "model.safetensors")
    assert "9 bytes follow" in found.message
    assert examine(io.BytesIO(raw[:-1]), len(raw) - 1, "model.safetensors").findings == []


def test_the_tail_of_a_huge_file_is_never_read():
    class HeaderOnly(io.BytesIO):
        def read(self, size=-1):
            assert 0 <= self.tell() + size <= len(head)
            return super().read(size)

    head = file_of({"a": {"dtype": "U8", "shape": [1 << 50], "data_offsets": [0, 1 << 50]}})
    assert read_header(HeaderOnly(head), len(head) + (1 << 50)).tensors[0].end == 1 << 50


# What we accept the library opens, with the same content; what it opens and we refuse, we refuse for one of these.
STRICTER = ("stands twice", "not an object of dtype", "cannot be shown", "at most 1024", "does not begin with {")

names = st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(
    ["a", "b", "__metadata__", "dtype", "shape"]
)
numbers = st.integers(0, 9) | st.sampled_from([-1, 1 << 32, 1 << 63, (1 << 64) - 1, 1 << 64, 1.0, True, "1", None])
infos = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*sorted(DTYPE_BITS), "X", 3]),
        "shape": st.lists(numbers, max_size=3),
        "data_offsets": st.lists(numbers, min_size=1, max_size=3),
    },
    optional={"extra": st.none()},
)
loose = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def read_or_reason(raw: bytes) -> Header | str:
    try:
        return read(raw)
    except MalformedHeaderError as error:
        return str(error)


@st.composite
def nearly_valid(draw):
    """A valid file, and then perhaps one change to it."""
    header: dict[str, object] = {}
    offset = 0
    for name in draw(st.lists(names.filter("__metadata__".__ne__), unique=True, max_size=4)):
        dtype = draw(st.sampled_from(sorted(DTYPE_BITS)))
        shape = draw(st.lists(st.integers(0, 4), max_size=2).map(lambda sizes: [*sizes, 8]))
        length = int(np.prod(shape)) * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + length]}
        offset += length
    if draw(st.booleans()):
        header["__metadata__"] = draw(
            st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=3), max_size=2)
        )
    raw = bytearray(file_of(header, bytes(offset)))
    for _ in range(draw(st.integers(0, 2))):
        position = draw(st.integers(0, len(raw) - 1))
        raw[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
        if not raw:
            break
    return bytes(raw)


@settings(max_examples=600, deadline=None)
@given(
    nearly_valid()
    | st.builds(file_of, st.dictionaries(names, infos | loose, max_size=3), st.binary(max_size=24))
    | st.builds(file_of, st.binary(max_size=30), st.binary(max_size=4))
    | st.binary(max_size=20)
)
@example(file_of({"__metadata__": None}))
@example(file_of({"a": F32, "b": {**F32, "shape": [0], "data_offsets": [8, 8]}}, bytes(8)))
@example(file_of(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}  \n', b"1"))
@example(file_of(b'{"\xf0\x9f\xa4\x97":{"dtype":"U8","shape":[0, 18446744073709551615],"data_offsets":[0,0]}}'))
def test_the_library_and_we_agree_on_what_a_valid_file_is(raw):
    try:
        theirs = dict(safetensors.deserialize(raw))
    except safetensors.SafetensorError:
        theirs = None
    ours = read_or_reason(raw)
    if isinstance(ours, str):
        assert theirs is None or any(reason in ours for reason in STRICTER), ours
        return
    assert theirs is not None
    assert {entry.name: (entry.dtype, list(entry.shape)) for entry in ours.tensors} == {
        name: (tensor["dtype"], tensor["shape"]) for name, tensor in theirs.items()
    }
    start = 8 + ours.length
    for entry in ours.tensors:
        assert raw[start + entry.start : start + entry.end] == bytes(theirs[entry.name]["data"])


def test_a_file_answers_to_its_tensors_and_to_the_names_that_are_tied_to_them() -> None:
    header = {
        "__metadata__": {"format": "pt", "lm_head.weight": "embed.weight", "note": "nothing"},
        "embed.weight": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    }
    raw = json.dumps(header).encode()
    raw = len(raw).to_bytes(8, "little") + raw + b"x"
    examination = examine(io.BytesIO(raw), len(raw), "model.safetensors")
    assert set(examination.tensors or ()) == {"embed.weight", "lm_head.weight"}
