"""Arguments that a stream goes on filling after a call has taken them.

The graph shows a list or dict as it is at the end of the stream. A callable that copies its argument, as a set or an
OrderedDict does, or looks at it only once, as torch's functions do, has seen less. Lists and dicts only grow, so
nothing is hidden from a judge; but whoever takes values from the graph would take too many.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiverify.pickles.graph import Anomaly, Call, CallKind, Dictionary, Global, Graph, Value
from aiverify.pickles.machine import Buffer, _Machine
from aiverify.pickles.reading import DEFAULT_BUDGET, Budget

_LONG = 16
_COPYING = frozenset({"builtins", "collections", "torch._tensor", "torch._utils"})


def note_growth(data: Buffer, graph: Graph) -> None:
    """Add an anomaly to ``graph``, read from ``data``, if an argument of a call in it grows after the call.

    Only calls into ``_COPYING`` count, and only a stream with such calls of filled lists or dicts is read again for it.
    """
    seen: set[int] = set()
    if graph.failure is None and any(map(_length, (held for call in graph.calls for held in _held(call, seen)))):
        again = _Watching(data, graph.start, DEFAULT_BUDGET)
        again.after_build = None
        again.run()
        grown = next((offset for held, length, offset in again.given if _length(held) != length), None)
        if grown is not None:
            graph.anomalies.append(Anomaly("argument", "an argument is changed after a call took it", grown))


class _Watching(_Machine):
    """A run that remembers how long the lists and dicts were that a call took."""

    __slots__ = ("given", "seen")

    given: list[tuple[list[Value] | Dictionary, int, int]]
    seen: set[int]

    def __init__(self, data: Buffer, start: int, budget: Budget) -> None:
        super().__init__(data, start, budget)
        self.given = []
        self.seen = set()

    def _call(self, kind: CallKind, target: Value, args: Value, kwargs: Value = None) -> None:
        super()._call(kind, target, args, kwargs)
        self.given += [(held, _length(held), self.offset) for held in _held(self.graph.calls[-1], self.seen)]


def _held(call: Call, seen: set[int]) -> Iterator[list[Value] | Dictionary]:
    """The lists and dicts among the arguments of a call, and among those that it hands on as a tuple.

    A long tuple that calls share is gone through once: its lists were as long as they are now, or shorter.
    """
    if not isinstance(call.callable, Global) or call.callable.module not in _COPYING:
        return
    for part in _parts(call.args, seen):
        if isinstance(part, list | Dictionary):
            yield part
        else:
            yield from (inner for inner in _parts(part, seen) if isinstance(inner, list | Dictionary))


def _parts(value: Value, seen: set[int]) -> tuple[Value, ...]:
    if not isinstance(value, tuple):
        return ()
    if len(value) > _LONG:
        if id(value) in seen:
            return ()
        seen.add(id(value))
    return value


def _length(held: list[Value] | Dictionary) -> int:
    return len(held.pairs if isinstance(held, Dictionary) else held)
