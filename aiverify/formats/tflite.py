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

from aiverify.formats.embedded import PROBE, program
from aiverify.formats.flatbuffer import FlatBuffer, MalformedTableError, Table
from aiverify.formats.interface import Examination, Format
from aiverify.formats.operators import judge_operator
from aiverify.formats.safetensors import shown
from aiverify.pickles.reading import Buffer
from aiverify.rules import finding

MAX_REPORTED = 100
_CUSTOM = 32
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
_CODES, _SUBGRAPHS, _BUFFERS, _METADATA = 1, 2, 4, 6
_SHORT_CODE, _CUSTOM_NAME, _CODE = 0, 1, 3
_TENSORS, _OPERATORS = 0, 3
_SHAPE, _TYPE, _BUFFER, _NAME = 0, 1, 2, 3
_OPCODE, _INPUTS, _OUTPUTS = 0, 1, 2


def examine_tflite(data: Buffer, path: str) -> Examination:
    """Examine one TensorFlow Lite model."""
    examination = Examination(format=Format.TFLITE)
    try:
        _Walk(data, path, examination).model()
    except MalformedTableError as error:
        examination.findings.append(finding("AIV404", f"not a valid TensorFlow Lite model: {error}", file=path))
    return examination


class _Walk:
    def __init__(self, data: Buffer, path: str, examination: Examination) -> None:
        self.file = FlatBuffer(data)
        self.path = path
        self.examination = examination
        self.sizes: list[int | None] = []

    def model(self) -> None:
        model = self.file.root()
        codes = model.tables(_CODES)
        for code in codes:
            self._code(code)
        for buffer in model.tables(_BUFFERS):
            self._buffer(buffer)
        for subgraph in model.tables(_SUBGRAPHS):
            self._subgraph(subgraph, len(codes))
        for entry in model.tables(_METADATA):
            if entry.number(1, "I") >= len(self.sizes):
                raise MalformedTableError(f"the metadata at byte {entry.position} are in a buffer that there is not")

    def _say(self, rule: str, text: str, place: int) -> None:
        if len(self.examination.findings) < MAX_REPORTED:
            self.examination.findings.append(finding(rule, text, file=self.path, offset=place))

    def _code(self, code: Table) -> None:
        number = max(code.number(_SHORT_CODE, "b"), code.number(_CODE, "i"))
        custom = code.string(_CUSTOM_NAME, 1000)
        if number != _CUSTOM and not custom:
            return
        name = (custom or b"").decode("utf-8", "replace")
        if name.startswith("Flex"):
            said = judge_operator(name.removeprefix("Flex"))
            if said is not None:
                self._say(*said, code.position)
        elif name not in _KNOWN:
            self._say("AIV413", f"the custom operator {shown(name)} needs code of the application", code.position)

    def _buffer(self, buffer: Table) -> None:
        """Bytes lie in the buffer itself or, in files beyond 2 GB, at an offset behind the tables."""
        inside = buffer.vector(0, 1)
        offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
        if offset > 1:  # 0 and 1 stand for none
            if offset + size > len(self.file.data):
                raise MalformedTableError(f"the buffer at byte {buffer.position} reaches past the end of the file")
            self.sizes.append(size)
            start, length = offset, size
        else:
            self.sizes.append(inside.length or None)
            start, length = inside.start, inside.length
        kind = program(bytes(self.file.data[start : start + min(length, PROBE)]))
        if kind is not None:
            self._say("AIV411", f"a buffer is {kind}", start)

    def _subgraph(self, subgraph: Table, codes: int) -> None:
        tensors = subgraph.tables(_TENSORS)
        for tensor in tensors:
            self._tensor(tensor)
        for operator in subgraph.tables(_OPERATORS):
            if operator.number(_OPCODE, "I") >= codes:
                raise MalformedTableError(f"the operator at byte {operator.position} has a code that there is not")
            for index in (_INPUTS, _OUTPUTS):
                self._require(operator, index, len(tensors))
        for index in (1, 2):  # inputs, outputs
            self._require(subgraph, index, len(tensors))

    def _require(self, table: Table, index: int, tensors: int) -> None:
        """The numbers in the field ``index`` are those of tensors, or -1 for one that is left out."""
        vector = table.vector(index, 4)
        for place in range(vector.start, vector.start + 4 * vector.length, 4):
            if not -1 <= self.file.number("i", place) < tensors:
                raise MalformedTableError(f"byte {place} names a tensor that there is not")

    def _tensor(self, tensor: Table) -> None:
        buffer = tensor.number(_BUFFER, "I")
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
