"""Protocol buffers at the level of their wire format, read with limits and without a schema.

The rules:

- A message is a run of fields; every field has a known wire type, a number from 1 up, and lies inside its message.
- Groups, which proto3 no longer has, are refused.
- All messages of one file share a budget of fields. Nothing is copied but what is asked for.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from aiverify.errors import AiverifyError
from aiverify.pickles.reading import Buffer

MAX_FIELDS = 5_000_000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_NUMBER = (1 << 29) - 1
_LARGEST = (1 << 64) - 1


class MalformedMessageError(AiverifyError):
    """The bytes are no protocol buffer. The message names the byte."""


class Field(NamedTuple):
    """One field: its number, and its value as a number or as the range ``start`` to ``end`` of bytes in the file.

    ``value`` is that of a varint or of a fixed-size field read as an unsigned number; of a range it is -1.
    """

    number: int
    value: int
    start: int
    end: int

    @property
    def is_range(self) -> bool:
        """Whether the field is a string, bytes, a message, or packed numbers."""
        return self.value < 0


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of a kind of message: those that are numbers, those that are not, and those that may stand once."""

    numbers: Set[int]
    ranges: Set[int]
    once: Set[int]

    def allows(self, field: Field) -> bool:
        """Whether the kind has such a field."""
        return field.number in (self.ranges if field.is_range else self.numbers)

    def complaint(self, message: Message) -> tuple[str, int] | None:
        """The first field that the kind does not have, or has once: what is wrong, and the byte."""
        seen: set[int] = set()
        for field in message:
            if not self.allows(field):
                return f"a field with the number {field.number}, of which nothing is known here", field.start
            if field.number in seen and field.number in self.once:
                return f"a second field with the number {field.number}, of which there may be one", field.start
            seen.add(field.number)
        return None


@dataclass(slots=True)
class Message:
    """The message in the bytes ``start`` to ``end`` of ``data``. ``spent`` counts the fields of the whole file."""

    data: Buffer
    start: int
    end: int
    spent: list[int]

    @classmethod
    def whole(cls, data: Buffer) -> Message:
        """All of ``data`` as one message."""
        return cls(data, 0, len(data), [0])

    def inner(self, field: Field) -> Message:
        """The message in ``field``. Raises MalformedMessageError if the field is a number."""
        if not field.is_range:
            raise MalformedMessageError(f"field {field.number} at byte {field.start} is a number, not a message")
        return Message(self.data, field.start, field.end, self.spent)

    def bytes_of(self, field: Field, limit: int) -> bytes:
        """The first ``limit`` bytes of ``field``. Raises MalformedMessageError if the field is a number."""
        if not field.is_range:
            raise MalformedMessageError(f"field {field.number} at byte {field.start} is a number, not bytes")
        return bytes(self.data[field.start : min(field.end, field.start + limit)])

    def text_of(self, field: Field, limit: int) -> str:
        """The first ``limit`` bytes of ``field`` as text; what is not UTF-8 is replaced."""
        return self.bytes_of(field, limit).decode("utf-8", "replace")

    def __iter__(self) -> Iterator[Field]:
        """The fields in the order of the file. Raises MalformedMessageError at the first that breaks a rule."""
        position = self.start
        while position < self.end:
            self.spent[0] += 1
            if self.spent[0] > MAX_FIELDS:
                raise MalformedMessageError(f"more than {MAX_FIELDS} fields")
            begin = position
            key, position = varint(self.data, position, self.end)
            number, wire = key >> 3, key & 7
            if not 0 < number <= _MAX_NUMBER:
                raise MalformedMessageError(f"a field with the number {number} at byte {begin}")
            if wire == _VARINT:
                value, position = varint(self.data, position, self.end)
                yield Field(number, value, begin, position)
                continue
            length = _FIXED.get(wire)
            if length is None:
                if wire != _BYTES:
                    raise MalformedMessageError(f"wire type {wire} at byte {begin}")
                length, position = varint(self.data, position, self.end)
            start, position = position, position + length
            if position > self.end:
                raise MalformedMessageError(f"the field at byte {begin} reaches past the end")
            value = -1 if wire == _BYTES else int.from_bytes(self.data[start:position], "little")
            yield Field(number, value, start, position)


def varint(data: Buffer, position: int, end: int) -> tuple[int, int]:
    """The number at ``position``, and the position after it. Raises MalformedMessageError."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise MalformedMessageError(f"a number is cut off at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _LARGEST:
                break
            return value, position
    raise MalformedMessageError(f"a number of more than 64 bits at byte {position}")


def numbers(message: Message, field: Field, most: int) -> list[int]:
    """The numbers of a repeated varint field: one, or as many as are packed, at most ``most``.

    Negative numbers (int32 and int64 are written as 64 bits) come out as such.
    """
    if not field.is_range:
        return [_signed(field.value)]
    found: list[int] = []
    position = field.start
    while position < field.end:
        value, position = varint(message.data, position, field.end)
        found.append(_signed(value))
        if len(found) > most:
            raise MalformedMessageError(f"more than {most} numbers at byte {field.start}")
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
