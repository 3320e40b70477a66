"""FlatBuffers, read with bounds: tables, strings and vectors of a file whose bytes nobody has checked.

Every offset is checked against the file before it is followed, and every step is counted, so that tables that refer to
each other cost no more than the budget.

Source: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiverify.errors import AiverifyError
from aiverify.pickles.reading import Buffer

MAX_STEPS = 5_000_000


class MalformedTableError(AiverifyError):
    """The bytes are no FlatBuffer. The message names the byte."""


@dataclass(slots=True)
class FlatBuffer:
    """A file of tables. ``steps`` counts what was followed; ``end`` is where the last of it ends."""

    data: Buffer
    steps: int = field(default=0)
    end: int = field(default=0)

    def root(self) -> Table:
        """The table that the file begins with. Raises MalformedTableError."""
        return self.table(self.number("I", 0))

    def number(self, code: str, position: int) -> int:
        """The whole number with the ``struct`` code at ``position``. Raises MalformedTableError."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise MalformedTableError(f"more than {MAX_STEPS} values")
        end = position + struct.calcsize(code)
        if position < 0 or end > len(self.data):
            raise MalformedTableError(f"an offset to byte {position}, outside the file")
        self.end = max(self.end, end)
        return int(struct.unpack_from("<" + code, self.data, position)[0])

    def table(self, position: int) -> Table:
        """The table at ``position``. Raises MalformedTableError."""
        fields = position - self.number("i", position)
        size = self.number("H", fields)
        if size < 4 or size % 2 or fields + size > len(self.data):
            raise MalformedTableError(f"a table at byte {position} with a list of fields of {size} bytes")
        self.reach(max(fields + size, position + self.number("H", fields + 2)))
        return Table(self, position, fields, size)

    def vector(self, position: int, width: int) -> Vector:
        """The vector at ``position``, of elements of ``width`` bytes. Raises MalformedTableError."""
        length = self.number("I", position)
        if length * width > len(self.data) - position - 4:
            raise MalformedTableError(f"a vector of {length} elements at byte {position}, longer than the file")
        self.reach(position + 4 + length * width)
        return Vector(position + 4, length)

    def reach(self, end: int) -> None:
        """Note that something ends at the byte ``end``. Raises MalformedTableError if that is outside the file."""
        if end > len(self.data):
            raise MalformedTableError(f"a table or a vector ends at byte {end}, outside the file")
        self.end = max(self.end, end)


@dataclass(frozen=True, slots=True)
class Vector:
    """``length`` elements from the byte ``start`` on."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Table:
    """The table at ``position``, whose fields are listed in ``size`` bytes at ``fields``. Fields count from 0."""

    buffer: FlatBuffer
    position: int
    fields: int
    size: int

    def _place(self, index: int) -> int | None:
        entry = 4 + 2 * index
        if entry + 2 > self.size:
            return None
        offset = self.buffer.number("H", self.fields + entry)
        return self.position + offset if offset else None

    def number(self, index: int, code: str, default: int = 0) -> int:
        """The number in the field ``index``, with its ``struct`` code."""
        place = self._place(index)
        return default if place is None else self.buffer.number(code, place)

    def _target(self, index: int) -> int | None:
        place = self._place(index)
        return None if place is None else place + self.buffer.number("I", place)

    def table(self, index: int) -> Table | None:
        """The table in the field ``index``, ``None`` when the field is not there."""
        target = self._target(index)
        return None if target is None else self.buffer.table(target)

    def vector(self, index: int, width: int) -> Vector:
        """The vector in the field ``index``; empty when the field is not there."""
        target = self._target(index)
        return Vector(0, 0) if target is None else self.buffer.vector(target, width)

    def tables(self, index: int) -> Iterator[Table]:
        """The tables in the field ``index``."""
        vector = self.vector(index, 4)
        for place in range(vector.start, vector.start + 4 * vector.length, 4):
            yield self.buffer.table(place + self.buffer.number("I", place))

    def reach_whatever(self, index: int) -> None:
        """Take whatever a field may refer to for a part of the file, where its type is not known here."""
        place = self._place(index)
        if place is None or place + 4 > len(self.buffer.data):
            return
        target = place + self.buffer.number("I", place)
        room = len(self.buffer.data) - target - 4
        if room < 0:
            return
        length = self.buffer.number("I", target)
        width = next((width for width in (8, 4, 1) if length * width <= room), 0)
        self.buffer.reach(target + 4 + length * width)

    def string(self, index: int, limit: int) -> bytes | None:
        """The first ``limit`` bytes of the string, or vector of bytes, in the field ``index``."""
        target = self._target(index)
        if target is None:
            return None
        vector = self.buffer.vector(target, 1)
        return bytes(self.buffer.data[vector.start : vector.start + min(vector.length, limit)])
