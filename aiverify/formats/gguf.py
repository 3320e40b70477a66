"""GGUF: the tensor files of llama.cpp, read whole except for the tensors' bytes.

The rules:

- Every count, length and offset is checked against the file before it is used; numbers do not overflow here.
- Keys and tensor names stand once each. A name is at most 64 bytes, a key at most 1,024 (the format allows
  for 65,535, and nobody writes them).
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
from aiverify.formats.complaints import Complaints
from aiverify.formats.embedded import PROBE
from aiverify.formats.gguf_types import TENSOR_TYPES
from aiverify.formats.interface import Examination, Format
from aiverify.formats.safetensors import is_plain, shown
from aiverify.formats.template import MAX_TEMPLATES, suspicious
from aiverify.pickles.reading import Buffer

MAX_ENTRIES = 65_536
MAX_TENSORS = 100_000
MAX_STRINGS = 5_000_000
MAX_DIMENSIONS = 4
MAX_KEY = 1_024
MAX_NAME = 64
MAX_STRING = 16 << 20
DEFAULT_ALIGNMENT = 32

_STRING, _ARRAY, _BOOL = 8, 9, 7
#: Value types with a fixed size: their ``struct`` codes.
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "B", 10: "Q", 11: "q", 12: "d"}
_SHORT = 64  # bytes of a string in an array that are too few to be worth a look: most are tokens
_LOOKED_AT = 64  # elements of an array that are worth one all the same

_TEMPLATE = re.compile(r"tokenizer\.chat_template(?:\..*)?")
_TOKENS = "tokenizer.ggml.tokens"
_PER_TOKEN = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_NO_TOKEN = (-1, 0xFFFFFFFF)
_TOKEN_ID = re.compile(r"tokenizer\.ggml\..*_token_id")


class MalformedGgufError(AiverifyError):
    """The file breaks a rule of the format, or one of ours. The message names the rule and the place."""


class _Array(NamedTuple):
    """An array of the value type ``kind``, and how many elements it has."""

    kind: int
    length: int


class _Tensor(NamedTuple):
    name: str
    start: int
    size: int


#: A string is judged when it is read, and not kept.
_Value = int | float | None | _Array


@dataclass(slots=True)
class _Content:
    metadata: dict[str, _Value] = field(default_factory=dict)
    tensors: list[_Tensor] = field(default_factory=list)
    data: int = 0
    alignment: int = DEFAULT_ALIGNMENT


def examine_gguf(data: Buffer, path: str) -> Examination:
    """Examine one GGUF file."""
    examination = Examination(format=Format.GGUF)
    complaints = Complaints(examination, path)
    try:
        content = _read(_Cursor(data), complaints)
        for complaint in _vocabulary(content.metadata):
            complaints.say("AIV404", f"a GGUF file with {complaint}")
        tail = _layout(content, len(data))
    except MalformedGgufError as error:
        complaints.say("AIV404", f"not a valid GGUF file: {error}")
        return examination
    if tail is not None:
        complaints.say("AIV414", f"{len(data) - tail} bytes follow the last tensor", offset=tail)
    return examination


class _Cursor:
    """A place in the file. ``order`` is the byte order of ``struct``."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.size = len(data)
        self.position = 4
        self.order = "<"
        self.strings = 0
        self.templates = 0

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


def _read(cursor: _Cursor, complaints: Complaints) -> _Content:
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
        content.metadata[key] = _value(cursor, key, complaints)
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


def _value(cursor: _Cursor, key: str, complaints: Complaints) -> _Value:
    kind = cursor.unsigned("I")
    if kind == _STRING:
        _judge(cursor, key, cursor.string(MAX_STRING, "a string"), complaints)
        return None
    if kind == _ARRAY:
        return _array(cursor, key, complaints)
    code = _FIXED.get(kind)
    if code is None:
        refuse(f"the value type {kind} at byte {cursor.position}")
    value = cursor.number(code)
    if kind == _BOOL and value not in (0, 1):
        refuse(f"a truth value of {value} at byte {cursor.position - 1}")
    return value


def _array(cursor: _Cursor, key: str, complaints: Complaints) -> _Array:
    """An array. Arrays of arrays are read by no loader and refused."""
    kind, length = cursor.unsigned("I"), cursor.unsigned("Q")
    code = _FIXED.get(kind)
    if code is not None:
        cursor.skip(length * struct.calcsize(code))
        return _Array(kind, length)
    if kind != _STRING:
        refuse(f"an array of the value type {kind} at byte {cursor.position}")
    cursor.strings += length
    if cursor.strings > MAX_STRINGS:
        refuse(f"arrays of more than {MAX_STRINGS} strings, at byte {cursor.position}")
    for index in range(length):
        text = cursor.string(MAX_STRING, "a string")
        if index < _LOOKED_AT or len(text) > _SHORT:
            _judge(cursor, key, text, complaints)
    return _Array(kind, length)


def _judge(cursor: _Cursor, key: str, value: bytes, complaints: Complaints) -> None:
    if _TEMPLATE.fullmatch(key):
        cursor.templates += len(value)
        if cursor.templates > MAX_TEMPLATES:
            complaints.gap(f"chat templates of more than {MAX_TEMPLATES} bytes")
            return
        reason = suspicious(value.decode("utf-8", "replace"))
        if reason is not None:
            complaints.say("AIV503", f"{key}: {reason}")
    complaints.judge_value(value[:PROBE], f"the value of {shown(key)}")


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
