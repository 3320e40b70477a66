"""NumPy's ``.npy``: a header that is a Python literal, then raw numbers, or for object arrays a pickle.

The header is parsed here, by a grammar that knows dicts, tuples, lists, strings, numbers and the three constants: never
by Python's own parser.

Source: numpy/lib/format.py (format versions 1.0 to 3.0).
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TypeAlias, Union

from aiverify.finding import Unexamined
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.formats.pickle import examine_streams
from aiverify.pickles.machine import Buffer
from aiverify.rules import finding

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_MAX_DEPTH = 16
_MAX_ARRAYS = 1000
_TOKEN = re.compile(rb"\s*(?:'([^'\\]*)'|\"([^\"\\]*)\"|(-?\d{1,20})L?|(True|False|None)|([{}()\[\],:]))")
_SIMPLE = re.compile(r"[<>|=]?([?bBhHiIlLqQefdgFDGSUVMmuca])(\d{0,9})(\[[\w, ]{1,10}\])?")

Literal: TypeAlias = Union[str, int, bool, "list[Literal]", "dict[str, Literal]", None]


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """The header of an array file: type, shape and order of the elements; ``raw`` is everything before the data."""

    descr: Literal
    shape: tuple[int, ...]
    fortran_order: bool
    raw: bytes


def read_array_header(data: Buffer) -> ArrayHeader:
    """The header of the array file in ``data``. Raises FormatError."""
    header, start = _header(data)
    shape, order = header["shape"], header["fortran_order"]
    if not isinstance(shape, list) or len(shape) > 64:
        raise FormatError("the shape is not a tuple")
    sizes = [size for size in shape if isinstance(size, int) and not isinstance(size, bool) and size >= 0]
    if len(sizes) != len(shape) or not isinstance(order, bool):
        raise FormatError("the shape or the order is not of its type")
    return ArrayHeader(header["descr"], tuple(sizes), order, bytes(data[:start]))


def examine_npy(
    data: Buffer, path: str, options: ScanOptions, nesting: Nesting | None = None, *, member: str | None = None
) -> Examination:
    """Examine the array file in ``data``, and every array that follows it, as several ``numpy.save`` write them.

    In an archive there is one for each name: what follows it there is a finding.
    """
    examination = Examination(format=Format.NPY)
    position = 0
    try:
        for _ in range(_MAX_ARRAYS):
            with memoryview(data) as view, view[position:] as rest:
                header = read_array_header(rest)
            start = position + len(header.raw)
            if _has_objects(header.descr):
                graphs = examine_streams(
                    data, start, examination, path, options, nesting, member=member, stop_before=MAGIC
                )
                position = [graph.end for graph in graphs][-1]
            else:
                position = start + _itemsize(header.descr) * math.prod(header.shape)
            if position == len(data) or bytes(data[position : position + len(MAGIC)]) != MAGIC:
                break
            if member is not None:
                text = f"another array follows at byte {position}"
                examination.findings.append(finding("AIV308", text, file=path, member=member, offset=position))
        else:
            raise FormatError(f"more than {_MAX_ARRAYS} arrays")
        if not _has_objects(header.descr) and position != len(data):
            raise FormatError(f"{len(data) - start} bytes of numbers where the header states {position - start}")
    except FormatError as error:
        examination.findings.append(finding("AIV404", str(error), file=path, member=member))
        examination.unexamined.append(Unexamined(file=path, member=member, reason=str(error)))
    return examination


def is_single(data: Buffer) -> bool:
    """Whether nothing follows the array in ``data``. One of objects, which has no size, counts as single.

    Raises FormatError.
    """
    header = read_array_header(data)
    if _has_objects(header.descr):
        return True
    return len(header.raw) + _itemsize(header.descr) * math.prod(header.shape) == len(data)


def _header(data: Buffer) -> tuple[dict[str, Literal], int]:
    """The dict in the header, and where the data begins."""
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise FormatError("not an array file")
    version = bytes(data[6:8])
    if version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise FormatError("an unknown version of the npy format")
    layout = struct.Struct("<H" if version[:1] == b"\x01" else "<I")
    begin = 8 + layout.size
    if len(data) < begin:
        raise FormatError("the header is truncated")
    (length,) = layout.unpack(data[8:begin])
    if length > _MAX_HEADER or begin + length > len(data):
        raise FormatError(f"a header of {length} bytes")
    header = _parse(bytes(data[begin : begin + length]))
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise FormatError("the header does not have the three keys descr, fortran_order and shape")
    return header, begin + length


def _has_objects(descr: Literal) -> bool:
    if isinstance(descr, str):
        return "O" in descr
    return isinstance(descr, list) and any(map(_has_objects, map(_type_of, descr)))


def _type_of(part: Literal) -> Literal:
    """The type in a field (name, type[, shape]). What else a list may mean to numpy is searched whole."""
    return part[1] if isinstance(part, list) and len(part) in (2, 3) else part


def _itemsize(descr: Literal) -> int:
    """Bytes per element."""
    if isinstance(descr, str):
        match = _SIMPLE.fullmatch(descr)
        if match is None:
            raise FormatError(f"the element type {descr[:80]!r}")
        code, digits, _ = match.groups()
        if not digits:
            raise FormatError(f"the element type {descr[:80]!r} has no size")
        return int(digits) * (4 if code == "U" else 1)
    if isinstance(descr, list):
        return sum(_field_size(part) for part in descr)
    raise FormatError("the element type is not one")


def _field_size(field: Literal) -> int:
    if not isinstance(field, list) or len(field) not in (2, 3):
        raise FormatError("a field that is not a name, a type and a shape")
    count = 1
    if len(field) == 3:
        shape = field[2] if isinstance(field[2], list) else [field[2]]
        count = math.prod(size for size in shape if isinstance(size, int))
    return _itemsize(field[1]) * count


def _parse(text: bytes) -> Literal:
    """A Python literal made of what headers are made of. Tuples become lists."""
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise FormatError(f"the header is not a plain literal (byte {position})")
        tokens.append(match)
        position = match.end()
    value, rest = _value(tokens, 0, 0)
    if rest != len(tokens):
        raise FormatError("the header goes on after its dict")
    return value


def _value(tokens: list[re.Match[bytes]], at: int, depth: int) -> tuple[Literal, int]:
    if at >= len(tokens) or depth > _MAX_DEPTH:
        raise FormatError("the header breaks off or is nested too deeply")
    single, double, number, constant, sign = tokens[at].groups()
    if sign in (b"(", b"["):
        return _items(tokens, at + 1, depth, b")" if sign == b"(" else b"]")
    if sign == b"{":
        return _pairs(tokens, at + 1, depth)
    if sign is not None:
        raise FormatError(f"an unexpected {sign.decode()} in the header")
    if number is not None:
        return int(number), at + 1
    if constant is not None:
        return {b"True": True, b"False": False, b"None": None}[constant], at + 1
    return (single if single is not None else double).decode("utf-8", "replace"), at + 1


def _is(tokens: list[re.Match[bytes]], at: int, sign: bytes) -> bool:
    return at < len(tokens) and tokens[at].group(5) == sign


def _items(tokens: list[re.Match[bytes]], at: int, depth: int, closing: bytes) -> tuple[list[Literal], int]:
    items: list[Literal] = []
    while not _is(tokens, at, closing):
        item, at = _value(tokens, at, depth + 1)
        items.append(item)
        if _is(tokens, at, b","):
            at += 1
        elif not _is(tokens, at, closing):
            raise FormatError("a comma is missing in the header")
    return items, at + 1


def _pairs(tokens: list[re.Match[bytes]], at: int, depth: int) -> tuple[dict[str, Literal], int]:
    pairs: dict[str, Literal] = {}
    while not _is(tokens, at, b"}"):
        key, at = _value(tokens, at, depth + 1)
        if not isinstance(key, str) or key in pairs or not _is(tokens, at, b":"):
            raise FormatError("a key of the header is not a name, or stands twice")
        pairs[key], at = _value(tokens, at + 1, depth + 1)
        if _is(tokens, at, b","):
            at += 1
        elif not _is(tokens, at, b"}"):
            raise FormatError("a comma is missing in the header")
    return pairs, at + 1
