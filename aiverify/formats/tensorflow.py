"""TensorFlow graphs: saved models, meta graphs and frozen graphs, walked as protocol buffers and with limits.

What is looked for:

- Operators that call Python, touch files or talk to others, in the graph and in every function; ones that are not
  TensorFlow's. ``PrintV2`` may print to a file.
- Assets whose path leaves the model's folder.
- Values that are programs: constants of strings and attributes.
- Keras layers that carry code, in the metadata of a saved model.

Which of the three a file is, is told by its fields: a message of one kind does not parse as another.

Source: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto and
tensorflow/core/framework/{graph,node_def,function,attr_value,tensor}.proto of TensorFlow 2.21.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from aiverify.errors import AiverifyError
from aiverify.formats.complaints import Complaints
from aiverify.formats.embedded import PROBE
from aiverify.formats.interface import Examination, Format
from aiverify.formats.operators import judge_operator
from aiverify.formats.protobuf import Field, MalformedMessageError, Message, Schema
from aiverify.formats.safetensors import shown
from aiverify.pickles.reading import Buffer

MAX_NAMES = 10_000
MAX_DEPTH = 20
_NAME = 1000
_MAX_METADATA = 16 << 20

# Field numbers of the messages named in the module's source.
_META_GRAPHS = 2
_META_INFO, _GRAPH, _ASSETS, _OBJECTS = 1, 2, 6, 7
_NODE, _LIBRARY, _LAYER = 1, 2, 5
_SCHEMAS = (
    Schema(numbers=frozenset((1,)), ranges=frozenset((2,)), once=frozenset((1,))),
    Schema(numbers=frozenset(), ranges=frozenset(range(1, 9)), once=frozenset((1, 2, 3, 7))),
    Schema(numbers=frozenset((3,)), ranges=frozenset((1, 2, 4, 5)), once=frozenset((2, 3, 4, 5))),
    Schema(numbers=frozenset(), ranges=frozenset((1,)), once=frozenset()),
    Schema(numbers=frozenset(range(1, 6)), ranges=frozenset((6, 7)), once=frozenset(range(1, 8))),
)
_LAYER_NODE = Schema(numbers=frozenset((2,)), ranges=frozenset((3, 4, 5, 6)), once=frozenset())
_OPERATOR = re.compile(rb"[A-Za-z_][A-Za-z0-9_>]*")
_FUNCTION, _FUNCTION_NODE = 1, 3
_NODE_NAME, _OP, _ATTRIBUTE = 1, 2, 5
_LIST, _STRING, _TENSOR, _FUNC = 1, 2, 8, 10
_STRING_VALUES, _CONTENT = 8, 4


class MalformedGraphError(AiverifyError):
    """The file is no graph. The message names the place."""


def examine_tensorflow(data: Buffer, path: str) -> Examination:
    """Examine one protocol buffer of TensorFlow."""
    examination = Examination(format=Format.TENSORFLOW)
    complaints = Complaints(examination, path)
    try:
        _Walk(data, complaints).file()
    except (MalformedMessageError, MalformedGraphError) as error:
        complaints.say("AIV404", f"not a valid TensorFlow graph: {error}")
    return examination


class _Walk:
    """One walk through a file. ``operators`` are the names of all, with the byte of the first use of each."""

    def __init__(self, data: Buffer, complaints: Complaints) -> None:
        self.data = data
        self.complaints = complaints
        self.operators: dict[str, int] = {}

    def file(self) -> None:
        readers = (self._saved_model, self._meta_graph, self._graph, self._keras_metadata, self._fingerprint)
        for reader, schema in zip(readers, _SCHEMAS, strict=True):
            if self._fits(reader, schema):
                break
        else:
            raise MalformedGraphError("it is neither a saved model nor a meta graph nor a graph")
        if (odd := schema.complaint(Message.whole(self.data))) is not None:
            self._say("AIV414", f"the file has {odd[0]}", odd[1])
        for name, offset in self.operators.items():
            said = judge_operator(name)
            if said is not None:
                self._say(*said, offset)

    def _fits(self, reader: Callable[[Message], bool], schema: Schema) -> bool:
        """Whether ``reader`` makes sense of the file; what it said of one that it does not is taken back."""
        try:
            if all(map(schema.allows, Message.whole(self.data))) and reader(Message.whole(self.data)):
                return True
        except MalformedMessageError:
            pass
        self.complaints.retract()
        self.operators.clear()
        return False

    def _say(self, rule: str, text: str, offset: int) -> None:
        self.complaints.say(rule, text, offset=offset)

    # the three kinds of file; each tells whether it found a graph

    def _saved_model(self, model: Message) -> bool:
        found = False
        for field in model:
            if field.number == _META_GRAPHS:
                found |= self._meta_graph(model.inner(field))
        return found

    def _meta_graph(self, meta: Message) -> bool:
        found = False
        for field in meta:
            if field.number == _GRAPH:
                found |= self._graph(meta.inner(field))
            elif field.number == _ASSETS:
                self._asset(meta.inner(field))
            elif field.number == _OBJECTS:
                self._objects(meta.inner(field))
            elif field.number == _META_INFO and _is_node(meta.inner(field)):
                return False  # another reader would take it for a graph, whose nodes were not looked at here
        return found

    def _graph(self, graph: Message) -> bool:
        nodes = 0
        for field in graph:
            if field.number == _NODE:
                nodes += self._node(graph.inner(field))
            elif field.number == _LIBRARY:
                self._library(graph.inner(field))
                nodes += 1
        return nodes > 0

    def _keras_metadata(self, saved: Message) -> bool:
        """The metadata of Keras' layers, in a file of their own: JSON in each."""
        for field in saved:
            node = saved.inner(field)
            if not all(map(_LAYER_NODE.allows, node)) or 2 not in {part.number for part in node}:
                return False
            for part in node:
                if part.number == _LAYER and part.is_range:
                    for name in _code_layers(node.text_of(part, _MAX_METADATA)):
                        self._say("AIV411", f"the Keras layer {name} carries code", part.start)
        return True

    @staticmethod
    def _fingerprint(fingerprint: Message) -> bool:
        """The checksums of a saved model, which nothing is made of."""
        return {1, 2, 3} <= {field.number for field in fingerprint}

    def _library(self, library: Message) -> None:
        for field in library:
            if field.number == _FUNCTION:
                function = library.inner(field)
                for part in function:
                    if part.number == _FUNCTION_NODE:
                        self._node(function.inner(part))

    # nodes and their attributes

    def _node(self, node: Message) -> bool:
        operator = ""
        attributes = []
        for field in node:
            if field.number == _OP:
                operator = node.text_of(field, _NAME)
            elif field.number == _ATTRIBUTE:
                attributes.append(field)
        self.operators.setdefault(operator, node.start)
        if len(self.operators) > MAX_NAMES:
            raise MalformedGraphError(f"more than {MAX_NAMES} kinds of operators")
        for field in attributes:
            self._attribute(node.inner(field), operator)
        return bool(operator)

    def _attribute(self, entry: Message, operator: str) -> None:
        key = ""
        for field in entry:
            if field.number == 1:
                key = entry.text_of(field, _NAME)
            elif field.number == 2:
                self._attribute_value(entry.inner(field), f"{operator}.{key}", 0)

    def _attribute_value(self, value: Message, where: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise MalformedMessageError(f"attributes nested more than {MAX_DEPTH} deep at byte {value.start}")
        for field in value:
            if field.number == _STRING:
                self._string(value, field, where)
            elif field.number == _TENSOR:
                self._tensor(value.inner(field), where)
            elif field.number == _LIST:
                for item in (inner := value.inner(field)):
                    if item.number == _STRING:
                        self._string(inner, item, where)
                    elif item.number == _TENSOR:
                        self._tensor(inner.inner(item), where)
            elif field.number == _FUNC:
                self._function_value(value.inner(field), where, depth)

    def _function_value(self, function: Message, where: str, depth: int) -> None:
        for field in function:
            if field.number == 2:  # its attributes; the name is field 1
                entry = function.inner(field)
                for part in entry:
                    if part.number == 2:
                        self._attribute_value(entry.inner(part), where, depth + 1)

    def _string(self, message: Message, field: Field, where: str) -> None:
        value = message.bytes_of(field, PROBE)
        self.complaints.judge_value(value, f"the attribute {shown(where)}", field.start)
        if where == "PrintV2.output_stream" and value.startswith(b"file:"):
            self._say(
                "AIV412", f"the operator PrintV2 writes to {shown(value.decode('utf-8', 'replace'))}", field.start
            )

    def _tensor(self, tensor: Message, where: str) -> None:
        for field in tensor:
            if field.number in (_STRING_VALUES, _CONTENT) and field.is_range:
                self.complaints.judge_value(tensor.bytes_of(field, PROBE), f"the constant {shown(where)}", field.start)

    # assets and objects

    def _asset(self, asset: Message) -> None:
        for field in asset:
            if field.number == 2:
                name = asset.text_of(field, 1 << 16)
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name:
                    self._say("AIV415", f"the asset {shown(name)} lies outside the model's folder", field.start)

    def _objects(self, objects: Message) -> None:
        for text, offset in _metadata(objects):
            for name in _code_layers(text):
                self._say("AIV411", f"the Keras layer {name} carries code", offset)


def _is_node(info: Message) -> bool:
    """Whether the second field is an operator's name, as in a node, and not a list of operators."""
    second = (info.bytes_of(field, _NAME) for field in info if field.number == 2 and field.is_range)
    return any(_OPERATOR.fullmatch(value) for value in second)


def _metadata(objects: Message) -> Iterator[tuple[str, int]]:
    """The metadata of every user object (field 4 of a node; 3 in it): JSON, where Keras wrote it."""
    for field in objects:
        if field.number == 1:
            node = objects.inner(field)
            for part in node:
                if part.number == 4:
                    user = node.inner(part)
                    for item in user:
                        if item.number == 3 and item.is_range:
                            yield user.text_of(item, _MAX_METADATA), item.start


def _code_layers(text: str) -> Iterator[str]:
    """Names of layers in a configuration that are code: the class says so, and the loader unmarshals it."""
    for name in ("Lambda", "TFOpLambda", "SlicingOpLambda"):
        if f'"class_name": "{name}"' in text and (name == "Lambda" or "__lambda__" in text):
            yield name
