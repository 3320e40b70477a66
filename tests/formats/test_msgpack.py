"""Flax parameters: what flax writes is clean, what breaks a rule is refused, and msgpack agrees about the structure."""

import struct
from pathlib import Path

import msgpack
import numpy as np
import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.finding import Finding
from aiverify.formats.msgpack import examine_msgpack

VECTORS = Path(__file__).parent / "vectors" / "flax"


def findings(raw: bytes) -> list[Finding]:
    return examine_msgpack(raw, "flax_model.msgpack").findings


def array(value: np.ndarray, *, shape: object = None, dtype: str | None = None, cut: int = 0) -> msgpack.ExtType:
    content = value.tobytes()[: value.nbytes - cut]
    return msgpack.ExtType(
        1, msgpack.packb((shape if shape is not None else value.shape, dtype or value.dtype.name, content))
    )


ONES = np.ones((2, 3), np.float32)


def test_what_flax_wrote_is_clean() -> None:
    assert findings((VECTORS / "parameters.msgpack").read_bytes()) == []


def test_parameters_by_hand_are_clean() -> None:
    assert findings(msgpack.packb({"a": {"kernel": array(ONES)}, "n": [1, -1, 1 << 40, None, True, 1.5, "text"]})) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (array(ONES, cut=1), "need 24"),
        (array(ONES, shape=(1 << 40, 1 << 40)), "need"),
        (array(ONES, shape=(-1, 3)), "the shape"),
        (array(ONES, shape="no list"), "no shape"),
        (array(ONES, dtype="object"), "the type 'object'"),
        (msgpack.ExtType(1, b"\x93"), "at byte"),
        (msgpack.ExtType(1, msgpack.packb([1, 2])), "no list of shape"),
        (msgpack.ExtType(9, b"code"), "type 9"),
    ],
    ids=["cut", "too large", "negative", "no shape", "objects", "nothing inside", "two parts", "an unknown extension"],
)
def test_a_hostile_array_is_refused_with_the_reason(value: msgpack.ExtType, reason: str) -> None:
    (found,) = findings(msgpack.packb({"a": value}))
    assert found.rule == "AIV404"
    assert reason in found.message


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xdd\xff\xff\xff\xff", "more than bytes are left"),
        (b"\xc6\xff\xff\xff\xff", "past the end"),
        (b"\x91" * 300 + b"\xc0", "inside each other"),
        (b"\xc1", "unused code"),
        (b"\x92\xc0", "more than bytes"),
        (b"\xcf\x01", "in a value"),
        (b"", "in a value"),
    ],
    ids=["a huge list", "a huge value", "depth", "an unused code", "too few values", "a number cut off", "nothing"],
)
def test_a_hostile_structure_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    (found,) = findings(raw)
    assert found.rule == "AIV404"
    assert reason in found.message


def test_bytes_behind_the_value_are_said() -> None:
    assert [found.rule for found in findings(msgpack.packb({"a": 1}) + b"tail")] == ["AIV414"]


def test_a_program_among_the_values_is_said() -> None:
    assert [found.rule for found in findings(msgpack.packb({"a": b"cos\nsystem\n(S'true'\ntR."}))] == ["AIV411"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=40,
)


@effort(100)
@given(values)
def test_what_msgpack_writes_is_read_to_the_last_byte(value: object) -> None:
    assert {found.rule for found in findings(msgpack.packb(value))} <= {"AIV411"}


@effort(300)
@given(st.binary(min_size=1, max_size=60))
def test_what_msgpack_refuses_is_refused(raw: bytes) -> None:
    try:
        msgpack.unpackb(raw, strict_map_key=False, ext_hook=lambda code, data: (code, data), raw=True)
    except Exception:  # noqa: BLE001 - the library has a dozen classes for it
        assert findings(raw)


def test_a_float_is_not_mistaken_for_the_values_behind_it() -> None:
    assert findings(b"\x92\xca" + struct.pack(">f", 1.0) + b"\xc0") == []
