"""Which names a graph holds, and every way in which it uses each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiverify.pickles.graph import CallKind, Dictionary, Global, Graph, Persistent, SetNode, Value
from aiverify.pickles.tables import Use

_USE_OF_CALL = {
    CallKind.REDUCE: Use.CONSTRUCT,
    CallKind.INST: Use.CONSTRUCT,
    CallKind.OBJ: Use.CONSTRUCT,
    CallKind.NEWOBJ: Use.NEW,
    CallKind.NEWOBJ_EX: Use.NEW,
}


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


def is_storage_id(node: Persistent) -> bool:
    """Whether the id is torch's ``('storage', type, key, location, size[, view])``. Source: torch/serialization.py."""
    pid = node.pid
    return (
        isinstance(pid, tuple)
        and len(pid) in (5, 6)
        and pid[0] == "storage"
        and isinstance(pid[1], Global)
        and isinstance(pid[2], str)
        and isinstance(pid[3], str)
        and isinstance(pid[4], int)
        and (len(pid) == 5 or pid[5] is None or isinstance(pid[5], tuple))
    )


class _Search:
    __slots__ = ("arguments", "graph", "pending", "seen", "table")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.table: dict[tuple[str | None, str], Sighting] = {}
        self.pending: list[Value] = []
        self.seen: set[int] = set()
        self.arguments: set[int] = set()
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
        for sighting in self.table.values():
            if not sighting.uses:  # read and thrown away: importing it is a use, too
                sighting.uses.add(Use.REFERENCE)

    def _value(self, value: Value, use: Use) -> None:
        if isinstance(value, Global):
            if value.module is not None:
                self.table[value.module, value.name].uses.add(use)
        elif isinstance(value, tuple | list | Dictionary | SetNode):
            self.pending.append(value)

    def _values(self, values: Sequence[Value], use: Use) -> None:
        for value in values:
            self._value(value, use)

    def _pairs(self, pairs: Sequence[tuple[Value, Value]]) -> None:
        for key, value in pairs:
            self._value(key, Use.HASH)
            self._value(value, Use.REFERENCE)

    def _calls(self) -> None:
        for call in self.graph.calls:
            self._value(call.callable, _USE_OF_CALL[call.kind])
            if not isinstance(call.args, tuple):
                self._value(call.args, Use.ARGUMENT)
            elif id(call.args) not in self.arguments:  # calls may share their arguments
                self.arguments.add(id(call.args))
                self._values(call.args, Use.ARGUMENT)
            self._value(call.kwargs, Use.ARGUMENT)
            if call.states:
                self._value(call.callable, Use.BUILD)
                self._values(call.states, Use.REFERENCE)
            if call.items or call.elements:
                self._value(call.callable, Use.FILL)
                self._pairs(call.items)
                self._values(call.elements, Use.REFERENCE)

    def _ids(self) -> None:
        for persistent in self.graph.persistents:
            if is_storage_id(persistent) and isinstance(persistent.pid, tuple):
                self._value(persistent.pid[1], Use.PERSISTENT)
            else:
                self._value(persistent.pid, Use.REFERENCE)

    def _containers(self) -> None:
        while self.pending:
            value = self.pending.pop()
            if id(value) in self.seen:
                continue
            self.seen.add(id(value))
            if isinstance(value, Dictionary):
                self._pairs(value.pairs)
            elif isinstance(value, SetNode):
                self._values(value.members, Use.HASH)
            elif isinstance(value, tuple | list):
                self._values(value, Use.REFERENCE)
