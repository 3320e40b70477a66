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
from aiverify.pickles.reading import BrokenStreamError, Budget, Buffer, OutOfBudgetError, Reader

_PLAIN_DECIMAL = re.compile(rb"(0|-?[1-9][0-9]*)\Z")
_OLD_OCTAL = re.compile(rb"\s*[+-]?0[0-7]+\Z")
_LEADING_ZERO = re.compile(rb"\s*[+-]?0_?[0-9]")
_FLOAT64 = struct.Struct(">d")
_LONGEST_DECIMAL = 4300  # CPython's default limit (sys.set_int_max_str_digits); a host may lift it
_SIGNED = (1 << 31) - 1
_HASHING = 1 << 26  # elements that a loader hashes for the keys of one stream: about a second of its time
_DEEPEST_KEY = 1000  # tuples inside of each other; the C stack holds some ten thousand of them
_SMALL_KEY = 8
_LARGE_KEY = 64
_LARGE = 1 << 24  # bytes
_SPARSE_MEMO = 1 << 20  # a C unpickler allocates a table as long as the highest memo index


class Values(Reader):
    """The stack and the memo of one stream; they live and die with it, as in CPython."""

    __slots__ = ("far", "hashing", "memo", "metastack", "nodes", "stack", "taken", "weights")

    def __init__(self, data: Buffer, start: int, budget: Budget) -> None:
        super().__init__(data, start, budget)
        self.stack: list[Value] = []
        self.metastack: list[list[Value]] = []
        self.nodes = 0
        self.memo: list[Value] = []  # as picklers fill it, from 0 on; a dict would take six times the memory
        self.far: dict[int, Value] = {}  # what was put behind a gap; from then on the list no longer grows
        # States that BUILD took by their identity, how long they were when it first did, and where.
        self.taken: dict[int, tuple[Value, int, int]] = {}
        self.hashing = 0
        self.weights: dict[int, tuple[int, Value]] = {}  # the values keep their identities from being used again

    def _push(self, node: Value) -> None:
        """Push a container or an object that was made just now."""
        self.nodes += 1
        if self.nodes > self.budget.nodes:
            raise OutOfBudgetError(f"more than {self.budget.nodes} containers and objects")
        self.stack.append(node)

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
        self._put(index)

    def long_binput(self) -> None:
        self._memoize(self._uint32())

    def memoize(self) -> None:
        if self.far:
            self._put(len(self.memo) + len(self.far))
        else:
            self.memo.append(self.stack[-1])

    def _put(self, index: int) -> None:
        if index == len(self.memo) and not self.far:
            self.memo.append(self.stack[-1])
        elif index < len(self.memo):
            self.memo[index] = self.stack[-1]
        else:
            self.far[index] = self.stack[-1]

    def _got(self, index: int) -> Value:
        return self.memo[index] if 0 <= index < len(self.memo) else self.far[index]

    def _memoize(self, index: int) -> None:
        if index > _SPARSE_MEMO and index > 2 * (len(self.memo) + len(self.far)):
            self._odd("allocation", f"memo index {index} makes a loader allocate {16 * index} bytes")
        self._put(index)

    def get(self) -> None:
        self.stack.append(self._got(_decimal(self._line())))

    def binget(self) -> None:
        index = self.data[self.pos] if self.pos < self.size else self._take(1)
        self.pos += 1
        self.stack.append(self._got(index))

    def long_binget(self) -> None:
        self.stack.append(self._got(self._uint32()))

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
        """An integer as C's strtol or Python's int reads it; both stop at a NUL byte.

        Up to Python 3.13 the base is told by a prefix, since 3.14 it is always ten (CPython issue 126992).
        """
        text = line.partition(b"\0")[0]
        if len(text) > _LONGEST_DECIMAL:
            return Opaque("a very long number", self.offset)
        if _PLAIN_DECIMAL.match(line):
            return int(line)
        self._odd("number", "a number that readers read differently")
        if not text and line:
            return 0
        if _OLD_OCTAL.match(text):
            return int(text, 8)
        return int(text, 10) if _LEADING_ZERO.match(text) else int(text, 0)

    def binint(self) -> None:
        self.stack.append(self._number(4, signed=True))

    def binint1(self) -> None:
        number = self.data[self.pos] if self.pos < self.size else self._take(1)
        self.pos += 1
        self.stack.append(number)

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
        self._python2_string(value, begin)

    def binstring(self) -> None:
        length = self._number(4)
        if length > _SIGNED:
            self._odd("length", "a length that some readers take for a negative number")
        self._counted_string(length)

    def short_binstring(self) -> None:
        self._counted_string(self._number(1))

    def _counted_string(self, length: int) -> None:
        begin = self._take(length)
        self._python2_string(bytes(self.data[begin : begin + length]), begin)

    def _python2_string(self, value: bytes, begin: int) -> None:
        if value.isascii():
            self.stack.append(value.decode("ascii"))
        else:
            self._push(Blob(begin, len(value), text=True, value=value))

    def unicode(self) -> None:
        self.stack.append(str(self._line(), "raw-unicode-escape"))

    def binunicode(self) -> None:
        self.stack.append(self._text(self._uint32()))

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
        try:
            begin = self._take(length)
        except BrokenStreamError:
            if length > _LARGE:
                self._odd("allocation", f"a loader makes room for {length} bytes that are not there")
            raise
        self._push(Blob(begin, length, mutable))

    # Containers

    def empty_tuple(self) -> None:
        self.stack.append(())

    def tuple1(self) -> None:
        self._push((self.stack.pop(),))

    def tuple2(self) -> None:
        last = self.stack.pop()
        self._push((self.stack.pop(), last))

    def tuple3(self) -> None:
        last, middle = self.stack.pop(), self.stack.pop()
        self._push((self.stack.pop(), middle, last))

    def tuple_(self) -> None:
        items = self._pop_mark()
        self._push(tuple(items))

    def empty_list(self) -> None:
        self._push([])

    def list_(self) -> None:
        items = self._pop_mark()
        self._push(items)

    def empty_dict(self) -> None:
        self._push(Dictionary())

    def dict_(self) -> None:
        items = self._pop_mark()
        pairs = pairs_of(items)
        self._hashed(items[::2])
        self._push(Dictionary(pairs))

    def empty_set(self) -> None:
        self._push(SetNode())

    def frozenset_(self) -> None:
        items = self._pop_mark()
        self._hashed(items)
        self._push(SetNode(items, frozen=True))

    def _hashed(self, keys: list[Value]) -> None:
        """Note keys whose hash takes a loader too long or recurses too deep: a tuple's is computed anew each time."""
        if self.hashing > _HASHING or tuple not in map(type, keys):
            return
        for key in keys:
            if isinstance(key, tuple):
                small = len(key) <= _SMALL_KEY and tuple not in map(type, key)
                self.hashing += len(key) + 1 if small else self._weight(key)
        if self.hashing > _HASHING:
            self._odd("hash", "keys of tuples in tuples that take a loader very long to hash, or overflow its stack")

    def _weight(self, key: tuple[Value, ...]) -> int:
        """How many elements a hash of ``key`` visits, as if very many when it recurses too deep.

        Linear in the tuples that are new to it: large ones are remembered.
        """
        known, small = self.weights, dict[int, int]()
        path, sizes = [(key, iter(key))], [len(key) + 1]
        while True:
            for item in path[-1][1]:
                if isinstance(item, tuple):
                    size = small.get(id(item)) or known.get(id(item), (0, ()))[0]
                    if not size:
                        path.append((item, iter(item)))
                        sizes.append(len(item) + 1)
                        break
                    sizes[-1] += size
            else:
                value, size = path.pop()[0], min(sizes.pop(), 2 * _HASHING)
                if size > _LARGE_KEY:
                    known[id(value)] = size, value
                else:
                    small[id(value)] = size
                if not path:
                    return size
                sizes[-1] += size
            if len(path) > _DEEPEST_KEY:
                return 2 * _HASHING


def pairs_of(items: list[Value]) -> list[tuple[Value, Value]]:
    """Keys and values as they alternate on the stack. Raises BrokenStreamError when one is left over."""
    if len(items) % 2:
        raise BrokenStreamError("an odd number of keys and values")
    return list(zip(items[::2], items[1::2], strict=True))


def _decimal(line: bytes) -> int:
    if len(line) > _LONGEST_DECIMAL:
        raise BrokenStreamError("a memo index of too many digits")
    return int(line.partition(b"\0")[0], 10)
