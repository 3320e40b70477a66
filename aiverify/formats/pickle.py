"""Pickle streams in a run of bytes: every stream up to the end is interpreted and judged.

A stream of joblib has raw arrays between its opcodes. It is read as joblib reads it and, because any other unpickler
takes the arrays for opcodes, as those do, too. Byte strings that a callable would load are followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace

from aiverify.finding import Finding, Unexamined
from aiverify.formats.hyperparameters import judge_hyperparameters
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.joblib import RawArrays, companion_complaint
from aiverify.formats.loads import follow_loads
from aiverify.formats.nesting import Nesting
from aiverify.pickles.engine import Opinion
from aiverify.pickles.graph import Graph
from aiverify.pickles.judge import judge
from aiverify.pickles.machine import Buffer, interpret
from aiverify.rules import finding

_MAX_STREAMS = 10_000
_BY_NAME = frozenset(("AIV301", "AIV302"))
_ON_NAMES = _BY_NAME | {"AIV303", "AIV304", "AIV305", "AIV306", "AIV310"}
_SHOWN_WITH = frozenset(("AIV301",))
_DANGEROUS = frozenset(("AIV301", "AIV305"))


def examine_pickle(data: Buffer, path: str, options: ScanOptions, nesting: Nesting | None = None) -> Examination:
    """A file that is nothing but pickle streams."""
    examination = Examination(format=Format.PICKLE)
    for _ in examine_streams(data, 0, examination, path, options, nesting):
        pass
    return examination


def examine_streams(
    data: Buffer,
    start: int,
    examination: Examination,
    path: str,
    options: ScanOptions,
    nesting: Nesting | None = None,
    *,
    member: str | None = None,
    storages: bool | Set[str] | Mapping[str, int] = False,
    stop_before: bytes = b"",
) -> Iterator[Graph]:
    """Judge every stream from ``start`` to the end of ``data``, or to ``stop_before``; yields the graph of each.

    Bytes behind the last stream that are no pickle are a finding. ``nesting`` is needed to follow byte strings.
    """
    options.engines.prepare()
    for number in range(_MAX_STREAMS):
        raw = RawArrays(data)
        graph = interpret(data, start, after_build=raw.after_build)
        if number and graph.failure is not None and not (graph.globals or graph.extensions or graph.budget_hit):
            examination.findings.append(
                finding(
                    "AIV308", f"{len(data) - start} bytes follow the pickle", file=path, member=member, offset=start
                )
            )
            return
        examine_stream(data, graph, examination, path, options, nesting, member=member, storages=storages, raw=raw)
        yield graph
        if graph.failure is not None or graph.end >= len(data):
            return
        start = graph.end
        if stop_before and bytes(data[start : start + len(stop_before)]) == stop_before:
            return
    examination.unexamined.append(
        Unexamined(file=path, member=member, reason=f"more than {_MAX_STREAMS} pickle streams")
    )


def examine_stream(
    data: Buffer,
    graph: Graph,
    examination: Examination,
    path: str,
    options: ScanOptions,
    nesting: Nesting | None = None,
    *,
    member: str | None = None,
    storages: bool | Set[str] | Mapping[str, int] = False,
    raw: RawArrays | None = None,
) -> None:
    """Judge one interpreted stream, and ask the other engines about the same bytes.

    ``raw`` is what joblib reads between its opcodes, ``nesting`` what byte strings are examined by.
    """
    findings = judge(graph, file=path, member=member, storages=storages, trust=options.trust, data=data)
    if graph.failure is not None:
        reason = f"the pickle breaks off at byte {graph.failure_offset}: {graph.failure}"
        examination.unexamined.append(Unexamined(file=path, member=member, reason=reason))
    stream = data, graph.start, graph.end
    if raw is not None and raw.skipped:
        opcodes = raw.opcodes(graph.start, graph.end)
        stream = opcodes, 0, len(opcodes)
    weigh = _Weighing(graph, path, member)
    if any(item.rule in _SHOWN_WITH for item in findings):
        for opinion in options.engines.opinions(*stream, graph.opcodes):
            findings = [_with_opinion(item, opinion) for item in findings]
            findings += weigh([opinion])
    elif options.later:
        answers = options.engines.ask(*stream, graph.opcodes)
        examination.awaited.append(lambda: weigh(answers()))
    else:
        findings += weigh(options.engines.opinions(*stream, graph.opcodes, shown=False))
    examination.findings += findings
    examination.findings += judge_hyperparameters(graph, path, member)
    follow_loads(data, graph, examination, path, options, nesting, member=member)
    if raw is not None and raw.begin is not None:
        _examine_arrays(raw, graph, examination, path, options, nesting, member=member)


def _examine_arrays(
    raw: RawArrays,
    graph: Graph,
    examination: Examination,
    path: str,
    options: ScanOptions,
    nesting: Nesting | None,
    *,
    member: str | None,
) -> None:
    """Judge what joblib reads beside the opcodes of ``graph``, and what other unpicklers make of the same bytes."""
    for inner in raw.nested:
        examine_stream(raw.data, inner, examination, path, options, nesting, member=member)
    for name, offset in raw.files:
        rule, text = companion_complaint(name)
        examination.findings.append(finding(rule, text, file=path, member=member, offset=offset))
    examination.findings += _read_otherwise(raw, graph, path, options, member)


def _read_otherwise(
    raw: RawArrays, graph: Graph, path: str, options: ScanOptions, member: str | None
) -> Iterator[Finding]:
    """What an unpickler that does not know joblib's arrays would do with their bytes.

    It counts objects on through the pickle of an array of objects, whose own count begins anew, and so takes one name
    for another: behind such an array only names that are known to be dangerous count.
    """
    rules = _DANGEROUS if raw.nested else _ON_NAMES
    known = {(found.module, found.name) for part in (graph, *raw.nested) for found in part.globals}
    other = interpret(raw.data, graph.start)
    strange = {found.offset for found in other.globals if (found.module, found.name) not in known}
    for item in judge(other, file=path, member=member, trust=options.trust, data=raw.data):
        offset = item.location.offset or 0
        if offset < (raw.begin or 0) or item.rule not in rules or (item.rule in _BY_NAME and offset not in strange):
            continue
        yield replace(item, message=f"to an unpickler that does not know joblib's arrays: {item.message}")


class _Weighing:
    """What other engines said about a stream, compared with the names that the machine saw in it.

    Of its graph only these are kept: it is large, and the answers may come late.
    """

    def __init__(self, graph: Graph, path: str, member: str | None) -> None:
        self._globals, self._start = graph.globals, graph.start
        self._path, self._member = path, member

    def __call__(self, opinions: Iterable[Opinion]) -> list[Finding]:
        """Only a name that the machine lacks is more than a remark."""
        findings: list[Finding] = []
        for opinion in opinions:
            if opinion.incomplete is not None:
                text = f"second engine incomplete: {opinion.engine}: {opinion.incomplete}"
                findings.append(self._finding("AIV312", text))
            elif missing := self._missing(opinion):
                text = f"{opinion.engine} names {', '.join(missing[:5])}, which the machine did not see"
                findings.append(self._finding("AIV309", text))
        return findings

    def _missing(self, opinion: Opinion) -> list[str]:
        if any(found.module is None for found in self._globals):  # a computed name may be any of them
            return []
        ours = {found.written for found in self._globals}
        ours |= {(found.module, found.name) for found in self._globals if found.module is not None}
        return sorted(".".join(name) for name in opinion.names - ours)

    def _finding(self, rule: str, text: str) -> Finding:
        return finding(rule, text, file=self._path, member=self._member, offset=self._start)


def _with_opinion(item: Finding, opinion: Opinion) -> Finding:
    if item.rule not in _SHOWN_WITH or opinion.incomplete is not None:
        return item
    said = {"engine": opinion.engine, "severity": opinion.severity, "source": (opinion.source or "")[:4000]}
    evidence = dict(item.evidence)
    further = evidence.get("further_engines", [])
    if "second_engine" not in evidence:
        evidence["second_engine"] = said
    elif isinstance(further, list):
        evidence["further_engines"] = [*further, said]
    return finding(
        item.rule,
        item.message,
        file=item.file,
        severity=item.severity,
        member=item.location.member,
        offset=item.location.offset,
        evidence=evidence,
    )
