"""The wire format of protocol buffers, against onnx's own parser of it."""

import onnx
import pytest
from fuzzing import effort
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from aiverify.formats import protobuf
from aiverify.formats.protobuf import Field, MalformedMessageError, Message, numbers

GRAPH = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["y"], name="a")],
    "g",
    [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])],
    [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
)
MODEL = helper.make_model(GRAPH, producer_name="tests").SerializeToString()


def walk(message: Message, depth: int = 0) -> list[Field]:
    return [field for field in message if depth < 100]


def test_fields_come_in_the_order_of_the_file_with_their_values() -> None:
    fields = {field.number: field for field in Message.whole(MODEL)}
    message = Message.whole(MODEL)
    assert fields[1].value == onnx.load_from_string(MODEL).ir_version
    assert message.text_of(fields[2], 100) == "tests"
    assert message.inner(fields[7]).start == fields[7].start


def test_packed_and_single_numbers_are_the_same() -> None:
    packed = Message.whole(bytes((0x0A, 3, 1, 0x96, 1)))
    assert [numbers(packed, field, 10) for field in packed] == [[1, 150]]
    single = Message.whole(bytes((0x08, *(0xFF,) * 9, 1)))
    assert [numbers(single, field, 10) for field in single] == [[-1]]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x08", "cut off"),
        (b"\x0a\x05ab", "past the end"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x01", "the number 0"),
        (b"\x08" + b"\xff" * 10, "64 bits"),
        (b"\x09\x01", "past the end"),
    ],
    ids=["number cut off", "range past the end", "group", "field zero", "endless number", "fixed past the end"],
)
def test_a_broken_message_is_refused_with_the_place(raw: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessageError, match=reason):
        walk(Message.whole(raw))


def test_the_fields_of_all_messages_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 5)
    message = Message.whole(b"\x0a\x02\x08\x01" * 3)
    with pytest.raises(MalformedMessageError, match="more than 5 fields"):
        inner(message)


@effort(200)
@given(st.integers(0, len(MODEL) - 1), st.integers(0, 255))
def test_what_the_library_parses_is_parsed_here(place: int, byte: int) -> None:
    """Not the reverse: the library checks strings and merges what stands twice."""
    raw = bytearray(MODEL)
    raw[place] = byte
    try:
        onnx.ModelProto.FromString(bytes(raw))
    except DecodeError:
        return
    fields = walk(Message.whole(bytes(raw))) if not has_group(raw) else []
    assert all(field.end <= len(raw) for field in fields)


def inner(message: Message) -> list[list[Field]]:
    return [walk(message.inner(field)) for field in message]


def has_group(raw: bytes) -> bool:
    try:
        walk(Message.whole(bytes(raw)))
    except MalformedMessageError as error:
        return "wire type 3" in str(error) or "wire type 4" in str(error)
    return False
