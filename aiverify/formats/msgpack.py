"""MessagePack as Flax writes it: a tree of dicts and lists with arrays in extension values, read with limits.

The rules:

- One value makes up the file; nothing follows it.
- Depth, number of values and lengths are bounded before anything is read. Nothing is kept.
- Extension values are Flax's own: arrays (1), complex numbers (2) and scalars (3). An array is its shape, the name of
  a type that has no objects, and as many bytes as both need.
- Strings and byte strings may be anything but a program.

Sources: https://github.com/msgpack/msgpack/blob/master/spec.md; flax ``serialization.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from aiverify.errors import AiverifyError
from aiverify.formats.complaints import Complaints
from aiverify.formats.embedded import PROBE
from aiverify.formats.interface import Examination, Format
from aiverify.formats.safetensors import shown
from aiverify.pickles.reading import Buffer

MAX_DEPTH = 200
MAX_VALUES = 5_000_000
MAX_DIMENSIONS = 64
_FIRST = 500

_WIDTHS = {
    **dict.fromkeys(("bool", "int8", "uint8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"), 1),
    **dict.fromkeys(("float8_e4m3fnuz", "float8_e5m2fnuz", "int4", "uint4", "V1"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16", "V2"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3


class MalformedMsgpackError(AiverifyError):
    """The bytes are no MessagePack, or break one of the rules. The message names the byte."""


class _Item(NamedTuple):
    """One value: its kind, where its content lies, and the number it holds or the number of values inside."""

    kind: str
    start: int
    end: int
    number: int = 0


def begins_like_flax(data: Buffer) -> bool:
    """Whether a file is a map of parameters: one of the first values is an array as Flax writes it."""
    if len(data) < 2 or not (0x81 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)):
        return False
    try:
        for item in islice(_items(data, 0, len(data)), _FIRST):
            if item.kind == "ext":
                _extension(data, item)
                return True
    except MalformedMsgpackError:
        return False
    return False


def examine_msgpack(data: Buffer, path: str) -> Examination:
    """Examine one file of Flax parameters."""
    examination = Examination(format=Format.MSGPACK)
    complaints = Complaints(examination, path)
    end = 0
    try:
        for item in _items(data, 0, len(data)):
            end = item.end
            if item.kind == "ext":
                _extension(data, item)
            elif item.kind in ("str", "bin"):
                value = bytes(data[item.start : min(item.end, item.start + PROBE)])
                complaints.judge_value(value, "a value", item.start)
    except MalformedMsgpackError as error:
        complaints.say("AIV404", f"not valid Flax parameters: {error}")
        return examination
    if end != len(data):
        complaints.say("AIV414", f"{len(data) - end} bytes follow the value", offset=end)
    return examination


def _items(data: Buffer, position: int, end: int) -> Iterator[_Item]:
    """The values of one tree, outer before inner."""
    pending, count = [1], 0
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        pending[-1] -= 1
        count += 1
        if count > MAX_VALUES or len(pending) > MAX_DEPTH:
            raise MalformedMsgpackError(f"more than {MAX_VALUES} values, or {MAX_DEPTH} inside each other")
        item = _item(data, position, end)
        position = item.end
        yield item
        if item.kind in ("array", "map"):
            inside = item.number * (2 if item.kind == "map" else 1)
            if inside > end - position:
                raise MalformedMsgpackError(f"{inside} values at byte {position}, more than bytes are left")
            pending.append(inside)


_SIZED = {
    0xC4: ("bin", 1),
    0xC5: ("bin", 2),
    0xC6: ("bin", 4),
    0xC7: ("ext", 1),
    0xC8: ("ext", 2),
    0xC9: ("ext", 4),
    0xD9: ("str", 1),
    0xDA: ("str", 2),
    0xDB: ("str", 4),
    0xDC: ("array", 2),
    0xDD: ("array", 4),
    0xDE: ("map", 2),
    0xDF: ("map", 4),
}
_PLAIN = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
_NUMBERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED_EXT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def _item(data: Buffer, position: int, end: int) -> _Item:
    """The value at ``position``. The code of an extension is its number."""
    begin = position
    code = _number(data, position, 1, end)
    position += 1
    if code < 0x80 or code >= 0xE0:
        return _Item("int", position, position, code if code < 0x80 else code - 256)
    if code < 0x90:
        return _Item("map", position, position, code & 0x0F)
    if code < 0xA0:
        return _Item("array", position, position, code & 0x0F)
    kind, length, number = "plain", 0, 0
    if code < 0xC0:
        kind, length = "str", code & 0x1F
    elif code in _SIZED:
        kind, width = _SIZED[code]
        length = _number(data, position, width, end)
        position += width
        if kind in ("array", "map"):
            return _Item(kind, position, position, length)
    elif code in _NUMBERS:
        kind, length = "int", _NUMBERS[code]
        number = _number(data, position, length, end)
        if code >= 0xD0 and number >> (8 * length - 1):
            number -= 1 << 8 * length
    elif code in _FIXED_EXT:
        kind, length = "ext", _FIXED_EXT[code]
    elif code in _PLAIN:
        length = _PLAIN[code]
    else:
        raise MalformedMsgpackError(f"the unused code {code:#x} at byte {begin}")
    if kind == "ext":
        number = _number(data, position, 1, end)
        position += 1
    if length > end - position:
        raise MalformedMsgpackError(f"the value at byte {begin} reaches past the end")
    return _Item(kind, position, position + length, number)


def _number(data: Buffer, position: int, width: int, end: int) -> int:
    if position + width > end:
        raise MalformedMsgpackError(f"the file ends at byte {position}, in a value")
    return int.from_bytes(data[position : position + width], "big")


def _extension(data: Buffer, item: _Item) -> None:
    if item.number in (_ARRAY, _SCALAR):
        _array(data, item)
    elif item.number != _COMPLEX:
        raise MalformedMsgpackError(f"an extension value of type {item.number} at byte {item.start}")


def _array(data: Buffer, item: _Item) -> None:
    """A list of shape, type name and bytes, in a value of its own."""
    items = list(_bounded(_items(data, item.start, item.end), MAX_DIMENSIONS + 4))
    if len(items) < 4 or items[-1].end != item.end or items[0].kind != "array" or items[0].number != 3:
        raise MalformedMsgpackError(f"the array at byte {item.start} is no list of shape, type and bytes")
    shape, (name, content) = items[1:-2], items[-2:]
    if shape[:1] and shape[0].kind == "array" and shape[0].number == len(shape) - 1:
        shape = shape[1:]
    else:
        raise MalformedMsgpackError(f"the array at byte {item.start} has no shape")
    if any(extent.kind != "int" or extent.number < 0 for extent in shape):
        raise MalformedMsgpackError(f"the shape of the array at byte {item.start}")
    if name.kind not in ("str", "bin") or content.kind not in ("bin", "str"):
        raise MalformedMsgpackError(f"the array at byte {item.start} has no type or no bytes")
    dtype = bytes(data[name.start : min(name.end, name.start + 100)]).decode("utf-8", "replace")
    width = _WIDTHS.get(dtype)
    if width is None:
        raise MalformedMsgpackError(f"an array of the type {shown(dtype)} at byte {item.start}")
    needed, size = math.prod(extent.number for extent in shape) * width, content.end - content.start
    if needed != size:
        text = f"the array at byte {item.start} has {size} bytes, but its shape and type need {needed}"
        raise MalformedMsgpackError(text)


def _bounded(items: Iterator[_Item], most: int) -> Iterator[_Item]:
    for count, item in enumerate(items):
        if count >= most:
            raise MalformedMsgpackError(f"an array at byte {item.start} of more than {most} values")
        yield item
