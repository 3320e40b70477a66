"""What a break is, and the breaks of opcode handlers: every opcode in every way that makes sense for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINE = ("tests/pickles/test_machine.py", "tests/pickles/test_exhaustive.py", "tests/pickles/test_differential.py")
JUDGEMENT = (
    "tests/pickles/test_tables.py",
    "tests/pickles/test_judge.py",
    "tests/pickles/test_benign.py",
    "tests/pickles/test_trusted_uses.py",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One deliberate defect, and the tests of which at least one must fail for it.

    ``replace`` exchanges a piece of source, which must stand in the module exactly once; ``patch`` changes modules
    after they were imported. Both happen in a process of their own.
    """

    name: str
    tests: tuple[str, ...]
    module: str = ""
    replace: tuple[str, str] = ("", "")
    patch: Callable[[], None] | None = field(default=None, compare=False)


def opcode_breaks() -> Iterator[Break]:
    """Breaks of the handlers of the machine, by name."""
    for name, ways in _ways().items():
        for way in ways:
            yield Break(name=f"{name} {way}", tests=MACHINE, patch=lambda name=name, way=way: _patch(name, way))


_FRAMING = ("FRAME", "PROTO")
_LITERALS = (
    *("FLOAT", "INT", "BININT", "BININT1", "LONG", "BININT2", "NONE", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "BINFLOAT", "NEWTRUE", "NEWFALSE", "LONG1", "LONG4", "BINBYTES", "SHORT_BINBYTES"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT"),
    *("EMPTY_SET", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "DICT", "FROZENSET", "DUP", "GET", "BINGET"),
    *("LONG_BINGET", "NEXT_BUFFER"),
)
_RECORDED = (
    *("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"),
    *("EXT1", "EXT2", "EXT4"),
)
_CHANGES = ("BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")
_OTHER = ("MARK", "POP", "POP_MARK", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "READONLY_BUFFER")
_WITHOUT_ARGUMENT = frozenset(
    (
        *("NONE", "NEWTRUE", "NEWFALSE", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_SET", "TUPLE", "TUPLE1"),
        *("TUPLE2", "TUPLE3", "LIST", "DICT", "FROZENSET", "DUP", "NEXT_BUFFER", "STACK_GLOBAL", "OBJ", "REDUCE"),
        *("NEWOBJ", "NEWOBJ_EX", "BINPERSID", "MARK", "POP", "POP_MARK", "MEMOIZE", "READONLY_BUFFER", *_CHANGES),
    )
)


def _ways() -> dict[str, list[str]]:
    ways = {name: ["ignored", "refused", "of another value"] for name in _LITERALS}
    ways.update({name: ["ignored", "refused", "of another value", "unrecorded"] for name in _RECORDED})
    ways.update({name: ["ignored", "refused", "unrecorded"] for name in _CHANGES})
    ways.update({name: ["ignored", "refused"] for name in (*_OTHER, *_FRAMING)})
    for name, several in ways.items():
        if name not in _WITHOUT_ARGUMENT:
            several.append("with its argument unread")
    ways["STOP"] = ["not known"]
    return ways


def _patch(name: str, way: str) -> None:
    from aiverify.pickles import machine
    from aiverify.pickles.graph import Opaque
    from aiverify.pickles.opcodes import Op
    from aiverify.pickles.reading import BrokenStreamError

    if name == "STOP":
        machine._HANDLERS[Op.STOP] = lambda self: None
        return
    original = machine._HANDLERS[Op[name]]

    def ignored(self):
        stack, metastack = list(self.stack), [list(items) for items in self.metastack]
        memo, far, frame_end, protocol = list(self.memo), dict(self.far), self.frame_end, self.graph.protocol
        original(self)
        self.stack, self.metastack, self.memo, self.far = stack, metastack, memo, far
        self.frame_end, self.graph.protocol = frame_end, protocol

    def refused(self):
        raise BrokenStreamError("broken on purpose")

    def of_another_value(self):
        original(self)
        self.stack[-1] = Opaque("broken on purpose", self.offset)

    def unread(self):
        position = self.pos
        original(self)
        self.pos = position

    def unrecorded(self):
        graph = self.graph
        lists = (graph.globals, graph.extensions, graph.calls, graph.persistents, graph.mutations)
        lengths = [len(items) for items in lists]
        kept = [(node, _contents(node)) for items in (self.stack, *self.metastack) for node in items]
        original(self)
        for items, length in zip(lists, lengths, strict=True):
            del items[length:]
        for node, contents in kept:
            _restore(node, contents)

    ways = {
        "ignored": ignored,
        "refused": refused,
        "of another value": of_another_value,
        "unrecorded": unrecorded,
        "with its argument unread": unread,
    }
    machine._HANDLERS[Op[name]] = ways[way]


_PLACES = ("states", "items", "elements", "pairs", "members")


def _contents(node: object) -> object:
    if isinstance(node, list):
        return list(node)
    return {place: list(getattr(node, place)) for place in _PLACES if hasattr(node, place) and not callable(node)}


def _restore(node: object, contents: object) -> None:
    if isinstance(node, list):
        node[:] = contents
    elif not isinstance(node, dict | tuple | str | int | float | None):
        for place, value in contents.items():
            setattr(node, place, value)
