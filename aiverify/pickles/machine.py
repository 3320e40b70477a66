"""The inert pickle machine: runs the opcodes of a stream on nodes that can do nothing.

Rules it keeps:

1. The opcode table is closed, and implemented here. No name is ever resolved, nothing of the stream is called, hashed
   or compared. Every global becomes a ``Global``, every call a ``Call``.
2. It reads at least as much as any reader does. CPython's C and Python unpicklers and their subclasses differ in what
   they refuse (numbers, frames, argument types); where one of them goes on, so does the machine, and notes an anomaly.
3. What cannot be read on by any reader ends the graph with ``failure``; what happened before stays in the graph.
4. Work and memory are linear in the input, and bounded by ``Budget``.

Source of the reading rules: CPython 3.11 to 3.14, ``Modules/_pickle.c`` and ``Lib/pickle.py``.
"""

from __future__ import annotations

import _compat_pickle
import codecs
import mmap
import re
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import TypeAlias, TypeVar

from aiverify.pickles.graph import (
    Anomaly,
    Blob,
    Call,
    CallKind,
    Dictionary,
    Extension,
    Global,
    Graph,
    Mutation,
    Opaque,
    OutOfBand,
    Persistent,
    SetNode,
    Value,
)
from aiverify.pickles.opcodes import HIGHEST_PROTOCOL, Op

Buffer: TypeAlias = "bytes | memoryview | mmap.mmap"

_T = TypeVar("_T")

_NEWLINE = re.compile(rb"\n")
_OLD_OCTAL = re.compile(rb"\s*[+-]?0[0-7]+\Z")
_FLOAT64 = struct.Struct(">d")
_LONGEST_DECIMAL = 4300  # CPython's default limit (sys.set_int_max_str_digits); a host may lift it
_TORN = "an argument crosses the end of a frame, and readers go on at different places"
_SPARSE_MEMO = 1 << 20  # a C unpickler allocates a table as long as the highest memo index


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one stream: opcodes executed, and bytes of one text line (protocol 0)."""

    opcodes: int = 20_000_000
    line: int = 1 << 24


DEFAULT_BUDGET = Budget()


class _BrokenStreamError(Exception):
    """The stream cannot be read on. The message says why."""


class _OutOfBudgetError(_BrokenStreamError):
    """A budget is used up."""


def interpret(data: Buffer, start: int = 0, *, budget: Budget = DEFAULT_BUDGET) -> Graph:
    """Run the stream that begins at byte ``start`` of ``data`` and return what it describes.

    Never raises for what the bytes hold: a stream that breaks off gives a graph with ``failure``.
    """
    return _Machine(data, start, budget).run()


class _Machine:
    """One run over one stream. The memo and the stacks live and die with it, as in CPython."""

    __slots__ = ("budget", "data", "frame_end", "graph", "memo", "metastack", "offset", "pos", "size", "stack", "torn")

    def __init__(self, data: Buffer, start: int, budget: Budget) -> None:
        self.data = data
        self.size = len(data)
        self.pos = start
        self.offset = start
        self.budget = budget
        self.frame_end = start
        self.torn: int | None = None
        self.stack: list[Value] = []
        self.metastack: list[list[Value]] = []
        self.memo: dict[int, Value] = {}
        self.graph = Graph(start)

    def run(self) -> Graph:
        graph, data, size, limit = self.graph, self.data, self.size, self.budget.opcodes
        handlers = [handler and MethodType(handler, self) for handler in _HANDLERS]
        count = 0
        try:
            for count in range(1, limit + 1):  # noqa: B007 - read after the loop
                self.offset = position = self.pos
                if position >= size:
                    raise _BrokenStreamError("the stream ends without STOP")
                self.pos = position + 1
                handler = handlers[data[position]]
                if handler is None:
                    if data[position] != Op.STOP:
                        raise _BrokenStreamError(f"0x{data[position]:02x} is not an opcode")
                    graph.root = self.stack.pop()
                    break
                handler()
            else:
                raise _OutOfBudgetError(f"more than {limit} opcodes")
        except IndexError:
            self._fail("the stack is empty")
        except (KeyError, OverflowError, UnicodeDecodeError, ValueError) as error:
            self._fail(_reason(error))
        except _BrokenStreamError as error:
            graph.budget_hit = isinstance(error, _OutOfBudgetError)
            self._fail(str(error))
        if self.torn is not None and graph.failure is None:
            graph.root, graph.failure, graph.failure_offset = None, _TORN, self.torn
        graph.opcodes = count
        graph.end = self.pos
        return graph

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
            raise _BrokenStreamError(f"an argument of {length} bytes reaches past the end")
        self.pos = begin + length
        if begin < self.frame_end < self.pos:
            self._tear()
        return begin

    def _tear(self) -> None:
        """Something crosses the end of a frame: the C unpickler forgets the part that lies inside of the frame.

        From here on it is at another place than a reader that has the whole stream in memory, so nobody can tell what
        it reads. Source: _Unpickler_ReadImpl and _Unpickler_Readline in Modules/_pickle.c, on files without peek().
        """
        self._odd("torn", _TORN)
        self.torn = self.offset if self.torn is None else self.torn

    def _number(self, width: int, *, signed: bool = False) -> int:
        begin = self._take(width)
        return int.from_bytes(self.data[begin : begin + width], "little", signed=signed)

    def _line(self) -> bytes:
        match = _NEWLINE.search(self.data, self.pos, min(self.size, self.pos + self.budget.line))
        if match is None:
            if self.size - self.pos > self.budget.line:
                raise _OutOfBudgetError(f"a line of more than {self.budget.line} bytes")
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

    def _pop_mark(self) -> list[Value]:
        items = self.stack
        if not self.metastack:
            raise _BrokenStreamError("no MARK on the stack")
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
            raise _BrokenStreamError("a negative memo index")
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
            raise _BrokenStreamError("an INT without digits")
        self.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else self._integer(line))

    def long(self) -> None:
        line = self._line()
        if not line:
            raise _BrokenStreamError("a LONG without digits")
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
            raise _BrokenStreamError("a negative length")
        self.stack.append(self._number(length, signed=True))

    def float_(self) -> None:
        self.stack.append(float(self._line().partition(b"\0")[0]))

    def binfloat(self) -> None:
        begin = self._take(8)
        self.stack.append(_FLOAT64.unpack_from(self.data, begin)[0])

    def string(self) -> None:
        begin, line = self.pos, self._line()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            raise _BrokenStreamError("a STRING without quotes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape is a warning to the author of source code, not to us
            value = codecs.escape_decode(line[1:-1])[0]
        self.stack.append(self._python2_string(value, begin))

    def binstring(self) -> None:
        length = self._number(4, signed=True)
        if length < 0:
            raise _BrokenStreamError("a negative length")
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
        pairs = _pairs(self._pop_mark())
        self.stack.append(Dictionary(pairs))

    def empty_set(self) -> None:
        self.stack.append(SetNode())

    def frozenset_(self) -> None:
        items = self._pop_mark()
        self.stack.append(SetNode(items, frozen=True))

    # Names

    def global_(self) -> None:
        module = str(self._line(), "utf-8")
        self._name(module, str(self._line(), "utf-8"))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if isinstance(name, str) and isinstance(module, str):
            self._name(module, name)
        elif _is_computed(name) or _is_computed(module):
            found = Global(None, name if isinstance(name, str) else "", self.offset, ("", ""))
            self.graph.globals.append(found)
            self.stack.append(found)
        else:
            raise _BrokenStreamError("STACK_GLOBAL needs two strings")

    def _name(self, module: str, name: str) -> None:
        self.stack.append(self._named(module, name))

    def _named(self, module: str, name: str) -> Global:
        node = Global(*self._renamed(module, name), self.offset, (module, name))
        self.graph.globals.append(node)
        return node

    def _renamed(self, module: str, name: str) -> tuple[str, str]:
        """The Python 3 name of what a stream below protocol 3 names (``pickle.Unpickler.find_class``)."""
        if self.graph.protocol < 3:
            renamed = _compat_pickle.NAME_MAPPING.get((module, name))
            if renamed is not None:
                return renamed
            return _compat_pickle.IMPORT_MAPPING.get(module, module), name
        return module, name

    def ext1(self) -> None:
        self._extension(self._number(1))

    def ext2(self) -> None:
        self._extension(self._number(2))

    def ext4(self) -> None:
        self._extension(self._number(4, signed=True))

    def _extension(self, code: int) -> None:
        node = Extension(code, self.offset)
        self.graph.extensions.append(node)
        self.stack.append(node)

    # Objects

    def _call(self, kind: CallKind, target: Value, args: Value, kwargs: Value = None) -> None:
        node = Call(kind, target, args, self.offset, kwargs)
        self.graph.calls.append(node)
        self.stack.append(node)

    def reduce(self) -> None:
        args, target = self.stack.pop(), self.stack.pop()
        self._call(CallKind.REDUCE, target, args)

    def newobj(self) -> None:
        args, target = self.stack.pop(), self.stack.pop()
        self._call(CallKind.NEWOBJ, target, args)

    def newobj_ex(self) -> None:
        kwargs, args, target = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(CallKind.NEWOBJ_EX, target, args, kwargs)

    def obj(self) -> None:
        items = self._pop_mark()
        self._call(CallKind.OBJ, items[0], tuple(items[1:]))

    def inst(self) -> None:
        module = str(self._line(), "ascii")
        name = str(self._line(), "ascii")
        found = self._named(module, name)  # Python's own unpickler imports before it looks for the MARK
        self._call(CallKind.INST, found, tuple(self._pop_mark()))

    def persid(self) -> None:
        self._persistent(str(self._line(), "ascii"))

    def binpersid(self) -> None:
        self._persistent(self.stack.pop())

    def _persistent(self, pid: Value) -> None:
        node = Persistent(pid, self.offset)
        self.graph.persistents.append(node)
        self.stack.append(node)

    def next_buffer(self) -> None:
        self.stack.append(OutOfBand(self.offset))

    def readonly_buffer(self) -> None:
        buffer = self.stack[-1]
        if isinstance(buffer, OutOfBand):
            self.stack[-1] = OutOfBand(buffer.offset, readonly=True)
        elif not isinstance(buffer, Blob):
            self._odd("buffer", "READONLY_BUFFER on something that is not a buffer")

    # Changes to objects

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Call):
            target.states = _extended(target.states, [state])
        else:
            self._mutation("BUILD", target, state)

    def append(self) -> None:
        value = self.stack.pop()
        self._append("APPEND", [value])

    def appends(self) -> None:
        items = self._pop_mark()
        self._append("APPENDS", items)

    def _append(self, opcode: str, items: list[Value]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Call):
            target.elements = _extended(target.elements, items)
        else:
            self._mutation(opcode, target, items)

    def additems(self) -> None:
        items = self._pop_mark()
        target = self.stack[-1]
        if isinstance(target, SetNode) and not target.frozen:
            target.members.extend(items)
        elif isinstance(target, Call):
            target.elements = _extended(target.elements, items)
        else:
            self._mutation("ADDITEMS", target, items)

    def setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set("SETITEM", [(key, value)])

    def setitems(self) -> None:
        items = self._pop_mark()
        # Python's own unpickler sets the whole pairs before it stumbles over the last key.
        self._set("SETITEMS", _pairs(items[: len(items) // 2 * 2]))
        _pairs(items)

    def _set(self, opcode: str, pairs: list[tuple[Value, Value]]) -> None:
        target = self.stack[-1]
        if isinstance(target, Dictionary):
            target.pairs.extend(pairs)
        elif isinstance(target, Call):
            target.items = _extended(target.items, pairs)
        else:
            self._mutation(opcode, target, list(pairs))

    def _mutation(self, opcode: str, target: Value, value: Value) -> None:
        self.graph.mutations.append(Mutation(opcode, target, value, self.offset))

    # Framing

    def proto(self) -> None:
        protocol = self._number(1)
        if protocol > HIGHEST_PROTOCOL:
            raise _BrokenStreamError(f"protocol {protocol} does not exist")
        if self.offset != self.graph.start:
            self._odd("protocol", "PROTO in the middle of the stream")
        self.graph.protocol = protocol

    def frame(self) -> None:
        length = self._number(8)
        end = self.pos + length
        if end > self.size:
            self._odd("frame", "a frame that reaches past the end")
        if self.pos < self.frame_end < end:
            self._tear()
        self.frame_end = max(self.frame_end, end)


def _extended(old: Sequence[_T], new: list[_T]) -> list[_T]:
    """``old`` with ``new`` at its end, in time linear in ``new``; nodes begin with an empty tuple to save memory."""
    if isinstance(old, list):
        old.extend(new)
        return old
    return new


def _is_computed(value: Value) -> bool:
    """Whether ``value`` is only known when the stream is loaded."""
    return isinstance(value, Call | Global | Extension | Persistent | Opaque) or (
        isinstance(value, Blob) and value.text
    )


def _pairs(items: list[Value]) -> list[tuple[Value, Value]]:
    if len(items) % 2:
        raise _BrokenStreamError("an odd number of keys and values")
    return list(zip(items[::2], items[1::2], strict=True))


def _decimal(line: bytes) -> int:
    if len(line) > _LONGEST_DECIMAL:
        raise _BrokenStreamError("a memo index of too many digits")
    return int(line.partition(b"\0")[0], 10)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"memo index {error.args[0]} was never set"
    if isinstance(error, UnicodeDecodeError):
        return "a string that is not valid text"
    return "a number that is not one"


def _table() -> list[Callable[[_Machine], None] | None]:
    """The handler of each byte: the method named after the opcode. STOP is the loop's own business."""
    table: list[Callable[[_Machine], None] | None] = [None] * 256
    for opcode in Op:
        if opcode is not Op.STOP:
            name = opcode.name.lower()
            table[opcode] = getattr(_Machine, name, None) or getattr(_Machine, f"{name}_")
    return table


_HANDLERS = _table()
