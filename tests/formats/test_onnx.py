"""ONNX models as onnx writes them, and what hostile ones ask for."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from aiverify.finding import Finding
from aiverify.formats.onnx import examine_onnx
from aiverify.formats.onnx_types import TYPE_BITS

PICKLE = b"cos\nsystem\n(S'true'\ntR."
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
WEIGHT = numpy_helper.from_array(np.ones((4, 4), np.float32), "weight")


def model(*nodes: onnx.NodeProto, initializers: list[TensorProto] | None = None, **options: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"]), *nodes], "g", [X], [Y], initializers or [WEIGHT]
    )
    return helper.make_model(graph, **options)


def findings(made: onnx.ModelProto | bytes, files: dict[str, int] | None = None) -> list[Finding]:
    raw = made if isinstance(made, bytes) else made.SerializeToString()
    return examine_onnx(raw, "model.onnx", (files or {}).get).findings


def rules(made: onnx.ModelProto | bytes, files: dict[str, int] | None = None) -> list[str]:
    return [found.rule for found in findings(made, files)]


def external(name: str = "weight", **entries: object) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_a_model_of_the_library_is_clean() -> None:
    assert rules(model(producer_name="tests")) == []


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3), dtype)
        for dtype in ("float16", "float64", "int8", "uint8", "int64", "uint32", "bool", "complex64", "complex128")
    ]
    + [np.array([b"a", b"b"], dtype=object)],
    ids=lambda array: str(array.dtype),
)
def test_tensors_of_every_type_are_clean(array: np.ndarray) -> None:
    tensor = numpy_helper.from_array(array, "other")
    assert rules(model(initializers=[WEIGHT, tensor])) == []


def test_every_data_type_of_the_library_is_known() -> None:
    names = {number for name, number in TensorProto.DataType.items() if name not in ("UNDEFINED", "STRING")}
    assert set(TYPE_BITS) == names
    for kind in names - {21, 22, 23, 25, 26, 27, 28}:  # those packed below one byte have no numpy type of that size
        assert helper.tensor_dtype_to_np_dtype(kind).itemsize * 8 == TYPE_BITS[kind]


def test_packed_tensors_are_clean() -> None:
    tensor = helper.make_tensor("packed", TensorProto.INT4, [3], [1, 2, 3])
    assert rules(model(initializers=[WEIGHT, tensor])) == []


def test_a_function_that_the_model_defines_needs_no_library() -> None:
    body = helper.make_function("mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [])
    used = helper.make_node("Twice", ["x"], ["z"], domain="mine")
    assert rules(model(used, functions=[body])) == []


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        (helper.make_node("Foo", ["x"], ["z"], domain="acme.ops"), "AIV413"),
        (helper.make_node("PyOp", ["x"], ["z"], domain="ai.onnx.contrib"), "AIV411"),
        (helper.make_node("PythonOp", ["x"], ["z"], domain="com.microsoft"), "AIV411"),
        (helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft", ep_cache_context="../x.bin"), "AIV411"),
        (helper.make_node("Constant", [], ["z"], value_string=PICKLE), "AIV411"),
        (helper.make_node("Constant", [], ["z"], value_strings=[b"#!/bin/sh\ntrue"]), "AIV411"),
    ],
    ids=[
        "a foreign domain",
        "Python by the extensions",
        "Python by the runtime",
        "a program for a device",
        "a pickle",
        "a script",
    ],
)
@pytest.mark.parametrize("inside", ["graph", "branch", "function"])
def test_what_an_operator_brings_is_found_wherever_it_stands(node: onnx.NodeProto, rule: str, inside: str) -> None:
    if inside == "graph":
        made = model(node)
    elif inside == "branch":
        branch = helper.make_graph([node], "b", [], [Y])
        made = model(helper.make_node("If", ["c"], ["q"], then_branch=branch, else_branch=branch))
    else:
        made = model(functions=[helper.make_function("mine", "F", ["x"], ["z"], [node], [])])
    assert set(rules(made)) == {rule}


def test_an_operator_is_reported_once() -> None:
    nodes = [helper.make_node("Foo", ["x"], [f"z{index}"], domain="acme") for index in range(5)]
    assert rules(model(*nodes)) == ["AIV413"]


@pytest.mark.parametrize("place", ["metadata", "raw", "strings"])
def test_a_pickle_among_the_values_is_said(place: str) -> None:
    made = model()
    if place == "metadata":
        made.metadata_props.add(key="k", value=PICKLE.decode())
    elif place == "raw":
        made.graph.initializer.append(numpy_helper.from_array(np.frombuffer(PICKLE, np.uint8), "blob"))
    else:
        made.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [PICKLE]))
    assert rules(made) == ["AIV411"]


def test_data_beside_the_model_are_clean() -> None:
    made = model(initializers=[external(location="data/weights.bin", offset=64, length=64)])
    assert rules(made, {"data/weights.bin": 128}) == []


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../other", "data/../../other", "C:\\other", "\\\\host\\share", "http://host/w"]
)
def test_data_elsewhere_are_said(location: str) -> None:
    assert rules(model(initializers=[external(location=location)]), {location: 1 << 20}) == ["AIV415"]


def test_data_that_are_not_there_are_said_once_for_each_file() -> None:
    tensors = [external(f"t{index}", location="weights.bin") for index in range(3)]
    assert rules(model(initializers=tensors)) == ["AIV407"]


@pytest.mark.parametrize("entries", [{"offset": 65}, {"offset": 65, "length": 64}, {"offset": 1 << 62}])
def test_data_beyond_the_end_of_their_file_are_said(entries: dict[str, int]) -> None:
    made = model(initializers=[external(location="weights.bin", **entries)])
    assert rules(made, {"weights.bin": 128}) == ["AIV407"]


def test_of_two_places_both_are_looked_at() -> None:
    tensor = external(location="weights.bin")
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert rules(model(initializers=[tensor]), {"weights.bin": 64}) == ["AIV415"]


def broken(change: Callable[[TensorProto], None]) -> onnx.ModelProto:
    tensor = TensorProto()
    tensor.CopyFrom(WEIGHT)
    change(tensor)
    return model(initializers=[tensor])


def part(number: int, content: bytes) -> bytes:
    """A field of up to 2^14 bytes."""
    return bytes((number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7)) + content


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, and so on: more than the library itself would write."""
    graph = part(2, b"innermost")
    for _ in range(depth):
        graph = part(1, part(5, part(6, graph)))
    return part(7, graph)


HOSTILE = {
    "too few bytes": (broken(lambda tensor: tensor.dims.append(2)), "need 128"),
    "a negative extent": (broken(lambda tensor: tensor.dims.append(-1)), "the shape"),
    "a size that overflows": (broken(lambda tensor: tensor.dims.extend([1 << 62] * 2)), "the shape"),
    "an unknown type": (broken(lambda tensor: setattr(tensor, "data_type", 99)), "unknown type 99"),
    "data nowhere": (model(initializers=[external()]), "not said where"),
    "a negative offset": (model(initializers=[external(location="w", offset=-1)]), "the offset"),
    "another length": (model(initializers=[external(location="w", length=3)]), "needs 64"),
    "graphs in graphs": (nested(60), "nested"),
    "no graph": (onnx.ModelProto(ir_version=8), "0 graphs"),
    "no message": (b"\x08\x07\xff\xff", "cut off"),
}


@pytest.mark.parametrize(("made", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_structure_is_refused_with_the_reason(made: onnx.ModelProto | bytes, reason: str) -> None:
    (found,) = findings(made, {"w": 1 << 20})
    assert found.rule == "AIV404"
    assert reason in found.message


@effort(150)
@given(st.data())
def test_no_mutation_leaves_the_reader_without_an_answer(data: st.DataObject) -> None:
    made = model(
        helper.make_node("Foo", ["x"], ["z"], domain="acme"), initializers=[WEIGHT, external("e", location="w")]
    )
    raw = bytearray(made.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    assert all(found.rule.startswith("AIV4") for found in findings(bytes(raw[:cut]), {"w": 64}))
