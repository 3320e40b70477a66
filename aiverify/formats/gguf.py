"""GGUF: the tensor files of llama.cpp, read whole except for the tensors' bytes.

The rules:

- Every count, length and offset is checked against the file before it is used; numbers do not overflow here.
- Keys and tensor names stand once each. A name is at most 64 bytes, a key at most 65,535.
- Tensors lie in the data section, aligned, one behind the other, and fill it: no overlaps, no holes beyond the
  padding, nothing behind the last one.
- Chat templates are judged like those of a tokenizer's configuration. Other values may be anything but a program.
- The vocabulary is what its reader takes for granted: as many scores and types as tokens, and ids inside of it.

Sources: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; sizes of the tensor types from the ``gguf`` package.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from aiverify.errors import AiverifyError
from aiverify.formats.embedded import PROBE, program
from aiverify.formats.interface import Examination, Format
from aiverify.formats.safetensors import is_plain, shown
from aiverify.formats.template import suspicious
from aiverify.pickles.reading import Buffer
from aiverify.rules import finding

MAX_ENTRIES = 65_536
MAX_TENSORS = 1_000_000
MAX_ELEMENTS = 50_000_000
MAX_DIMENSIONS = 4
MAX_KEY = 65_535
MAX_NAME = 64
MAX_STRING = 16 << 20
DEFAULT_ALIGNMENT = 32

_STRING, _ARRAY, _BOOL = 8, 9, 7
#: Value types with a fixed size: their ``struct`` codes.
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "B", 10: "Q", 11: "q", 12: "d"}
_KEPT = 64  # elements of an array of strings that are kept besides its length

#: Tensor types: elements per block, and bytes per block.
TENSOR_TYPES: dict[int, tuple[int, int]] = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}

_TEMPLATE = re.compile(r"tokenizer\.chat_template(?:\..*)?")
_TOKENS = "tokenizer.ggml.tokens"
_PER_TOKEN = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_NO_TOKEN = (-1, 0xFFFFFFFF)
_TOKEN_ID = re.compile(r"tokenizer\.ggml\..*_token_id")


class MalformedGgufError(AiverifyError):
    """The file breaks a rule of the format, or one of ours. The message names the rule and the place."""


class _Array(NamedTuple):
    """An array of the value type ``kind``: how many elements, and the first strings of it."""

    kind: int
    length: int
    strings: tuple[bytes, ...]


class _Tensor(NamedTuple):
    name: str
    start: int
    size: int


_Value = int | float | bytes | _Array


@dataclass(slots=True)
class _Content:
    metadata: dict[str, _Value] = field(default_factory=dict)
    tensors: list[_Tensor] = field(default_factory=list)
    data: int = 0
    alignment: int = DEFAULT_ALIGNMENT


def examine_gguf(data: Buffer, path: str) -> Examination:
    """Examine one GGUF file."""
    examination = Examination(format=Format.GGUF)
    try:
        content = _read(data)
        for complaint in _vocabulary(content.metadata):
            examination.findings.append(finding("AIV404", f"a GGUF file with {complaint}", file=path))
        tail = _layout(content, len(data))
    except MalformedGgufError as error:
        examination.findings.append(finding("AIV404", f"not a valid GGUF file: {error}", file=path))
        return examination
    if tail is not None:
        text = f"{len(data) - tail} bytes follow the last tensor"
        examination.findings.append(finding("AIV414", text, file=path, offset=tail))
    for key, value in _strings(content.metadata):
        if _TEMPLATE.fullmatch(key):
            reason = suspicious(value.decode("utf-8", "replace"))
            if reason is not None:
                examination.findings.append(finding("AIV503", f"{key}: {reason}", file=path))
        kind = program(value[:PROBE])
        if kind is not None:
            examination.findings.append(finding("AIV411", f"the value of {shown(key)} is {kind}", file=path))
    return examination


class _Cursor:
    """A place in the file. ``order`` is the byte order of ``struct``."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.size = len(data)
        self.position = 4
        self.order = "<"
        self.elements = 0

    def number(self, code: str) -> int | float:
        form = self.order + code
        end = self.position + struct.calcsize(form)
        self._require(end)
        (value,) = struct.unpack_from(form, self.data, self.position)
        self.position = end
        return value  # type: ignore[no-any-return]  # of struct: an int or a float, as the code says

    def unsigned(self, code: str) -> int:
        return int(self.number(code))

    def string(self, longest: int, what: str) -> bytes:
        length = self.unsigned("Q")
        if length > longest:
            refuse(f"{what} of {length} bytes, more than {longest}, at byte {self.position}")
        self._require(self.position + length)
        self.position += length
        return bytes(self.data[self.position - length : self.position])

    def skip(self, length: int) -> None:
        self._require(self.position + length)
        self.position += length

    def _require(self, end: int) -> None:
        if end > self.size:
            refuse(f"the file ends inside the value at byte {self.position}")


def refuse(reason: str) -> NoReturn:
    """Raise MalformedGgufError."""
    raise MalformedGgufError(reason)


def _read(data: Buffer) -> _Content:
    cursor = _Cursor(data)
    version = cursor.unsigned("I")
    if version >= 1 << 16:  # a small number in the other byte order
        cursor.order, cursor.position = ">", 4
        version = cursor.unsigned("I")
    if version not in (2, 3):
        refuse(f"version {version}, of which nothing is known here")
    tensors, entries = cursor.unsigned("Q"), cursor.unsigned("Q")
    if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
        refuse(f"{tensors} tensors and {entries} values, more than {MAX_TENSORS} and {MAX_ENTRIES}")
    content = _Content()
    for _ in range(entries):
        key = _name(cursor.string(MAX_KEY, "a key"), "key")
        if key in content.metadata:
            refuse(f"the key {shown(key)} stands twice")
        content.metadata[key] = _value(cursor, cursor.unsigned("I"))
    content.alignment = _alignment(content.metadata)
    seen: set[str] = set()
    for _ in range(tensors):
        tensor = _tensor(cursor, content.alignment)
        if tensor.name in seen:
            refuse(f"the tensor {shown(tensor.name)} stands twice")
        seen.add(tensor.name)
        content.tensors.append(tensor)
    content.data = _aligned(cursor.position, content.alignment) if tensors else cursor.position
    return content


def _name(raw: bytes, what: str) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        refuse(f"the {what} {raw[:MAX_NAME]!r} is not UTF-8")
    if not name or not is_plain(name):
        refuse(f"the {what} {shown(name)} has characters that cannot be shown, or none")
    return name


def _value(cursor: _Cursor, kind: int) -> _Value:
    if kind == _STRING:
        return cursor.string(MAX_STRING, "a string")
    if kind == _ARRAY:
        return _array(cursor)
    code = _FIXED.get(kind)
    if code is None:
        refuse(f"the value type {kind} at byte {cursor.position}")
    value = cursor.number(code)
    if kind == _BOOL and value not in (0, 1):
        refuse(f"a truth value of {value} at byte {cursor.position - 1}")
    return value


def _array(cursor: _Cursor) -> _Array:
    """An array; of strings only the first are kept. Arrays of arrays are read by no loader and refused."""
    kind, length = cursor.unsigned("I"), cursor.unsigned("Q")
    cursor.elements += length
    if cursor.elements > MAX_ELEMENTS:
        refuse(f"arrays of more than {MAX_ELEMENTS} elements, at byte {cursor.position}")
    code = _FIXED.get(kind)
    if code is not None:
        cursor.skip(length * struct.calcsize(code))
        return _Array(kind, length, ())
    if kind != _STRING:
        refuse(f"an array of the value type {kind} at byte {cursor.position}")
    kept = []
    for index in range(length):
        text = cursor.string(MAX_STRING, "a string")
        if index < _KEPT or len(text) > MAX_NAME:  # a token is short; what is not is worth a look
            kept.append(text)
    return _Array(kind, length, tuple(kept))


def _alignment(metadata: dict[str, _Value]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        refuse(f"an alignment of {alignment!r}")
    return alignment


def _tensor(cursor: _Cursor, alignment: int) -> _Tensor:
    name = _name(cursor.string(MAX_NAME, "a tensor name"), "tensor name")
    dimensions = cursor.unsigned("I")
    if dimensions > MAX_DIMENSIONS:
        refuse(f"tensor {shown(name)} has {dimensions} dimensions, more than {MAX_DIMENSIONS}")
    shape = [cursor.unsigned("Q") for _ in range(dimensions)]
    kind, offset = cursor.unsigned("I"), cursor.unsigned("Q")
    if kind not in TENSOR_TYPES:
        refuse(f"tensor {shown(name)} is of type {kind}, of which nothing is known here")
    block, width = TENSOR_TYPES[kind]
    count = 1
    for extent in shape:
        count *= extent
        if count >= 1 << 63:
            refuse(f"the size of tensor {shown(name)} overflows")
    row = shape[0] if shape else 1
    if row % block:
        refuse(f"the rows of tensor {shown(name)} have {row} elements, not a multiple of {block}")
    if offset % alignment:
        refuse(f"tensor {shown(name)} begins at {offset}, which is not aligned to {alignment}")
    return _Tensor(name, offset, count // block * width)


def _aligned(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _layout(content: _Content, size: int) -> int | None:
    """Where the data of the tensors end, if more follows than their padding. Raises MalformedGgufError."""
    end, furthest = 0, content.data
    for tensor in sorted(content.tensors, key=lambda tensor: (tensor.start, tensor.size)):
        if tensor.start < end:
            refuse(f"tensor {shown(tensor.name)} overlaps the one before it")
        if tensor.start > _aligned(end, content.alignment):
            refuse(f"there is a hole before tensor {shown(tensor.name)}")
        end = tensor.start + tensor.size
        furthest = content.data + end
        if furthest > size:
            refuse(f"tensor {shown(tensor.name)} ends {furthest - size} bytes behind the file")
    return furthest if size > _aligned(furthest, content.alignment) else None


def _vocabulary(metadata: dict[str, _Value]) -> Iterator[str]:
    """What is odd about the tokenizer: readers in C take these numbers for granted."""
    tokens = metadata.get(_TOKENS)
    if not isinstance(tokens, _Array):
        return
    for key in _PER_TOKEN:
        other = metadata.get(key)
        if isinstance(other, _Array) and other.length != tokens.length:
            yield f"{other.length} elements in {key} for {tokens.length} tokens"
    for key, value in metadata.items():
        if _TOKEN_ID.fullmatch(key) and isinstance(value, int) and not 0 <= value < max(tokens.length, 1):
            if value in _NO_TOKEN:
                continue
            yield f"{shown(key)} = {value}, beyond its {tokens.length} tokens"


def _strings(metadata: dict[str, _Value]) -> Iterator[tuple[str, bytes]]:
    for key, value in metadata.items():
        if isinstance(value, bytes):
            yield key, value
        elif isinstance(value, _Array):
            yield from ((key, text) for text in value.strings)
