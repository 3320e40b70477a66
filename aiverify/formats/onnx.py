"""ONNX: the graph of a model as a protocol buffer, walked as data and with limits.

What is looked for:

- Data outside the file: where they lie must be a plain path below the model's folder, and reach that far.
- Operators: those of the standard domains and of onnxruntime are known; others need a library that is registered by
  whoever loads the model. Functions that the model defines itself are graphs, and walked like one.
- Values that are programs: metadata, attributes, tensors of strings and of bytes.
- Tensors whose bytes are not as many as their shape and type say.

Source: onnx 1.23, ``onnx.proto``; onnxruntime for its own domains and operators.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from aiverify.errors import AiverifyError
from aiverify.formats.complaints import Complaints
from aiverify.formats.embedded import PROBE
from aiverify.formats.interface import Examination, Format
from aiverify.formats.onnx_types import TYPE_BITS
from aiverify.formats.protobuf import Field, MalformedMessageError, Message, Schema, numbers
from aiverify.formats.safetensors import shown
from aiverify.pickles.reading import Buffer

MAX_DEPTH = 50
MAX_NAMES = 10_000
MAX_PLACES = 64
_NAME = 1000

#: Size of a file beside the model, in bytes; ``None`` when there is none that may be read.
Neighbour = Callable[[str], "int | None"]

_STANDARD = frozenset(("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"))
_RUNTIME = frozenset(
    ("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.microsoft.dml", "com.ms.internal.nhwc")
)
#: Operators that call Python, or any function of a library that the file names.
_CALLS_CODE = frozenset(("PyOp", "PythonOp", "PythonOpGrad", "PyCustomOp", "ATen", "ExternalOp"))
#: Operators that hold, or name by its path, a program that was compiled for a device.
_COMPILED = frozenset(("EPContext",))

# Field numbers of onnx.proto.
_MODEL = Schema(
    numbers=frozenset((1, 5)),
    ranges=frozenset((2, 3, 4, 6, 7, 8, 14, 20, 25, 26)),
    once=frozenset((1, 2, 3, 4, 5, 6, 7)),
)
_GRAPH, _METADATA, _TRAINING, _FUNCTIONS = 7, 14, 20, 25
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_STRING, _TENSOR, _SUBGRAPH, _STRINGS, _TENSORS, _SUBGRAPHS = 4, 5, 6, 9, 10, 11
_SPARSE_TENSOR, _SPARSE_TENSORS = 22, 23
_DIMS, _DATA_TYPE, _STRING_DATA, _TENSOR_NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 6, 8, 9, 13, 14

_BYTES = frozenset((2, 3))
_STRING_TYPE = 8


class MalformedOnnxError(AiverifyError):
    """The file breaks a rule. The message names the place."""


def examine_onnx(data: Buffer, path: str, neighbour: Neighbour | None) -> Examination:
    """Examine one ONNX model. ``neighbour`` knows the files in its folder; there is none for a member of an archive."""
    examination = Examination(format=Format.ONNX)
    complaints = Complaints(examination, path)
    walk = _Walk(data, neighbour, complaints)
    try:
        walk.model()
    except (MalformedMessageError, MalformedOnnxError) as error:
        complaints.say("AIV404", f"not a valid ONNX model: {error}")
    return examination


class _Walk:
    """One walk through a model.

    ``operators`` are the domain and type of each, with the byte of its first use; ``outside`` the sizes of the files
    that tensors are in.
    """

    def __init__(self, data: Buffer, neighbour: Neighbour | None, complaints: Complaints) -> None:
        self.data = data
        self.neighbour = neighbour
        self.complaints = complaints
        self.operators: dict[tuple[str, str], int] = {}
        self.functions: set[tuple[str, str]] = set()
        self.outside: dict[str, int | None] = {}

    def model(self) -> None:
        message = Message.whole(self.data)
        graphs = 0
        for field in message:
            if field.number == _GRAPH:
                graphs += 1
                self._graph(message.inner(field), 0)
            elif field.number == _METADATA:
                self._metadata(message.inner(field))
            elif field.number == _FUNCTIONS:
                self._function(message.inner(field))
            elif field.number == _TRAINING:
                self._training(message.inner(field))
        if graphs != 1:
            raise MalformedOnnxError(f"{graphs} graphs, where there must be one")
        if (said := _MODEL.complaint(Message.whole(self.data))) is not None:
            self._say("AIV414", f"the model has {said[0]}", said[1])
        self._judge_operators()

    def _say(self, rule: str, text: str, offset: int) -> None:
        self.complaints.say(rule, text, offset=offset)

    # graphs and nodes

    def _graph(self, graph: Message, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise MalformedOnnxError(f"graphs nested more than {MAX_DEPTH} deep at byte {graph.start}")
        for field in graph:
            if field.number == _NODE:
                self._node(graph.inner(field), depth)
            elif field.number == _INITIALIZER:
                self._tensor(graph.inner(field))
            elif field.number == _SPARSE:
                self._sparse(graph.inner(field))

    def _training(self, training: Message) -> None:
        for field in training:
            if field.number in (1, 2):  # initialization, algorithm
                self._graph(training.inner(field), 0)

    def _function(self, function: Message) -> None:
        name = domain = ""
        for field in function:
            if field.number == _FUNCTION_NAME:
                name = function.text_of(field, _NAME)
            elif field.number == _FUNCTION_DOMAIN:
                domain = function.text_of(field, _NAME)
            elif field.number == _FUNCTION_NODE:
                self._node(function.inner(field), 0)
        self.functions.add((domain, name))
        self._limit(len(self.functions), "functions")

    def _node(self, node: Message, depth: int) -> None:
        operator = domain = ""
        for field in node:
            if field.number == _OP_TYPE:
                operator = node.text_of(field, _NAME)
            elif field.number == _DOMAIN:
                domain = node.text_of(field, _NAME)
            elif field.number == _ATTRIBUTE:
                self._attribute(node.inner(field), depth)
        self.operators.setdefault((domain, operator), node.start)
        self._limit(len(self.operators), "kinds of operators")

    def _limit(self, number: int, what: str) -> None:
        if number > MAX_NAMES:
            raise MalformedOnnxError(f"more than {MAX_NAMES} {what}")

    def _attribute(self, attribute: Message, depth: int) -> None:
        for field in attribute:
            if field.number in (_STRING, _STRINGS):
                self._value(attribute, field, "an attribute")
            elif field.number in (_TENSOR, _TENSORS):
                self._tensor(attribute.inner(field))
            elif field.number in (_SUBGRAPH, _SUBGRAPHS):
                self._graph(attribute.inner(field), depth + 1)
            elif field.number in (_SPARSE_TENSOR, _SPARSE_TENSORS):
                self._sparse(attribute.inner(field))

    def _judge_operators(self) -> None:
        for (domain, operator), offset in self.operators.items():
            named = f"{domain}::{operator}" if domain else operator
            if (domain, operator) in self.functions:
                continue
            if operator in _CALLS_CODE and domain not in _STANDARD:
                self._say("AIV411", f"the operator {shown(named)} calls code outside the graph", offset)
            elif operator in _COMPILED and domain in _RUNTIME:
                self._say(
                    "AIV411", f"the operator {shown(named)} runs a program that was compiled for a device", offset
                )
            elif domain not in _STANDARD and domain not in _RUNTIME:
                self._say("AIV413", f"the operator {shown(named)} needs a library of its own", offset)

    # values

    def _metadata(self, entry: Message) -> None:
        for field in entry:
            if field.number == 2:  # the value; the key is field 1
                self._value(entry, field, "a metadata value")

    def _value(self, message: Message, field: Field, what: str) -> None:
        self.complaints.judge_value(message.bytes_of(field, PROBE), what, field.start)

    def _sparse(self, sparse: Message) -> None:
        for field in sparse:
            if field.number in (1, 2):  # values, indices
                self._tensor(sparse.inner(field))

    def _tensor(self, tensor: Message) -> None:
        name, kind, count, raw, external = "", 0, 1, None, False
        where: list[tuple[str, str]] = []
        for field in tensor:
            if field.number == _TENSOR_NAME:
                name = tensor.text_of(field, _NAME)
            elif field.number == _DATA_TYPE:
                kind = field.value
            elif field.number == _DIMS:
                for extent in numbers(tensor, field, 1024):
                    if extent < 0 or count * extent >= 1 << 63:
                        raise MalformedOnnxError(f"the shape of tensor {shown(name)} at byte {tensor.start}")
                    count *= extent
            elif field.number == _RAW:
                raw = field
            elif field.number == _STRING_DATA:
                self._value(tensor, field, f"an element of tensor {shown(name)}")
            elif field.number == _EXTERNAL:
                where.append(_pair(tensor.inner(field)))
                if len(where) > MAX_PLACES:
                    raise MalformedOnnxError(f"tensor {shown(name)} lies in more than {MAX_PLACES} places")
            elif field.number == _LOCATION:
                external = field.value == 1
        if kind not in TYPE_BITS and kind != _STRING_TYPE:
            raise MalformedOnnxError(f"tensor {shown(name)} at byte {tensor.start} is of the unknown type {kind}")
        needed = (count * TYPE_BITS.get(kind, 0) + 7) // 8
        if external or where:
            self._external(name, where, needed, tensor.start)
        elif raw is not None:
            if raw.end - raw.start != needed:
                text = f"tensor {shown(name)} has {raw.end - raw.start} bytes, but its shape and type need {needed}"
                raise MalformedOnnxError(text)
            if kind in _BYTES:
                self._value(tensor, raw, f"tensor {shown(name)}")

    def _external(self, name: str, where: list[tuple[str, str]], needed: int, place: int) -> None:
        """Check every place that is named: readers differ in which of several they take."""
        places = [value for key, value in where if key == "location"]
        if not places:
            raise MalformedOnnxError(f"tensor {shown(name)} lies outside the file, but it is not said where")
        numbers_of = {key: value for key, value in where if key in ("offset", "length")}
        for key, value in numbers_of.items():
            if not (value.isascii() and value.isdigit() and len(value) < 20):
                raise MalformedOnnxError(f"the {key} of tensor {shown(name)} is {shown(value)}")
        length = int(numbers_of.get("length", needed))
        if length != needed:
            raise MalformedOnnxError(f"tensor {shown(name)} has {length} bytes outside the file, but needs {needed}")
        end = int(numbers_of.get("offset", 0)) + length
        for location in places:
            if not _is_below(location):
                text = f"the data of tensor {shown(name)} lie at {shown(location)}, outside the model's folder"
                self._say("AIV415", text, place)
                continue
            if self.neighbour is None:
                self.complaints.gap("its tensors lie beside it, which cannot be looked up from where it lies")
                continue
            if location not in self.outside:
                self._limit(len(self.outside), "files")
                self.outside[location] = self.neighbour(location)
                if self.outside[location] is None:
                    self._say("AIV407", f"the tensors' data are to be in {shown(location)}, which is missing", place)
            size = self.outside[location]
            if size is not None and end > size:
                text = f"the data of tensor {shown(name)} end at byte {end} of {shown(location)}, which has {size}"
                self._say("AIV407", text, place)


def _pair(entry: Message) -> tuple[str, str]:
    key = value = ""
    for field in entry:
        if field.number == 1:
            key = entry.text_of(field, _NAME)
        elif field.number == 2:
            value = entry.text_of(field, 1 << 16)
    return key, value


def _is_below(location: str) -> bool:
    """Whether a path stays in the folder it is joined to, on every platform."""
    path = PurePosixPath(location)
    plain = "\\" not in location and "\0" not in location and ":" not in location
    return plain and bool(path.parts) and not path.is_absolute() and ".." not in path.parts
