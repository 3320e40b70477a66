"""The header of a safetensors file, read with limits and checked in full.

Rules it keeps:

1. Nothing but the header is read: 8 bytes of length, then that many bytes of JSON.
2. What is accepted here, the ``safetensors`` library opens, with the same names, types, shapes and metadata.
3. It is stricter than the library where readers differ or people are fooled: no repeated or unknown keys, no tensor
   written as an array, at most ``MAX_TENSORS`` tensors and ``MAX_DIMENSIONS`` dimensions, and only plain names.
4. Every byte after the header belongs to exactly one tensor: no holes, no overlaps, nothing behind the last one.

Source: safetensors 0.8, ``safetensors/src/tensor.rs``, and the format's description in its README.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn

from aiverify.errors import AiverifyError
from aiverify.formats.interface import Examination, Format
from aiverify.layers import layers
from aiverify.rules import finding

MAX_HEADER = 100_000_000
MAX_TENSORS = 1_000_000
MAX_DIMENSIONS = 1024

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

_METADATA = "__metadata__"
_LENGTH = 8
_LARGEST = (1 << 64) - 1
_KEYS = frozenset({"dtype", "shape", "data_offsets"})
_UNSIGNED = re.compile(r"0|[1-9][0-9]{0,19}")
_DEEPEST = 3  # the header, a tensor in it, a list in the tensor
_MOST_OF = {b"{": 2 * MAX_TENSORS, b"[": 3 * MAX_TENSORS, b",": 8 * MAX_TENSORS, b'"': 24 * MAX_TENSORS}
# A string that never ends runs to the end of the header, so that the search stays linear.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_LONGEST_SHOWN = 120
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class MalformedHeaderError(AiverifyError):
    """The header breaks a rule of the format, or one of ours. The message names the rule and the tensor."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor: its type, its shape, and where its bytes lie behind the header: ``start`` to ``end``, exclusive."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A valid header of ``length`` bytes of JSON. ``tensors`` are in the order of their bytes."""

    length: int
    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_header(file: BinaryIO, size: int) -> Header:
    """Read the header of ``file``, which has ``size`` bytes. Raises MalformedHeaderError."""
    file.seek(0)
    prefix = _read(file, _LENGTH)
    if len(prefix) < _LENGTH:
        _refuse("the file is shorter than the length of its header")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        _refuse(f"the header claims {length} bytes, more than the {MAX_HEADER} that the format allows")
    if length > size - _LENGTH:
        _refuse(f"the header claims {length} bytes, more than the file has")
    raw = _read(file, length)
    if len(raw) < length:
        _refuse("the file ends inside its header")
    tensors, metadata = _parse(raw)
    _check_layout(tensors, size - _LENGTH - length)
    return Header(length=length, tensors=tensors, metadata=metadata)


def examine(file: BinaryIO, size: int, path: str) -> Examination:
    """The file at ``path`` in the artifact: AIV404 with the rule that it breaks, or the names that it answers to.

    These are its tensors, and the names that its metadata ties to one of them.
    """
    examination = Examination(format=Format.SAFETENSORS)
    try:
        header = read_header(file, size)
    except MalformedHeaderError as error:
        examination.findings.append(finding("AIV404", f"not a valid safetensors file: {error}", file=path))
    else:
        names = {tensor.name for tensor in header.tensors}
        tied = (removed for removed, kept in header.metadata.items() if kept in names)
        examination.tensors = (*names, *tied)
        sizes = ((tensor.name, tensor.dtype, tensor.end - tensor.start) for tensor in header.tensors)
        examination.layers = layers(path, sizes)
    return examination


def _read(file: BinaryIO, length: int) -> bytes:
    """``length`` bytes, or fewer at the end of the file; one read of an unbuffered file may return less."""
    parts: list[bytes] = []
    while length and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _refuse(reason: str) -> NoReturn:
    raise MalformedHeaderError(reason)


def is_plain(name: str) -> bool:
    """Whether a name shows what it is: no control or invisible characters, no line breaks, no halves of characters."""
    return (name.isascii() and name.isprintable()) or not any(unicodedata.category(char) in _HIDDEN for char in name)


def shown(name: str) -> str:
    """A name as a message may quote it: in ASCII, and not longer than a line."""
    return ascii(name if len(name) <= _LONGEST_SHOWN else name[:_LONGEST_SHOWN] + "...")


def _parse(raw: bytes) -> tuple[tuple[TensorEntry, ...], Mapping[str, str]]:
    if not raw.startswith(b"{"):
        _refuse("the header does not begin with {")
    _check_structure(raw)
    try:
        header = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_unsigned,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError:
        _refuse("the header is not UTF-8")
    except ValueError as error:
        _refuse(f"the header is not JSON: {error}")
    metadata = header.pop(_METADATA, None)
    if metadata is None:
        metadata = {}
    entries = tuple(_entry(name, value) for name, value in header.items())
    return tuple(sorted(entries, key=lambda entry: (entry.start, entry.end))), _metadata(metadata)


def _check_structure(raw: bytes) -> None:
    """Refuse, before any object is built, what no header needs: depth, and more values than the limits allow."""
    if any(raw.count(mark) > most for mark, most in _MOST_OF.items()):
        _refuse(f"the header holds more than {MAX_TENSORS} tensors, or more values than they need")
    depth = 0
    for token in _TOKEN.finditer(raw):
        mark = token[0][:1]
        if mark in b"[{":
            depth += 1
            if depth > _DEEPEST:
                _refuse("the header is nested deeper than the format allows")
        elif mark != b'"':
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                _refuse(f"the key {shown(key)} stands twice")
            seen.add(key)
    return result


def _unsigned(digits: str) -> int:
    if not _UNSIGNED.fullmatch(digits) or int(digits) > _LARGEST:
        _refuse(f"{shown(digits)} is not an unsigned number of 64 bits")
    return int(digits)


def _no_number(text: str) -> NoReturn:
    _refuse(f"{shown(text)} is not an unsigned number of 64 bits")


def _metadata(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        _refuse(f"{_METADATA} is not an object")
    for key, text in value.items():
        if not isinstance(text, str):
            _refuse(f"{_METADATA} has a value that is not a string under {shown(key)}")
        if _has_surrogate(key) or _has_surrogate(text):
            _refuse(f"{_METADATA} holds half a surrogate pair")
    return value


def _entry(name: str, value: object) -> TensorEntry:
    if not is_plain(name):
        _refuse(f"the tensor name {shown(name)} has characters that cannot be shown")
    if not isinstance(value, dict) or value.keys() != _KEYS:
        _refuse(f"tensor {shown(name)} is not an object of dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        _refuse(f"tensor {shown(name)} has a dtype that the format does not know")
    if not _is_numbers(shape) or len(shape) > MAX_DIMENSIONS:
        _refuse(f"the shape of tensor {shown(name)} is not a list of at most {MAX_DIMENSIONS} numbers")
    if not _is_numbers(offsets) or len(offsets) != 2:
        _refuse(f"the data_offsets of tensor {shown(name)} are not two numbers")
    start, end = offsets
    bits = _product(name, [*shape, DTYPE_BITS[dtype]])
    if bits % 8 or bits // 8 != end - start:
        _refuse(f"tensor {shown(name)} takes {end - start} bytes, but its shape and dtype need {bits} bits")
    return TensorEntry(name, dtype, tuple(shape), start, end)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)


def _product(name: str, numbers: list[int]) -> int:
    """The product, refused as soon as it overflows, as the library refuses it: even when a zero follows."""
    product = 1
    for number in numbers:
        product *= number
        if product > _LARGEST:
            _refuse(f"the size of tensor {shown(name)} overflows")
    return product


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _check_layout(tensors: tuple[TensorEntry, ...], size: int) -> None:
    """The tensors, in the order of their bytes, fill the ``size`` bytes behind the header exactly."""
    position = 0
    for entry in tensors:
        if entry.start != position:
            kind = "a hole" if entry.start > position else "an overlap"
            _refuse(f"there is {kind} before tensor {shown(entry.name)}")
        position = entry.end
    if position != size:
        _refuse(f"the tensors take {position} bytes, but {size} bytes follow the header")
