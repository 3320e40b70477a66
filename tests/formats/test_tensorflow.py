"""TensorFlow graphs that the library wrote, and small ones by hand; TensorFlow Lite likewise."""

import time
from pathlib import Path

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.formats.flatbuffer import FlatBuffer
from aiverify.formats.operators import judge_operator, table
from aiverify.formats.tensorflow import examine_tensorflow
from aiverify.formats.tensorflow_text import examine_graph_text
from aiverify.formats.tflite import examine_tflite

VECTORS = Path(__file__).parent / "vectors" / "tensorflow"
PICKLE = b"cos\nsystem\n(S'true'\ntR."


def rules(raw: bytes) -> list[str]:
    return [found.rule for found in examine_tensorflow(raw, "saved_model.pb").findings]


def lite(raw: bytes) -> list[str]:
    return [found.rule for found in examine_tflite(raw, "model.tflite").findings]


@pytest.mark.parametrize("name", ["plain.saved_model.pb", "keras.saved_model.pb", "frozen.pb", "plain.meta"])
def test_what_the_library_wrote_is_clean(name: str) -> None:
    assert rules((VECTORS / name).read_bytes()) == []


@pytest.mark.parametrize(
    ("name", "rule", "what"),
    [
        ("writes.saved_model.pb", "AIV412", "WriteFile"),
        ("reads.saved_model.pb", "AIV412", "ReadFile"),
        ("prints.saved_model.pb", "AIV412", "PrintV2"),
        ("python.saved_model.pb", "AIV411", "EagerPyFunc"),
    ],
)
def test_what_a_graph_reaches_for_is_said(name: str, rule: str, what: str) -> None:
    found = examine_tensorflow((VECTORS / name).read_bytes(), name).findings
    assert found
    assert all(it.rule == rule and what in it.message for it in found)


def part(number: int, content: bytes) -> bytes:
    """A field of bytes, with a length of up to 2^14."""
    return bytes((number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7)) + content


def node(operator: bytes, *attributes: bytes) -> bytes:
    return part(1, b"name") + part(2, operator) + b"".join(part(5, part(1, b"key") + part(2, it)) for it in attributes)


GRAPH = part(1, node(b"Add"))


@pytest.mark.parametrize("place", ["graph", "library", "meta graph", "saved model"])
@pytest.mark.parametrize(
    ("hostile", "rule"),
    [
        (node(b"WriteFile"), "AIV412"),
        (node(b"PyFunc"), "AIV411"),
        (node(b"AcmeCustomOp"), "AIV413"),
        (node(b"Const", part(2, PICKLE)), "AIV411"),
        (node(b"Const", part(8, part(8, PICKLE))), "AIV411"),
        (node(b"Const", part(1, part(2, PICKLE))), "AIV411"),
        (node(b"If", part(10, part(2, part(2, part(2, PICKLE))))), "AIV411"),
    ],
    ids=["file", "Python", "foreign", "string", "constant", "list", "function"],
)
def test_a_node_is_judged_wherever_it_stands(place: str, hostile: bytes, rule: str) -> None:
    graph = GRAPH + (part(2, part(1, part(3, hostile))) if place == "library" else part(1, hostile))
    if place in ("meta graph", "saved model"):
        graph = part(2, graph)
    if place == "saved model":
        graph = b"\x08\x01" + part(2, graph)
    assert rules(graph) == [rule]


@pytest.mark.parametrize("path", [b"/etc/passwd", b"../vocabulary", b"gs://bucket/vocabulary", b"a\\..\\b"])
def test_an_asset_elsewhere_is_said(path: bytes) -> None:
    assert rules(part(2, GRAPH) + part(6, part(2, path))) == ["AIV415"]
    assert rules(part(2, GRAPH) + part(6, part(2, b"assets/vocabulary"))) == []


def test_attributes_in_attributes_end() -> None:
    value = part(2, b"x")
    for _ in range(60):
        value = part(10, part(2, part(2, value)))
    assert rules(part(1, node(b"If", value))) == ["AIV404"]


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x7fabc", b"\x08\x01", part(9, b"something else")])
def test_what_is_no_graph_is_refused(raw: bytes) -> None:
    assert rules(raw) == ["AIV404"]


def test_the_table_of_operators_names_only_what_there_is() -> None:
    assert table().effects.keys() <= table().known
    assert judge_operator("MatMul") is None


def test_lite_models_of_the_library_are_clean() -> None:
    assert lite((VECTORS / "dense.tflite").read_bytes()) == []


def test_an_operator_of_tensorflow_in_a_lite_model_is_judged() -> None:
    assert lite((VECTORS / "reads.tflite").read_bytes()) == ["AIV412"]


def test_a_foreign_operator_in_a_lite_model_is_said() -> None:
    raw = (VECTORS / "reads.tflite").read_bytes()
    assert lite(raw.replace(b"FlexReadFile", b"AcmeReadFile")) == ["AIV413"]


def test_a_program_in_a_buffer_of_a_lite_model_is_said() -> None:
    raw = (VECTORS / "dense.tflite").read_bytes()
    buffers = [table.vector(0, 1) for table in FlatBuffer(raw).root().tables(4)]
    start = max(buffers, key=lambda buffer: buffer.length).start
    assert lite(raw[:start] + b"#!/bin/sh\n" + raw[start + 10 :]) == ["AIV411"]


@effort(200)
@given(st.data())
def test_no_mutation_of_a_graph_leaves_the_reader_without_an_answer(data: st.DataObject) -> None:
    assert set(rules(mutated(data, "frozen.pb"))) <= {"AIV404", "AIV411", "AIV412", "AIV413", "AIV415"}


@effort(200)
@given(st.data())
def test_no_mutation_of_a_lite_model_leaves_the_reader_without_an_answer(data: st.DataObject) -> None:
    assert set(lite(mutated(data, "dense.tflite"))) <= {"AIV404", "AIV411", "AIV412", "AIV413"}


def mutated(data: st.DataObject, name: str) -> bytes:
    raw = bytearray((VECTORS / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    return bytes(raw[: data.draw(st.integers(0, len(raw)))])


@pytest.mark.parametrize("mark", ['"', "'"])
@pytest.mark.parametrize("field", ["", "op: "])
def test_a_string_that_never_ends_cannot_stall_the_reader(field: str, mark: str) -> None:
    text = "node { op: 'WriteFile' }\n" + field + mark + ("\\" + mark) * 200_000
    started = time.process_time()
    found = examine_graph_text(text.encode(), "graph.pbtxt").findings
    assert [item.rule for item in found] == ["AIV412"]
    assert time.process_time() - started < 5
