"""CPython's two unpicklers as witnesses: what does each of them ask for, and does the machine say the same?

Names are recorded and answered with inert classes, so nothing is imported and nothing of the stream is called. Every
call, persistent id and change is recorded with its arguments. ``differences`` compares that with the machine's graph:

- whatever a witness asked for, the machine has reported, in the same order and with the same arguments;
- when a witness reached STOP, the machine did, too, at the same place, and nothing is left over on either side: calls,
  arguments, states, contents and the result are equal, node by node.

A stream can exhaust memory or time, or crash the C unpickler: run this in a child process with limits.
"""

from __future__ import annotations

import _compat_pickle
import contextlib
import copyreg
import io
import itertools
import pickle
import struct
import sys
from dataclasses import dataclass, field

from aiverify.pickles.graph import (
    Blob,
    Call,
    CallKind,
    Dictionary,
    Extension,
    Global,
    Graph,
    Opaque,
    OutOfBand,
    Persistent,
    SetNode,
)
from aiverify.pickles.machine import interpret

COMPUTED = "computed"  # what names, calls and persistent ids give whose text begins with "text"
EXTENSIONS = (1, 2, 7, 255, 256, 300, 65535, 65536, 70000)
_EXTENSION_MODULE = "\0extension"
_CALLED, _NEW = "called", "created"
# The anomalies of streams that would hang, crash or starve a loader; they are not shown to any.
_HARMFUL = frozenset(("hash", "allocation"))
# Since CPython 3.14 some numbers are others than before. The machine gives the older one, and says so.
_OTHER_NUMBERS = sys.version_info >= (3, 14)


@dataclass(slots=True)
class Log:
    """What one witness did so far."""

    names: list = field(default_factory=list)  # (written, mapped or None, answer)
    codes: list = field(default_factory=list)
    calls: list = field(default_factory=list)  # [kind, callable, args, kwargs, result]
    ids: list = field(default_factory=list)  # (id, answer)
    changes: list = field(default_factory=list)  # of classes: (class, kind, *values)


_log = Log()


def _record(kind: str, target: object, args: tuple, kwargs: dict) -> object:
    made = COMPUTED if args and type(args[0]) is str and args[0] == "text" else object.__new__(_Made)
    if made is not COMPUTED:
        made.states, made.items, made.elements = [], [], []
    _log.calls.append((kind, target, args, kwargs, made))
    return made


class _Changes:
    """The methods of a class that stands for a global: they record, and change nothing."""

    __slots__ = ("owner",)

    def __init__(self, owner):
        self.owner = owner

    def state(self, state):
        _log.changes.append((self.owner, "state", state))

    def extend(self, items):
        for item in items:
            self.append(item)

    def append(self, item):
        _log.changes.append((self.owner, "element", item))


class _Kind(type):
    def __call__(cls, *args, **kwargs):
        return _record(_CALLED, cls, args, kwargs)

    # Properties of the class of a class win over attributes that its instances have.
    __setstate__ = property(lambda cls: _Changes(cls).state)
    append = add = property(lambda cls: _Changes(cls).append)
    extend = property(lambda cls: _Changes(cls).extend)

    def __setitem__(cls, key, value):
        _log.changes.append((cls, "item", key, value))


class _Named(metaclass=_Kind):
    __slots__ = ()

    def __new__(cls, *args, **kwargs):
        return _record(_NEW, cls, args, kwargs)


class _Made:
    """An object that a call or a persistent id gave."""

    __slots__ = ("elements", "items", "states")

    def __new__(cls, *args, **kwargs):
        return _record(_NEW, cls, args, kwargs)

    def __call__(self, *args, **kwargs):
        return _record(_CALLED, self, args, kwargs)

    def __setstate__(self, state):
        self.states.append(state)

    def append(self, item):
        self.elements.append(item)

    add = append

    def extend(self, items):
        self.elements.extend(items)

    def __setitem__(self, key, value):
        self.items.append((key, value))


_classes: dict[tuple[str, str], type] = {}


def _named(module: str, name: str) -> object:
    if name.startswith("text"):
        return COMPUTED
    key = (module, name)
    if key not in _classes:
        if len(_classes) > 4096:
            _classes.clear()
        _classes[key] = _Kind("Named", (_Named,), {"__slots__": ()})
    return _classes[key]


class _Recording:
    def find_class(self, module, name):
        answer = _named(module, name)
        if module == _EXTENSION_MODULE:
            _log.codes.append(int(name))
            return answer
        written, proto = (module, name), getattr(self, "proto", None)
        if proto is not None and proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get(
                written, (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
            )
        _log.names.append((written, None if proto is None else (module, name), answer))
        return answer

    def persistent_load(self, pid):
        if type(pid) is str and pid == "text":
            answer = COMPUTED
        else:
            answer = object.__new__(_Made)
            answer.states, answer.items, answer.elements = [], [], []
        _log.ids.append((pid, answer))
        return answer


class _InC(_Recording, pickle.Unpickler):
    pass


class _InPython(_Recording, pickle._Unpickler):
    pass


@dataclass(frozen=True, slots=True)
class Witness:
    """One way in which CPython reads a stream."""

    name: str
    kind: type
    encoding: str
    ahead: bool = False
    buffers: bool = False


WITNESSES = (
    Witness("C", _InC, "ASCII"),
    Witness("C that looks ahead", _InC, "latin1", ahead=True),
    Witness("Python", _InPython, "latin1"),
)
# Other settings of the same readers.
VARIANTS = (
    Witness("C with buffers", _InC, "bytes", buffers=True),
    Witness("Python with buffers", _InPython, "ASCII", buffers=True),
    Witness("Python, bytes", _InPython, "bytes"),
)


@dataclass(slots=True)
class Result:
    """``compared`` counts the witnesses that finished; ``aside`` says why the stream was shown to none of them."""

    differences: list[str] = field(default_factory=list)
    compared: int = 0
    finished: int = 0
    aside: str = ""


def differences(stream: bytes, witnesses: tuple[Witness, ...] = WITNESSES) -> Result:
    """Everything that a witness did and the machine did not report, and the other way round."""
    result = Result()
    graph = interpret(stream)
    if any(anomaly.kind in _HARMFUL for anomaly in graph.anomalies):
        result.aside = "the machine warns of it"
        return result
    for witness in witnesses:
        outcome = _run(stream, witness)
        result.compared += 1
        result.finished += outcome.finished
        for text in _Comparison(stream, graph, witness, outcome).run():
            result.differences.append(f"{witness.name}: {text} ({outcome.error})")
    return result


@dataclass(slots=True)
class _Outcome:
    log: Log
    finished: bool
    end: int
    root: object
    error: str


def _run(stream: bytes, witness: Witness) -> _Outcome:
    global _log
    _log = Log()
    copyreg._extension_cache.clear()
    file = io.BytesIO(stream)
    source = io.BufferedReader(file) if witness.ahead else file
    buffers = itertools.repeat(b"buffer") if witness.buffers else None
    unpickler = witness.kind(source, encoding=witness.encoding, buffers=buffers)
    root, finished, error = None, False, ""
    try:
        root = unpickler.load()
        finished = True
    except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the witness's answer
        error = f"{type(caught).__name__}: {caught}"[:200]
    return _Outcome(_log, finished, source.tell(), root, error)


class _UnlikeError(Exception):
    pass


class _Comparison:
    def __init__(self, stream: bytes, graph: Graph, witness: Witness, outcome: _Outcome) -> None:
        self.stream, self.graph, self.witness, self.outcome = stream, graph, witness, outcome
        self.seen: set[tuple[int, int]] = set()
        # What nodes became, by the identity of the node.
        self.real: dict[int, object] = {}
        # Contents are only final at the end, and a change of a literal is not carried out on nodes.
        self.any_number = _OTHER_NUMBERS and any(anomaly.kind == "number" for anomaly in graph.anomalies)
        literal = any(not isinstance(mutation.target, Global | Extension) for mutation in graph.mutations)
        self.deep = outcome.finished and not literal and not self.any_number

    def run(self) -> list[str]:
        graph, log = self.graph, self.outcome.log
        torn = [anomaly.offset for anomaly in graph.anomalies if anomaly.kind == "torn"]
        if torn:
            return self._before(torn[0])
        try:
            self._names()
            self._count("extension codes", len(set(log.codes)), len({e.code for e in graph.extensions}))
            self._count("calls", len(log.calls), len(graph.calls))
            self._count("persistent ids", len(log.ids), len(graph.persistents))
            if set(log.codes) - {extension.code for extension in graph.extensions}:
                raise _UnlikeError("an extension code that the machine has not seen")
            for node, (*_, made) in zip(graph.calls, log.calls, strict=False):
                self.real[id(node)] = made
            for node, (_, answer) in zip(graph.persistents, log.ids, strict=False):
                self.real[id(node)] = answer
            if self.witness.encoding != "bytes":
                self._arguments()
            if self.outcome.finished:
                self._end()
        except _UnlikeError as unlike:
            return [str(unlike)]
        return []

    def _before(self, torn: int) -> list[str]:
        """Readers part ways at the end of a frame: up to there they agree, and beyond it nothing may be clean."""
        if self.graph.failure is None:
            return ["a torn stream without failure"]
        before = sum(found.offset < torn for found in self.graph.globals)
        for found, (written, *_) in zip(self.graph.globals[:before], self.outcome.log.names, strict=False):
            if found.module is not None and found.written != written:
                return [f"asked for {written!r} before a frame was torn"]
        return []

    def _count(self, what: str, theirs: int, ours: int) -> None:
        if theirs > ours or (self.outcome.finished and theirs != ours):
            raise _UnlikeError(f"{theirs} {what}, and {ours} reported")

    def _names(self) -> None:
        names = self.outcome.log.names
        self._count("names", len(names), len(self.graph.globals))
        for found, (written, mapped, answer) in zip(self.graph.globals, names, strict=False):
            self.real[id(found)] = answer
            if found.module is None:  # a computed name may be anything
                continue
            if found.written != written:
                raise _UnlikeError(f"asked for {written!r}, and {found.written!r} is reported")
            if mapped is not None and (found.module, found.name) != mapped:
                raise _UnlikeError(f"renamed {mapped!r} to {(found.module, found.name)!r}")
        for extension in self.graph.extensions:
            self.real[id(extension)] = _named(_EXTENSION_MODULE, str(extension.code))

    def _arguments(self) -> None:
        log = self.outcome.log
        for node, (kind, target, args, kwargs, _) in zip(self.graph.calls, log.calls, strict=False):
            self._call(node, kind, target, args, kwargs)
        for node, (pid, _) in zip(self.graph.persistents, log.ids, strict=False):
            self._same(node.pid, pid, "a persistent id")
        changes = list(self._changes())
        self._count("changes of classes", len(log.changes), len(changes))
        for (node, *values), (target, *actual) in zip(changes, log.changes, strict=False):
            self._same(node, target, "the target of a change")
            if values[0] != actual[0] or len(values) != len(actual):
                raise _UnlikeError(f"a change of another kind: {actual[0]}")
            for ours, theirs in zip(values[1:], actual[1:], strict=True):
                self._same(ours, theirs, "the value of a change")

    def _call(self, node: Call, kind: str, target: object, args: tuple, kwargs: dict) -> None:
        new = node.kind in (CallKind.NEWOBJ, CallKind.NEWOBJ_EX)
        bare = node.kind in (CallKind.INST, CallKind.OBJ) and not args  # a class is then not called, but created
        if new != (kind == _NEW) and not bare:
            raise _UnlikeError(f"{node.kind} {kind}")
        self._same(node.callable, target, "a callable")
        # Python's own unpickler takes anything that can be iterated for arguments.
        if isinstance(node.args, tuple):
            self._same(node.args, args, "arguments")
        elif self.witness.kind is _InC and self.outcome.finished:
            raise _UnlikeError("arguments that are no tuple")
        if isinstance(node.kwargs, Dictionary):
            self._same(node.kwargs, kwargs, "keyword arguments")

    def _changes(self):
        for mutation in self.graph.mutations:
            changed = isinstance(mutation.target, Global | Extension)
            if changed and self.real.get(id(mutation.target)) is not COMPUTED:  # a string records nothing
                match mutation.opcode:
                    case "BUILD":
                        yield mutation.target, "state", mutation.value
                    case "APPEND" | "APPENDS" | "ADDITEMS":
                        for value in mutation.value:
                            yield mutation.target, "element", value
                    case _:
                        for key, value in mutation.value:
                            yield mutation.target, "item", key, value

    def _end(self) -> None:
        if self.graph.failure is not None:
            raise _UnlikeError(f"reached STOP, and the machine did not: {self.graph.failure}")
        ends = [self.graph.end]
        if any(anomaly.kind == "frame" for anomaly in self.graph.anomalies):
            ends.append(len(self.stream))  # Python's own unpickler takes what there is of a frame that is too long
        if self.outcome.end not in ends:
            raise _UnlikeError(f"ended at {self.outcome.end}, the machine at {self.graph.end}")
        if self.witness.encoding != "bytes":
            self._same(self.graph.root, self.outcome.root, "the result")

    # Values

    def _same(self, node: object, value: object, what: str) -> None:
        pending = [(node, value)]
        while pending:
            node, value = pending.pop()
            key = (id(node), id(value))
            if key not in self.seen:
                self.seen.add(key)
                if not self._like(node, value, pending):
                    raise _UnlikeError(f"{what} differ: {type(node).__name__} and {type(value).__name__}")

    def _like(self, node, value, pending) -> bool:
        kind = type(node)
        if kind is str:
            return type(value) is str and value == node
        if kind is int or kind is bool:
            return type(value) in (int, bool) and (value == node or self.any_number)
        if node is None:
            return value is None
        if kind is float:
            return type(value) is float and struct.pack(">d", value) == struct.pack(">d", node)
        if kind is tuple:
            pending.extend(zip(node, value, strict=False) if type(value) is tuple else ())
            return type(value) is tuple and len(value) == len(node)
        if kind is list:
            return type(value) is list and self._list(node, value, pending)
        if kind is Dictionary:
            return type(value) is dict and self._dictionary(node, value, pending)
        if kind is SetNode:
            return type(value) is (frozenset if node.frozen else set) and self._set(node, value)
        if kind is Blob:
            return self._blob(node, value)
        if kind is Opaque:
            return type(value) is int
        if kind is OutOfBand:
            return isinstance(value, bytes | memoryview) and bytes(value) == b"buffer"
        return self._object(node, value, pending)

    def _list(self, node, value, pending) -> bool:
        if not self.deep:
            return True
        pending.extend(zip(node, value, strict=False))
        return len(node) == len(value)

    def _dictionary(self, node, value, pending) -> bool:
        if not self.deep:
            return True
        merged: dict[object, list] = {}
        for key, item in node.pairs:
            merged.setdefault(self._realised(key), [key, item])[1] = item
        if len(merged) != len(value):
            return False
        for (key, item), (actual_key, actual) in zip(merged.values(), value.items(), strict=True):
            pending.append((key, actual_key))
            pending.append((item, actual))
        return True

    def _set(self, node, value) -> bool:
        if not self.deep:
            return True
        ours = {self._realised(member) for member in node.members}
        return ours == value or ("nan" in repr(ours) and len(ours) == len(value))

    def _realised(self, node):
        """The hashable object that ``node`` became."""
        if isinstance(node, tuple):
            return tuple(map(self._realised, node))
        if isinstance(node, SetNode) and node.frozen:
            return frozenset(map(self._realised, node.members))
        if isinstance(node, Blob) and not node.mutable:
            raw = self._bytes(node)
            return raw.decode("latin1") if node.text else raw
        if id(node) in self.real:
            return self.real[id(node)]
        if isinstance(node, OutOfBand):
            return b"buffer"
        if isinstance(node, Opaque):
            return node
        try:
            hash(node)
        except TypeError:
            raise _UnlikeError("a witness hashed what cannot be hashed") from None
        return node

    def _bytes(self, node: Blob) -> bytes:
        return node.value if node.value is not None else self.stream[node.start : node.start + node.length]

    def _blob(self, node: Blob, value: object) -> bool:
        if node.text:
            return type(value) is str and value.encode("latin1", "replace") == self._bytes(node)
        if isinstance(value, memoryview):  # READONLY_BUFFER
            value = bytes(value) if not node.mutable else bytearray(value)
        return type(value) is (bytearray if node.mutable else bytes) and (not self.deep or value == self._bytes(node))

    def _object(self, node, value, pending) -> bool:
        missing = object()
        known = self.real.get(id(node), missing)
        if known is missing or (known is not value and not (known == value == COMPUTED)):
            return False
        if isinstance(node, Call) and isinstance(value, _Made) and self.deep:
            for ours, theirs in ((node.states, value.states), (node.elements, value.elements)):
                pending.extend(zip(ours, theirs, strict=False))
                if len(ours) != len(theirs):
                    return False
            if len(node.items) != len(value.items):
                return False
            for (key, item), (actual_key, actual) in zip(node.items, value.items, strict=True):
                pending.append((key, actual_key))
                pending.append((item, actual))
        return isinstance(node, Call | Global | Extension | Persistent)


def register_extensions() -> None:
    """Give every code of ``EXTENSIONS`` a name, in this process."""
    for code in EXTENSIONS:
        with contextlib.suppress(ValueError):
            copyreg.add_extension(_EXTENSION_MODULE, str(code), code)


register_extensions()
