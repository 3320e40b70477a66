"""Reading a pickle stream: positions, arguments of opcodes, and what is odd about either.

Source of the rules: CPython 3.11 to 3.14, ``Modules/_pickle.c`` and ``Lib/pickle.py``. Where its readers differ, the
one that reads on is followed, and an anomaly is noted.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from typing import TypeAlias

from aiverify.pickles.graph import Anomaly, Graph

Buffer: TypeAlias = "bytes | memoryview | mmap.mmap"

TORN = "an argument crosses the end of a frame, and readers go on at different places"
CUT = "the stream ends inside of a frame, and readers look for the next one at different places"

_UINT32 = struct.Struct("<L")
_NEWLINE = re.compile(rb"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one stream: opcodes executed, containers and objects made, bytes of one text line (protocol 0).

    A node takes 50 to 250 bytes here, and one byte in the stream.
    """

    opcodes: int = 20_000_000
    nodes: int = 4_000_000
    line: int = 1 << 24


DEFAULT_BUDGET = Budget()


class BrokenStreamError(Exception):
    """The stream cannot be read on. The message says why."""


class OutOfBudgetError(BrokenStreamError):
    """A budget is used up."""


class Reader:
    """A place in a stream, and the graph that grows as it moves on. ``offset`` is where the current opcode began."""

    __slots__ = ("budget", "data", "frame_end", "graph", "offset", "pos", "size", "torn")

    def __init__(self, data: Buffer, start: int, budget: Budget) -> None:
        self.data = data
        self.size = len(data)
        self.pos = start
        self.offset = start
        self.budget = budget
        self.frame_end = start
        self.torn: tuple[int, str] | None = None
        self.graph = Graph(start)

    def _fail(self, reason: str) -> None:
        self.graph.failure = reason
        self.graph.failure_offset = self.offset

    def _odd(self, kind: str, text: str) -> None:
        self.graph.anomalies.append(Anomaly(kind, text, self.offset))

    # Reading arguments

    def _take(self, length: int) -> int:
        """Move past ``length`` bytes and return where they begin."""
        begin = self.pos
        if length > self.size - begin:
            raise BrokenStreamError(f"an argument of {length} bytes reaches past the end")
        self.pos = begin + length
        if begin < self.frame_end < self.pos:
            self._tear()
        return begin

    def _tear(self, reason: str = TORN) -> None:
        """Something crosses the end of a frame: the C unpickler forgets the part that lies inside of the frame.

        From here on it is at another place than a reader that has the whole stream in memory, so nobody can tell what
        it reads. Source: _Unpickler_ReadImpl and _Unpickler_Readline in Modules/_pickle.c, on files without peek().
        """
        self._odd("torn", reason)
        self.torn = self.torn or (self.offset, reason)

    def _number(self, width: int, *, signed: bool = False) -> int:
        begin = self.pos
        end = begin + width
        if end > self.size or begin < self.frame_end < end:
            self._take(width)
        else:  # the same, without a call
            self.pos = end
        return int.from_bytes(self.data[begin:end], "little", signed=signed)

    def _uint32(self) -> int:
        begin = self.pos
        end = begin + 4
        if end > self.size or begin < self.frame_end < end:
            self._take(4)
        else:  # the same, without a call
            self.pos = end
        number: int = _UINT32.unpack_from(self.data, begin)[0]
        return number

    def _line(self) -> bytes:
        match = _NEWLINE.search(self.data, self.pos, min(self.size, self.pos + self.budget.line))
        if match is None:
            if self.size - self.pos > self.budget.line:
                raise OutOfBudgetError(f"a line of more than {self.budget.line} bytes")
            return self._last_line()
        line = bytes(self.data[self.pos : match.start()])
        if self.pos < self.frame_end < match.end():
            self._tear()
        self.pos = match.end()
        return line

    def _last_line(self) -> bytes:
        """The last line when it has no end: Python's own unpickler takes its last byte for the line feed.

        At the very end of the stream it reads an empty line, and goes on.
        """
        self._odd("line", "a line without end")
        line = bytes(self.data[self.pos : self.size - 1])
        self.pos = self.size
        return line

    def _text(self, length: int) -> str:
        begin = self._take(length)
        return str(self.data[begin : begin + length], "utf-8", "surrogatepass")
