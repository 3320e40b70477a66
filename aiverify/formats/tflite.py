"""TensorFlow Lite: the tables of a model, walked with bounds.

The rules:

- Every table, vector and buffer lies in the file; tensors name buffers, and operators tensors and codes, that exist.
- A tensor's bytes are as many as its shape and type say.
- Operators are the built-in ones. A custom one needs code that the application registers; one of TensorFlow's own
  (``Flex…``) is judged like in a TensorFlow graph.
- Buffers and metadata may be anything but a program.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3).
"""

from __future__ import annotations

import math

from aiverify.formats.complaints import Complaints
from aiverify.formats.embedded import PROBE
from aiverify.formats.flatbuffer import FlatBuffer, MalformedTableError, Table
from aiverify.formats.interface import Examination, Format
from aiverify.formats.operators import judge_operator
from aiverify.formats.safetensors import shown
from aiverify.pickles.reading import Buffer

_CUSTOM = 32
_PADDING = 64
#: Custom operators that TensorFlow Lite itself brings.
_KNOWN = frozenset(
    (
        *("TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "NumericVerify", "RandomStandardNormal"),
        *("RandomUniform", "Multinomial", "Roll", "IRFFT2D", "Convolution2DTransposeBias", "MaxPoolWithArgmax"),
        *("MaxUnpooling2D", "TransformTensorBilinear", "TransformLandmarks", "Landmarks2TransformMatrix"),
    )
)
#: Bytes per element of the tensor types; strings and resources have none.
_WIDTHS = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2, 18: 2}

# Positions of the fields in their tables.
_CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA_BUFFERS, _METADATA, _SIGNATURES = 1, 2, 3, 4, 5, 6, 7
_SHORT_CODE, _CUSTOM_NAME, _CODE = 0, 1, 3
_TENSORS, _OPERATORS, _SUBGRAPH_NAME = 0, 3, 4
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _SHAPE_SIGNATURE = 0, 1, 2, 3, 4, 7
_QUANTIZATION_WIDTHS = (4, 4, 4, 8)  # min, max, scale, zero_point
_OPCODE, _INPUTS, _OUTPUTS, _CUSTOM_OPTIONS, _MUTATING, _INTERMEDIATES = 0, 1, 2, 5, 7, 8
_LARGE_OFFSET, _LARGE_SIZE, _OPTIONS = 9, 10, (4, 12)
_MOST_OPTIONS, _LONGEST_NAME = 40, 1000


def examine_tflite(data: Buffer, path: str) -> Examination:
    """Examine one TensorFlow Lite model."""
    examination = Examination(format=Format.TFLITE)
    complaints = Complaints(examination, path)
    walk = _Walk(data, complaints)
    try:
        walk.model()
    except MalformedTableError as error:
        complaints.say("AIV404", f"not a valid TensorFlow Lite model: {error}")
    else:
        end = walk.file.end
        if len(data) - end > _PADDING or any(data[end:]):
            complaints.say("AIV414", f"{len(data) - end} bytes follow what the model refers to", offset=end)
    return examination


class _Walk:
    """One walk through a model. ``sizes`` are those of its buffers."""

    def __init__(self, data: Buffer, complaints: Complaints) -> None:
        self.file = FlatBuffer(data)
        self.complaints = complaints
        self.sizes: list[int | None] = []

    def model(self) -> None:
        model = self.file.root()
        codes = 0
        for code in model.tables(_CODES):
            codes += 1
            self._code(code)
        for buffer in model.tables(_BUFFERS):
            self._buffer(buffer)
        for subgraph in model.tables(_SUBGRAPHS):
            self._subgraph(subgraph, codes)
        for index in (_DESCRIPTION, _METADATA_BUFFERS):
            model.vector(index, 1 if index == _DESCRIPTION else 4)
        for signature in model.tables(_SIGNATURES):
            self._signature(signature)
        for entry in model.tables(_METADATA):
            entry.string(0, _LONGEST_NAME)
            if entry.number(1, "I") >= len(self.sizes):
                raise MalformedTableError(f"the metadata at byte {entry.position} are in a buffer that there is not")

    def _code(self, code: Table) -> None:
        number = max(code.number(_SHORT_CODE, "b"), code.number(_CODE, "i"))
        custom = code.string(_CUSTOM_NAME, 1000)
        if number != _CUSTOM and not custom:
            return
        name = (custom or b"").decode("utf-8", "replace")
        if name.startswith("Flex"):
            said = judge_operator(name.removeprefix("Flex"))
            if said is not None:
                self.complaints.say(*said, offset=code.position)
        elif name not in _KNOWN:
            text = f"the custom operator {shown(name)} needs code of the application"
            self.complaints.say("AIV413", text, offset=code.position)

    def _buffer(self, buffer: Table) -> None:
        """Bytes lie in the buffer itself or, in files beyond 2 GB, at an offset behind the tables."""
        inside = buffer.vector(0, 1)
        offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
        if offset > 1:  # 0 and 1 stand for none
            self.file.reach(offset + size)
            self.sizes.append(size)
            start, length = offset, size
        else:
            self.sizes.append(inside.length or None)
            start, length = inside.start, inside.length
        self.complaints.judge_value(bytes(self.file.data[start : start + min(length, PROBE)]), "a buffer", start)

    def _signature(self, signature: Table) -> None:
        for index in (0, 1):  # inputs, outputs
            for entry in signature.tables(index):
                entry.string(0, _LONGEST_NAME)
        signature.string(2, _LONGEST_NAME)  # the key

    def _subgraph(self, subgraph: Table, codes: int) -> None:
        tensors = 0
        for tensor in subgraph.tables(_TENSORS):
            tensors += 1
            self._tensor(tensor)
        for operator in subgraph.tables(_OPERATORS):
            if operator.number(_OPCODE, "I") >= codes:
                raise MalformedTableError(f"the operator at byte {operator.position} has a code that there is not")
            for index in (_INPUTS, _OUTPUTS):
                self._require(operator, index, tensors)
            operator.vector(_CUSTOM_OPTIONS, 1)
            operator.vector(_MUTATING, 1)
            operator.vector(_INTERMEDIATES, 4)
            self.file.reach(operator.number(_LARGE_OFFSET, "Q") + operator.number(_LARGE_SIZE, "Q"))
            for options in filter(None, map(operator.table, _OPTIONS)):
                for index in range(min(options.size // 2, _MOST_OPTIONS)):
                    options.reach_whatever(index)
        subgraph.string(_SUBGRAPH_NAME, _LONGEST_NAME)
        for index in (1, 2):  # inputs, outputs
            self._require(subgraph, index, tensors)

    def _require(self, table: Table, index: int, tensors: int) -> None:
        """The numbers in the field ``index`` are those of tensors, or -1 for one that is left out."""
        vector = table.vector(index, 4)
        for place in range(vector.start, vector.start + 4 * vector.length, 4):
            if not -1 <= self.file.number("i", place) < tensors:
                raise MalformedTableError(f"byte {place} names a tensor that there is not")

    def _tensor(self, tensor: Table) -> None:
        buffer = tensor.number(_BUFFER, "I")
        tensor.string(_NAME, _LONGEST_NAME)
        tensor.vector(_SHAPE_SIGNATURE, 4)
        quantization = tensor.table(_QUANTIZATION)
        if quantization is not None:
            for index, bytes_each in enumerate(_QUANTIZATION_WIDTHS):
                quantization.vector(index, bytes_each)
        if buffer >= len(self.sizes) and buffer:
            raise MalformedTableError(f"the tensor at byte {tensor.position} is in a buffer that there is not")
        shape = tensor.vector(_SHAPE, 4)
        extents = [self.file.number("i", shape.start + 4 * index) for index in range(min(shape.length, 1024))]
        width, size = _WIDTHS.get(tensor.number(_TYPE, "b")), self.sizes[buffer] if self.sizes else None
        if width is None or size is None or any(extent < 0 for extent in extents) or tensor.table(6) is not None:
            return  # strings, packed types, tensors that are computed or sparse
        if math.prod(extents) * width != size:
            name = shown((tensor.string(_NAME, 1000) or b"").decode("utf-8", "replace"))
            text = f"tensor {name} has {size} bytes, but its shape and type need {math.prod(extents) * width}"
            raise MalformedTableError(text)
