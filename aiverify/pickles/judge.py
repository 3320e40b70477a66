"""From a graph to findings: default deny, by use.

A stream is silent when it reached STOP, and every global in it is trusted for each way in which it is used. Rules:

1. A name that is computed, or comes from the extension registry, is never trusted.
2. A name that is known to be dangerous is a critical finding, whatever is done with it.
3. Only a global on the trusted table may be called, and only with arguments that its rule accepts.
4. Only an object that the same stream created may be changed, and only in ways that its entry lists.
5. A persistent id must be a storage of the container, as the caller says.
6. What a function is handed to create or to call is judged as if the stream created or called it.
7. What native code reads without checking it is said, and is no alarm by itself.
8. What happened before a stream broke off is judged like anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from aiverify.finding import Finding, Severity
from aiverify.pickles.arguments import Checker
from aiverify.pickles.decompile import Calls, render, shorten, shown
from aiverify.pickles.graph import Call, Global, Graph, Value
from aiverify.pickles.making import attribute, is_direct, making
from aiverify.pickles.positions import UNREAD, Positions
from aiverify.pickles.reading import Buffer
from aiverify.pickles.repeats import repeats
from aiverify.pickles.tables import Entry, Use, danger, entry_of
from aiverify.pickles.uses import Sighting, is_storage_id, sightings, storage_bytes
from aiverify.rules import finding

_MOST = 1000
_WORDS = {
    Use.REFERENCE: "held as a value",
    Use.NEW: "created without being called",
    Use.CONSTRUCT: "called",
    Use.BUILD: "given state",
    Use.FILL: "filled",
    Use.EXTEND: "appended to",
    Use.HASH: "hashed",
    Use.ARGUMENT: "passed to a call",
    Use.PERSISTENT: "named in a persistent id",
}


def judge(
    graph: Graph,
    *,
    file: str,
    member: str | None = None,
    storages: bool | Set[str] | Mapping[str, int] = False,
    trust: Set[str] = frozenset(),
    data: Buffer | None = None,
) -> list[Finding]:
    """The findings about one stream.

    ``storages`` tells that the container supplies tensor storages for persistent ids, as torch files do, or under which
    keys it does, and of how many bytes each is. ``trust`` are dotted names that the user's policy trusts for every use;
    a dangerous name cannot be trusted this way. ``data`` is what ``graph`` was read from: with it, positions in arrays
    are looked at.
    """
    judgement = _Judgement(graph, file, member, storages, trust, data)
    return list(judgement.few(judgement.findings()))


@dataclass(slots=True)
class _Judgement:
    graph: Graph
    file: str
    member: str | None
    storages: bool | Set[str] | Mapping[str, int]
    trust: Set[str]
    data: Buffer | None

    def findings(self) -> Iterator[Finding]:
        yield from self._names()
        yield from self._calls()
        yield from self._changes()
        yield from self._ids()
        yield from self._form()

    def few(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Of each rule no more than a person reads; what is left out is counted."""
        counts: Counter[str] = Counter()
        for item in findings:
            counts[item.rule] += 1
            if counts[item.rule] <= _MOST:
                yield item
        for rule, count in counts.items():
            if count > _MOST:
                yield self._finding(rule, f"{count - _MOST} more findings like these", self.graph.start)

    def _finding(self, rule: str, message: str, offset: int, **evidence: object) -> Finding:
        return finding(rule, message, file=self.file, member=self.member, offset=offset, evidence=evidence)

    # Rules 1 and 2, and the uses of trusted names

    def _names(self) -> Iterator[Finding]:
        for found in self.graph.globals:
            if found.module is None:
                yield self._finding("AIV304", "the name of an import is computed while loading", found.offset)
        calls = Calls(self.graph)
        for sighting in sightings(self.graph):
            yield from self._name(sighting, calls)
        for extension in self.graph.extensions[:1]:
            yield self._finding("AIV305", f"uses extension code {extension.code}", extension.offset)

    def _name(self, sighting: Sighting, calls: Calls) -> Iterator[Finding]:
        found = sighting.example
        effect, uses, entry = danger(found), sorted(sighting.uses), entry_of(found)
        if effect is not None:
            text = f"names {_written(found)}, which {effect}"
        elif found.dotted in self.trust:
            return
        elif entry is None:
            how = ", ".join(_WORDS[use] for use in uses)
            text = f"names {_written(found)}, which is not on the trusted table ({how})"
        else:
            for use in sorted(sighting.uses - entry.uses):
                text = f"{found.dotted} is {_WORDS[use]}, which ordinary files do not do with it"
                yield self._finding("AIV303", text, found.offset, **{"global": found.dotted}, uses=[use])
            return
        yield self._finding(
            "AIV301" if effect is not None else "AIV302",
            text,
            found.offset,
            **{"global": shorten(found.dotted)},
            uses=uses,
            payload=calls.of(found),
        )

    # Rules 3, 6 and 7

    def _calls(self) -> Iterator[Finding]:
        said: set[tuple[str, str]] = set()
        checker, positions = Checker(), Positions(self.data)
        native: dict[str, tuple[Entry, Call]] = {}
        makers: dict[int, tuple[Global, str, Entry | None]] = {}  # a stream names a thing once, and calls it often
        for call in self.graph.calls:
            made = None if is_direct(call) else making(call)
            maker, args, kwargs = (call.callable, call.args, call.kwargs) if made is None else made.called
            if not isinstance(maker, Global):
                complaint, name = "calls something that is itself computed", ""
            else:
                if id(maker) not in makers:
                    makers[id(maker)] = maker, maker.dotted, entry_of(maker)
                _, name, entry = makers[id(maker)]
                if entry is None or name in self.trust or (made is not None and attribute(call) is not None):
                    continue
                complaint = checker.arguments(entry, args, kwargs) or checker.changes(entry, call) or ""
                where = None if complaint or entry.positions is None else positions(entry.positions, call)
                if entry.native is not None or where is UNREAD:
                    native.setdefault(name, (entry, call))
                elif where is not None:
                    complaint = where
            if complaint and (name, complaint) not in said:
                said.add((name, complaint))
                text = f"{name} is used with {complaint}" if name else complaint
                yield self._finding("AIV303", shorten(text), call.offset, **{"global": name}, payload=shown(call))
        for name, (entry, call) in native.items():
            text = f"native code reads {entry.native or 'positions'} of {name} out of the file"
            yield self._finding("AIV314", text, call.offset, **{"global": name})

    # Rule 4

    def _changes(self) -> Iterator[Finding]:
        for mutation in self.graph.mutations:
            if isinstance(mutation.target, Global):
                yield self._finding(
                    "AIV310",
                    f"{mutation.opcode} changes {shorten(mutation.target.dotted)} itself",
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
        keys = None if isinstance(self.storages, bool) else self.storages
        held = self.storages if isinstance(self.storages, Mapping) else {}
        for persistent in self.graph.persistents:
            if self.storages is False or not is_storage_id(persistent, keys):
                yield self._finding("AIV306", "asks the loader for an object under an unexpected id", persistent.offset)
                return
            key, wanted = str(persistent.pid[2]) if isinstance(persistent.pid, tuple) else "", storage_bytes(persistent)
            if wanted > held.get(key, wanted):
                text = f"asks for a storage of {wanted} bytes, of which the container holds {held[key]}"
                yield self._finding("AIV306", text, persistent.offset)
                return

    # Rule 8, and the form of the stream

    def _form(self) -> Iterator[Finding]:
        graph = self.graph
        if graph.failure is not None:
            yield self._finding("AIV307", f"cannot be read on: {graph.failure}", graph.failure_offset)
        repeated = repeats(graph)
        anomalies = [*graph.anomalies, *([repeated] if repeated is not None else ())]
        for anomaly in {anomaly.kind: anomaly for anomaly in reversed(anomalies)}.values():
            grave = Severity.CRITICAL if anomaly.kind == "torn" else None
            yield finding(
                "AIV311", anomaly.text, file=self.file, severity=grave, member=self.member, offset=anomaly.offset
            )


def _written(found: Global) -> str:
    """The name for a person, and how the stream writes it where that differs."""
    module, name = found.written
    same = (module, name) == (found.module, found.name) and "." not in name
    return shorten(found.dotted) if same else f"{shorten(found.dotted)} (written {shorten(module)}:{shorten(name)})"


def _kind(value: Value) -> str:
    return "a literal" if value is None or isinstance(value, bool | int | float | str | tuple) else "a node"
