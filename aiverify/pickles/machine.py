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
from collections.abc import Callable, Sequence
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
from aiverify.pickles.reading import (
    CUT,
    DEFAULT_BUDGET,
    BrokenStreamError,
    Budget,
    Buffer,
    OutOfBudgetError,
)
from aiverify.pickles.values import Values, pairs_of

__all__ = ["Budget", "Buffer", "interpret"]

_T = TypeVar("_T")
_LONG_STATE = 16

AfterBuild: TypeAlias = Callable[[Call, int, int], int]


def interpret(
    data: Buffer, start: int = 0, *, budget: Budget = DEFAULT_BUDGET, after_build: AfterBuild | None = None
) -> Graph:
    """Run the stream that begins at byte ``start`` of ``data`` and return what it describes.

    Never raises for what the bytes hold: a stream that breaks off gives a graph with ``failure``. ``after_build`` is
    asked after each BUILD on an object of the stream where to read on: some loaders read from the file themselves. It
    gets the object, the position, and the end of the current frame, and may raise BrokenStreamError.
    """
    machine = _Machine(data, start, budget)
    machine.after_build = after_build
    return machine.run()


class _Machine(Values):
    """One run over one stream: the loop, and the opcodes that name, call and change things."""

    __slots__ = ("after_build",)

    after_build: AfterBuild | None

    def run(self) -> Graph:
        graph, data, size, limit = self.graph, self.data, self.size, self.budget.opcodes
        handlers = [handler and MethodType(handler, self) for handler in _HANDLERS]
        count = 0
        try:
            for count in range(1, limit + 1):  # noqa: B007 - read after the loop
                self.offset = position = self.pos
                if position >= size:
                    raise BrokenStreamError("the stream ends without STOP")
                self.pos = position + 1
                handler = handlers[data[position]]
                if handler is None:
                    if data[position] != Op.STOP:
                        raise BrokenStreamError(f"0x{data[position]:02x} is not an opcode")
                    graph.root = self.stack.pop()
                    break
                handler()
            else:
                raise OutOfBudgetError(f"more than {limit} opcodes")
        except IndexError:
            self._fail("the stack is empty")
        except (KeyError, OverflowError, UnicodeDecodeError, ValueError) as error:
            self._fail(_reason(error))
        except BrokenStreamError as error:
            graph.budget_hit = isinstance(error, OutOfBudgetError)
            self._fail(str(error))
        if graph.failure is None and self.pos < self.frame_end <= size:
            self._tear(CUT)  # a reader without peek() has taken the whole frame from the file
        if self.torn is not None and graph.failure is None:
            graph.root, (graph.failure_offset, graph.failure) = None, self.torn
        for state, length, offset in self.taken.values():
            if isinstance(state, Dictionary) and len(state.pairs) != length:  # the object may have copied it
                graph.anomalies.append(Anomaly("state", "a state is changed after an object took it", offset))
                break
        graph.opcodes = count
        graph.end = self.pos
        return graph

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
            self._push(found)
        else:
            raise BrokenStreamError("STACK_GLOBAL needs two strings")

    def _name(self, module: str, name: str) -> None:
        self._push(self._named(module, name))

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
        self._push(node)

    # Objects

    def _call(self, kind: CallKind, target: Value, args: Value, kwargs: Value = None) -> None:
        node = Call(kind, target, args, self.offset, kwargs)
        self.graph.calls.append(node)
        self._push(node)

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
        self._push(node)

    def next_buffer(self) -> None:
        self._push(OutOfBand(self.offset))

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
            for part in self._parts(state):
                if isinstance(part, Dictionary) and id(part) not in self.taken:
                    self.taken[id(part)] = part, len(part.pairs), self.offset
            if self.after_build is not None:
                self.pos = self.after_build(target, self.pos, self.frame_end)
        else:
            self._mutation("BUILD", target, state)

    def _parts(self, state: Value) -> Sequence[Value]:
        """What an object takes with ``state``; a long tuple that objects share is gone through once."""
        if not isinstance(state, tuple):
            return (state,)
        if len(state) > _LONG_STATE:
            if id(state) in self.taken:
                return ()
            self.taken[id(state)] = state, 0, self.offset
        return state

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
        self._hashed(items)
        target = self.stack[-1]
        if isinstance(target, SetNode) and not target.frozen:
            target.members.extend(items)
        elif isinstance(target, Call):
            target.elements = _extended(target.elements, items)
        else:
            self._mutation("ADDITEMS", target, items)

    def setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._hashed([key])
        self._set("SETITEM", [(key, value)])

    def setitems(self) -> None:
        items = self._pop_mark()
        self._hashed(items[::2])
        # Python's own unpickler sets the whole pairs before it stumbles over the last key.
        self._set("SETITEMS", pairs_of(items[: len(items) // 2 * 2]))
        pairs_of(items)

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
            raise BrokenStreamError(f"protocol {protocol} does not exist")
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
    return isinstance(value, Call | Global | Extension | Persistent | OutOfBand | Opaque) or (
        isinstance(value, Blob) and value.text
    )


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
