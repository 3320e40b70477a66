"""Which protocol buffer a file is: these formats have no signature, so the outermost fields have to tell.

A kind fits when every field has the number and the wire type that its schema gives, the fields that make it that kind
are there, and the first message inside looks like one of its own. Only the first fields are looked at: whether the file
is valid is the business of its reader.

Sources: onnx.proto; tensorflow/core/protobuf/{saved_model,meta_graph,fingerprint}.proto and framework/graph.proto;
keras/protobuf/saved_metadata.proto; sentencepiece_model.proto; coremltools Model.proto; paddle framework.proto;
caffe.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice

from aiverify.formats.interface import Format
from aiverify.formats.protobuf import Field, MalformedMessageError, Message
from aiverify.pickles.reading import Buffer

COREML = "a Core ML model"
PADDLE = "a PaddlePaddle program"
CAFFE = "a Caffe model"

_MOST_FIELDS = 2_000
_NUMBER, _RANGE = False, True
_OPERATOR = re.compile(rb"[A-Za-z_][A-Za-z0-9_>]{0,200}")

_ONNX: Mapping[int, bool] = {
    **dict.fromkeys((1, 5), _NUMBER),
    **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _RANGE),
}
_GRAPH: Mapping[int, bool] = {1: _RANGE, 2: _RANGE, 3: _NUMBER, 4: _RANGE, 5: _RANGE}
_PIECES: Mapping[int, bool] = dict.fromkeys((1, 2, 3, 4, 5), _RANGE)
_META_GRAPH: Mapping[int, bool] = dict.fromkeys(range(1, 9), _RANGE)
_CAFFE_NUMBERS = frozenset((4, 5, 7))


def kind_of_message(data: Buffer) -> Format | str | None:
    """The format of the protocol buffer ``data``, the name of one that nothing here reads, or ``None``."""
    message = Message.whole(data)
    try:
        fields = list(islice(message, _MOST_FIELDS))
        return _kind(message, fields) if fields else None
    except MalformedMessageError:
        return None


def _kind(message: Message, fields: list[Field]) -> Format | str | None:
    present = {field.number for field in fields}
    version = next((field.value for field in fields if field.number == 1 and not field.is_range), None)
    if _fits(fields, _ONNX) and 7 in present and (8 in present or version is not None):
        return Format.ONNX
    if version is not None:
        if _fits(fields, {1: _NUMBER, 2: _RANGE}) and 2 in present:
            inner = _first(message, fields, 2)
            return Format.TENSORFLOW if inner and _fits(inner, _META_GRAPH) else None
        if max(present) >= 200 and all(number in (1, 2, 10) or number >= 200 for number in present):
            return COREML
        fingerprint = all(field.is_range == (field.number > 5) for field in fields) and max(present) <= 7
        return Format.TENSORFLOW if fingerprint and present >= {1, 2, 3} else None
    return _by_first(message, fields, present)


def _by_first(message: Message, fields: list[Field], present: set[int]) -> Format | str | None:
    """The kinds whose first field is a message, or a name."""
    inner = _first(message, fields, 1)
    types = {field.number: field.is_range for field in inner}
    if _fits(fields, _PIECES) and types.get(1) is _RANGE and types.get(2) is _NUMBER:
        return Format.SENTENCEPIECE
    if _fits(fields, _GRAPH) and (_is_node(message, inner) or (1 not in present and 2 in present)):
        return Format.TENSORFLOW
    if _fits(fields, {1: _RANGE}) and types.get(2) is _NUMBER and {3, 4, 5} <= set(types):  # metadata of Keras layers
        return Format.TENSORFLOW
    if _fits(fields, _PIECES) and types.get(1) is _NUMBER and types.get(2) is _NUMBER and {3, 4} & set(types):
        return PADDLE
    if _fits(fields, _META_GRAPH) and 2 in present:
        graph = _first(message, fields, 2)
        return Format.TENSORFLOW if graph and _fits(graph, _GRAPH) else None
    caffe = 100 in present and all(field.is_range == (field.number not in _CAFFE_NUMBERS) for field in fields)
    return CAFFE if caffe and present <= {*range(1, 9), 100} else None


def _fits(fields: list[Field], shape: Mapping[int, bool]) -> bool:
    return all(shape.get(field.number) is field.is_range for field in fields)


def _first(message: Message, fields: list[Field], number: int) -> list[Field]:
    """The fields of the first message with this number; none when it is no message."""
    for field in fields:
        if field.number == number and field.is_range:
            try:
                return list(islice(_inside(message, field), _MOST_FIELDS))
            except MalformedMessageError:
                return []
    return []


def _inside(message: Message, field: Field) -> Iterator[Field]:
    yield from message.inner(field)


def _is_node(message: Message, inner: list[Field]) -> bool:
    """Whether these are the fields of a node of a TensorFlow graph: a name and an operator."""
    operator = next((field for field in inner if field.number == 2), None)
    return (
        operator is not None
        and operator.is_range
        and _OPERATOR.fullmatch(message.bytes_of(operator, 300)) is not None
        and all(field.is_range and field.number <= 7 for field in inner)
    )
