"""The opcodes that push values: the stack, the memo, literals and containers.

Every method is named after its opcode. No value is hashed or compared; a number or text that depends on the loader's
settings stays unread.
"""

from __future__ import annotations

import codecs
import re
import struct
import warnings

from aiverify.pickles.graph import Blob, Dictionary, Opaque, SetNode, Value
from aiverify.pickles.reading import BrokenStreamError, Budget, Buffer, Reader

_OLD_OCTAL = re.compile(rb"\s*[+-]?0[0-7]+\Z")
_FLOAT64 = struct.Struct(">d")
_LONGEST_DECIMAL = 4300  # CPython's default limit (sys.set_int_max_str_digits); a host may lift it
_SPARSE_MEMO = 1 << 20  # a C unpickler allocates a table as long as the highest memo index


class Values(Reader):
    """The stack and the memo of one stream; they live and die with it, as in CPython."""

    __slots__ = ("memo", "metastack", "stack")

    def __init__(self, data: Buffer, start: int, budget: Budget) -> None:
        super().__init__(data, start, budget)
        self.stack: list[Value] = []
        self.metastack: list[list[Value]] = []
        self.memo: dict[int, Value] = {}

    def _pop_mark(self) -> list[Value]:
        items = self.stack
        if not self.metastack:
            raise BrokenStreamError("no MARK on the stack")
        self.stack = self.metastack.pop()
        return items

    # The stack and the memo

    def mark(self) -> None:
        self.metastack.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark()

    def pop_mark(self) -> None:
        self._pop_mark()

    def dup(self) -> None:
        self.stack.append(self.stack[-1])

    def put(self) -> None:
        index = _decimal(self._line())
        if index < 0:
            raise BrokenStreamError("a negative memo index")
        self._memoize(index)

    def binput(self) -> None:
        index = self.data[self.pos] if self.pos < self.size else self._take(1)
        self.pos += 1
        self.memo[index] = self.stack[-1]

    def long_binput(self) -> None:
        self._memoize(self._number(4))

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _memoize(self, index: int) -> None:
        if index > _SPARSE_MEMO and index > 2 * len(self.memo):
            self._odd("allocation", f"memo index {index} makes a loader allocate {16 * index} bytes")
        self.memo[index] = self.stack[-1]

    def get(self) -> None:
        self.stack.append(self.memo[_decimal(self._line())])

    def binget(self) -> None:
        index = self.data[self.pos] if self.pos < self.size else self._take(1)
        self.pos += 1
        self.stack.append(self.memo[index])

    def long_binget(self) -> None:
        self.stack.append(self.memo[self._number(4)])

    # Literals

    def none(self) -> None:
        self.stack.append(None)

    def newtrue(self) -> None:
        self.stack.append(True)

    def newfalse(self) -> None:
        self.stack.append(False)

    def int_(self) -> None:
        line = self._line()
        if not line:
            raise BrokenStreamError("an INT without digits")
        self.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else self._integer(line))

    def long(self) -> None:
        line = self._line()
        if not line:
            raise BrokenStreamError("a LONG without digits")
        self.stack.append(self._integer(line.removesuffix(b"L")))

    def _integer(self, line: bytes) -> Value:
        """An integer as C's strtol or Python's int(…, 0) reads it; both stop at a NUL byte."""
        text = line.partition(b"\0")[0]
        if len(text) > _LONGEST_DECIMAL:
            return Opaque("a very long number", self.offset)
        if not text and line:
            self._odd("number", "a number that begins with a NUL byte")
            return 0
        if _OLD_OCTAL.match(text):
            self._odd("number", "a number in the old octal notation")
            return int(text, 8)
        return int(text, 0)

    def binint(self) -> None:
        self.stack.append(self._number(4, signed=True))

    def binint1(self) -> None:
        self.stack.append(self._number(1))

    def binint2(self) -> None:
        self.stack.append(self._number(2))

    def long1(self) -> None:
        self.stack.append(self._number(self._number(1), signed=True))

    def long4(self) -> None:
        length = self._number(4, signed=True)
        if length < 0:
            raise BrokenStreamError("a negative length")
        self.stack.append(self._number(length, signed=True))

    def float_(self) -> None:
        self.stack.append(float(self._line().partition(b"\0")[0]))

    def binfloat(self) -> None:
        begin = self._take(8)
        self.stack.append(_FLOAT64.unpack_from(self.data, begin)[0])

    def string(self) -> None:
        begin, line = self.pos, self._line()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            raise BrokenStreamError("a STRING without quotes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape is a warning to the author of source code, not to us
            value = codecs.escape_decode(line[1:-1])[0]
        self.stack.append(self._python2_string(value, begin))

    def binstring(self) -> None:
        length = self._number(4, signed=True)
        if length < 0:
            raise BrokenStreamError("a negative length")
        self._counted_string(length)

    def short_binstring(self) -> None:
        self._counted_string(self._number(1))

    def _counted_string(self, length: int) -> None:
        begin = self._take(length)
        self.stack.append(self._python2_string(bytes(self.data[begin : begin + length]), begin))

    @staticmethod
    def _python2_string(value: bytes, begin: int) -> Value:
        return value.decode("ascii") if value.isascii() else Blob(begin, len(value), text=True, value=value)

    def unicode(self) -> None:
        self.stack.append(str(self._line(), "raw-unicode-escape"))

    def binunicode(self) -> None:
        self.stack.append(self._text(self._number(4)))

    def short_binunicode(self) -> None:
        self.stack.append(self._text(self._number(1)))

    def binunicode8(self) -> None:
        self.stack.append(self._text(self._number(8)))

    def binbytes(self) -> None:
        self._blob(self._number(4))

    def short_binbytes(self) -> None:
        self._blob(self._number(1))

    def binbytes8(self) -> None:
        self._blob(self._number(8))

    def bytearray8(self) -> None:
        self._blob(self._number(8), mutable=True)

    def _blob(self, length: int, *, mutable: bool = False) -> None:
        self.stack.append(Blob(self._take(length), length, mutable))

    # Containers

    def empty_tuple(self) -> None:
        self.stack.append(())

    def tuple1(self) -> None:
        self.stack[-1] = (self.stack[-1],)

    def tuple2(self) -> None:
        last = self.stack.pop()
        self.stack[-1] = (self.stack[-1], last)

    def tuple3(self) -> None:
        last, middle = self.stack.pop(), self.stack.pop()
        self.stack[-1] = (self.stack[-1], middle, last)

    def tuple_(self) -> None:
        items = self._pop_mark()
        self.stack.append(tuple(items))

    def empty_list(self) -> None:
        self.stack.append([])

    def list_(self) -> None:
        items = self._pop_mark()
        self.stack.append(items)

    def empty_dict(self) -> None:
        self.stack.append(Dictionary())

    def dict_(self) -> None:
        pairs = pairs_of(self._pop_mark())
        self.stack.append(Dictionary(pairs))

    def empty_set(self) -> None:
        self.stack.append(SetNode())

    def frozenset_(self) -> None:
        items = self._pop_mark()
        self.stack.append(SetNode(items, frozen=True))


def pairs_of(items: list[Value]) -> list[tuple[Value, Value]]:
    """Keys and values as they alternate on the stack. Raises BrokenStreamError when one is left over."""
    if len(items) % 2:
        raise BrokenStreamError("an odd number of keys and values")
    return list(zip(items[::2], items[1::2], strict=True))


def _decimal(line: bytes) -> int:
    if len(line) > _LONGEST_DECIMAL:
        raise BrokenStreamError("a memo index of too many digits")
    return int(line.partition(b"\0")[0], 10)
