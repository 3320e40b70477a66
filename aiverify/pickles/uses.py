"""Which names a graph holds, and every way in which it uses each of them."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from aiverify.pickles.graph import Blob, Call, Dictionary, Global, Graph, Persistent, SetNode, Value
from aiverify.pickles.making import USE_OF_KIND, attribute, is_direct, making
from aiverify.pickles.tables import Use

# A torch device, as torch writes it into the persistent id of a storage. Source: torch/serialization.py, location_tag
_LOCATION = re.compile(r"(?:cpu|cuda|meta|mps|xpu|npu|hpu|mtia|mlu|ipu|xla|vulkan|privateuseone)(?::[0-9]{1,4})?")
# Bytes of an element by the type of its storage; those of all others are one byte. Source: torch/__init__.py
_WIDTHS = {
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_SETS = frozenset(("set", "frozenset"))
_LEAVES = frozenset((str, int, float, bool, type(None), Blob, Persistent))


@dataclass(slots=True)
class Sighting:
    """A name where it was first seen, and everything that is done with it."""

    example: Global
    uses: set[Use] = field(default_factory=set)


def sightings(graph: Graph) -> list[Sighting]:
    """Every literal name in ``graph``, in the order of the stream. Linear in the size of the graph.

    Names that differ in where the module ends are different names, though they look alike when written with dots.
    """
    search = _Search(graph)
    if search.table:
        search.run()
    return list(search.table.values())


def storage_bytes(node: Persistent) -> int:
    """How many bytes the storage has that the id of ``node`` asks for; nothing is known of an unknown type."""
    _, kind, _, _, count = node.pid[:5] if isinstance(node.pid, tuple) else (None, None, None, None, 0)
    width = _WIDTHS.get(kind.name.removesuffix("Storage"), 1) if isinstance(kind, Global) else 1
    return width * count if isinstance(count, int) else 0


def is_storage_id(node: Persistent, keys: Container[str] | None = None) -> bool:
    """Whether the id is torch's ``('storage', type, key, location, size[, view])``. Source: torch/serialization.py.

    ``keys`` are the storages that the container holds, where that is known before the stream is judged.
    """
    pid = node.pid
    return (
        isinstance(pid, tuple)
        and len(pid) in (5, 6)
        and pid[0] == "storage"
        and isinstance(pid[1], Global)
        and isinstance(pid[2], str)
        and isinstance(pid[3], str)
        and _LOCATION.fullmatch(pid[3]) is not None
        and isinstance(pid[4], int)
        and (keys is None or pid[2] in keys)
        and (len(pid) == 5 or pid[5] is None or isinstance(pid[5], tuple))
    )


class _Search:
    __slots__ = ("arguments", "excused", "graph", "pending", "seen", "table")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.table: dict[tuple[str | None, str], Sighting] = {}
        self.pending: list[tuple[Value, Use]] = []
        self.seen: set[tuple[int, Use]] = set()
        self.arguments: set[tuple[int, bool]] = set()
        self.excused: set[tuple[str | None, str]] = set()
        for found in graph.globals:
            if found.module is not None:
                self.table.setdefault((found.module, found.name), Sighting(found))

    def run(self) -> None:
        self._value(self.graph.root, Use.REFERENCE)
        self._calls()
        self._ids()
        for mutation in self.graph.mutations:
            self._value(mutation.target, Use.BUILD)
            self._value(mutation.value, Use.REFERENCE)
        self._containers()
        for name, sighting in list(self.table.items()):
            if sighting.uses:
                continue
            if name in self.excused:
                del self.table[name]
            else:  # read and thrown away: importing it is a use, too
                sighting.uses.add(Use.REFERENCE)

    def _value(self, value: Value, use: Use) -> None:
        if type(value) in _LEAVES:  # nearly all values are: asked first, because it is asked of every value
            return
        if isinstance(value, Global):
            if value.module is not None:
                sighting = self.table.get((value.module, value.name))
                if sighting is None:  # a name inside of a class, reached through it
                    sighting = self.table[value.module, value.name] = Sighting(value)
                sighting.uses.add(use)
        elif isinstance(value, tuple | SetNode):  # what is hashed hashes what it holds
            self.pending.append((value, Use.HASH if use is Use.HASH else Use.REFERENCE))
        elif isinstance(value, list | Dictionary):
            self.pending.append((value, Use.REFERENCE))
        elif isinstance(value, Call):
            inner = attribute(value)
            if inner is not None:
                self._value(inner, use)
            elif use is Use.HASH:
                self._value(making(value).maker, Use.HASH)

    def _values(self, values: Sequence[Value], use: Use) -> None:
        for value in values:
            self._value(value, use)

    def _pairs(self, pairs: Sequence[tuple[Value, Value]]) -> None:
        for key, value in pairs:
            self._value(key, Use.HASH)
            self._value(value, Use.REFERENCE)

    def _calls(self) -> None:
        for call in self.graph.calls:
            maker = call.callable
            if is_direct(call):
                self._value(maker, USE_OF_KIND[call.kind])
                self._arguments(call.args)
            elif attribute(call) is None or call.states or call.items or call.elements:
                maker = self._handed_on(call)
            else:
                self._excuse(call)
                continue
            self._value(call.kwargs, Use.ARGUMENT)
            if call.states:
                self._value(maker, Use.BUILD)
                self._values(call.states, Use.REFERENCE)
            if call.items:
                self._value(maker, Use.FILL)
                self._pairs(call.items)
            if call.elements:
                self._value(maker, Use.EXTEND)
                self._values(call.elements, Use.HASH if _is_set(maker) else Use.REFERENCE)

    def _handed_on(self, call: Call) -> Value:
        """A call that may hand a class on; returns what makes the object."""
        made = making(call)
        self._value(made.through, Use.CONSTRUCT)
        self._value(made.maker, made.use)
        self._arguments(call.args, created=made.through is not None)
        if made.filled is not None:
            self._value(made.maker, Use.EXTEND if isinstance(made.filled, list) else Use.FILL)
        return made.maker

    def _arguments(self, args: Value, *, created: bool = False) -> None:
        """``created`` tells that the first argument is a class to create: its use is known already."""
        if not isinstance(args, tuple):
            self._value(args, Use.ARGUMENT)
        elif (id(args), created) not in self.arguments:  # calls may share their arguments
            self.arguments.add((id(args), created))
            self._values(args[1:] if created else args, Use.ARGUMENT)

    def _excuse(self, call: Call) -> None:
        """A ``getattr`` that reaches a trusted name is judged as that name, wherever it is used."""
        parts = (call.callable, call.args[0] if isinstance(call.args, tuple) else None)
        self.excused.update((part.module, part.name) for part in parts if isinstance(part, Global))

    def _ids(self) -> None:
        for persistent in self.graph.persistents:
            if is_storage_id(persistent) and isinstance(persistent.pid, tuple):
                self._value(persistent.pid[1], Use.PERSISTENT)
            else:
                self._value(persistent.pid, Use.REFERENCE)

    def _containers(self) -> None:
        while self.pending:
            value, use = self.pending.pop()
            if (id(value), use) in self.seen:
                continue
            self.seen.add((id(value), use))
            if isinstance(value, Dictionary):
                self._pairs(value.pairs)
            elif isinstance(value, SetNode):
                self._values(value.members, Use.HASH)
            elif isinstance(value, tuple | list):
                self._values(value, use)


def _is_set(maker: Value) -> bool:
    return isinstance(maker, Global) and maker.module == "builtins" and maker.name in _SETS
