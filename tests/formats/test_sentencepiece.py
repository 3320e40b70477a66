"""The walk over a tokenizer's outermost fields."""

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.formats import protobuf, sentencepiece
from aiverify.formats.sentencepiece import examine_sentencepiece


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def clean(raw: bytes) -> bool:
    examination = examine_sentencepiece(raw, "tokenizer.model")
    assert examination.findings == []
    return not examination.unexamined


def field(number: int, wire: int, body: bytes) -> bytes:
    return varint(number << 3 | wire) + body


PIECE = field(1, 2, varint(3) + b"\xe2\x96\x81")
fields = st.one_of(
    st.builds(
        lambda number, value: field(number, 0, varint(value)), st.integers(2, 100), st.integers(0, (1 << 64) - 1)
    ),
    st.builds(lambda number, raw: field(number, 1, raw), st.integers(2, 100), st.binary(min_size=8, max_size=8)),
    st.builds(lambda number, raw: field(number, 5, raw), st.integers(2, 100), st.binary(min_size=4, max_size=4)),
    st.builds(
        lambda number, raw: field(number, 2, varint(len(raw)) + raw), st.integers(2, 100), st.binary(max_size=200)
    ),
)


@effort(150)
@given(st.lists(fields, max_size=8), st.integers(0, 8))
def test_a_well_formed_message_with_pieces_is_clean_and_cut_it_is_not(parts, place):
    raw = b"".join([*parts[:place], PIECE, *parts[place:]])
    assert clean(raw)
    assert not clean(b"".join(parts))
    assert not clean(raw + PIECE[:-1])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x0a",
        b"\x0a\xff",
        PIECE + b"\x0b",
        PIECE + b"\x0c",
        PIECE + b"\x0e",
        PIECE + b"\x0f",
        b"\x80" * 11,
        PIECE + b"\x10" + b"\xff" * 10,
        b"\x12\x00",
    ],
)
def test_what_is_no_message_or_has_no_pieces_is_not_examined(raw):
    assert not clean(raw)


def test_millions_of_tiny_fields_are_given_up(monkeypatch):
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 100)
    assert clean(PIECE * 100)
    assert not clean(PIECE * 101)
    monkeypatch.setattr(sentencepiece, "MAX_SIZE", 10)
    assert not clean(PIECE * 3)


@effort(150)
@given(st.binary(max_size=100))
def test_no_bytes_make_the_walk_raise(raw):
    clean(raw)
