"""From a graph to findings: default deny, by use.

A stream is silent when it reached STOP, and every global in it is trusted for each way in which it is used. Rules:

1. A name that is computed, or comes from the extension registry, is never trusted.
2. A name that is known to be dangerous is a critical finding, whatever is done with it.
3. Only a global on the trusted table may be called, and only with arguments that its rule accepts.
4. Only an object that the same stream created may be changed, and only in ways that its entry lists.
5. A persistent id must be a storage of the container, as the caller says.
6. What happened before a stream broke off is judged like anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from aiverify.finding import Finding
from aiverify.pickles.arguments import check_arguments, check_state
from aiverify.pickles.decompile import decompile, render
from aiverify.pickles.graph import Call, Global, Graph, Value
from aiverify.pickles.tables import Entry, Use, danger, trusted
from aiverify.pickles.uses import is_storage_id, sightings
from aiverify.rules import finding

_WORDS = {
    Use.REFERENCE: "held as a value",
    Use.NEW: "created without being called",
    Use.CONSTRUCT: "called",
    Use.BUILD: "given state",
    Use.FILL: "filled",
    Use.HASH: "hashed",
    Use.ARGUMENT: "passed to a call",
    Use.PERSISTENT: "named in a persistent id",
}


def judge(
    graph: Graph,
    *,
    file: str,
    member: str | None = None,
    storages: bool = False,
    trust: Set[str] = frozenset(),
) -> list[Finding]:
    """The findings about one stream.

    ``storages`` tells that the container supplies tensor storages for persistent ids, as torch files do. ``trust`` are
    dotted names that the user's policy trusts for every use; a dangerous name cannot be trusted this way.
    """
    return list(_Judgement(graph, file, member, storages, trust).findings())


@dataclass(slots=True)
class _Judgement:
    graph: Graph
    file: str
    member: str | None
    storages: bool
    trust: Set[str]

    def findings(self) -> Iterator[Finding]:
        yield from self._names()
        yield from self._calls()
        yield from self._changes()
        yield from self._ids()
        yield from self._form()

    def _finding(self, rule: str, message: str, offset: int, **evidence: object) -> Finding:
        return finding(rule, message, file=self.file, member=self.member, offset=offset, evidence=evidence)

    # Rules 1 and 2, and the uses of trusted names

    def _names(self) -> Iterator[Finding]:
        for found in self.graph.globals:
            if found.module is None:
                yield self._finding("AIV304", "the name of an import is computed while loading", found.offset)
        for name, sighting in sightings(self.graph).items():
            effect = danger(sighting.example)
            uses = sorted(sighting.uses)
            entry = trusted().get(name)
            if effect is not None:
                yield self._finding(
                    "AIV301",
                    f"names {_written(sighting.example)}, which {effect}",
                    sighting.example.offset,
                    **{"global": name},
                    uses=uses,
                    payload=decompile(self.graph, sighting.example),
                )
            elif name in self.trust:
                continue
            elif entry is None:
                how = ", ".join(_WORDS[use] for use in uses)
                yield self._finding(
                    "AIV302",
                    f"names {_written(sighting.example)}, which is not on the trusted table ({how})",
                    sighting.example.offset,
                    **{"global": name},
                    uses=uses,
                    payload=decompile(self.graph, sighting.example),
                )
            else:
                for use in sorted(sighting.uses - entry.uses):
                    yield self._finding(
                        "AIV303",
                        f"{name} is {_WORDS[use]}, which ordinary files do not do with it",
                        sighting.example.offset,
                        **{"global": name},
                        uses=[use],
                    )
        for extension in self.graph.extensions[:1]:
            yield self._finding("AIV305", f"uses extension code {extension.code}", extension.offset)

    # Rule 3

    def _calls(self) -> Iterator[Finding]:
        said: set[tuple[str, str]] = set()
        for call in self.graph.calls:
            if not isinstance(call.callable, Global):
                complaint, name = "calls something that is itself computed", ""
            else:
                name = call.callable.dotted
                entry = trusted().get(name)
                if entry is None or name in self.trust:
                    continue
                complaint = self._complaint(entry, call) or ""
            if complaint and (name, complaint) not in said:
                said.add((name, complaint))
                text = f"{name} is used with {complaint}" if name else complaint
                yield self._finding(
                    "AIV303", text, call.offset, **{"global": name}, payload=decompile(self.graph, call)
                )

    @staticmethod
    def _complaint(entry: Entry, call: Call) -> str | None:
        if entry.arguments is not None and (complaint := check_arguments(entry.arguments, call)):
            return complaint
        if entry.state is not None:
            for state in call.states:
                if complaint := check_state(entry.state, entry.keys, state):
                    return complaint
        return None

    # Rule 4

    def _changes(self) -> Iterator[Finding]:
        for mutation in self.graph.mutations:
            if isinstance(mutation.target, Global):
                yield self._finding(
                    "AIV310",
                    f"{mutation.opcode} changes {mutation.target.dotted} itself",
                    mutation.offset,
                    payload=render(mutation),
                )
                return
        for mutation in self.graph.mutations[:1]:
            yield self._finding(
                "AIV311",
                f"{mutation.opcode} on {_kind(mutation.target)}, which the stream did not create as an object",
                mutation.offset,
            )

    # Rule 5

    def _ids(self) -> Iterator[Finding]:
        for persistent in self.graph.persistents:
            if not (self.storages and is_storage_id(persistent)):
                yield self._finding("AIV306", "asks the loader for an object under an unexpected id", persistent.offset)
                return

    # Rule 6, and the form of the stream

    def _form(self) -> Iterator[Finding]:
        graph = self.graph
        if graph.failure is not None:
            yield self._finding("AIV307", f"cannot be read on: {graph.failure}", graph.failure_offset)
        for anomaly in {anomaly.kind: anomaly for anomaly in reversed(graph.anomalies)}.values():
            yield self._finding("AIV311", anomaly.text, anomaly.offset)


def _written(found: Global) -> str:
    written = ".".join(found.written)
    return found.dotted if written == found.dotted else f"{found.dotted} (written {written})"


def _kind(value: Value) -> str:
    return "a literal" if value is None or isinstance(value, bool | int | float | str | tuple) else "a node"
