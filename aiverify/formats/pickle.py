"""Pickle streams in a run of bytes: every stream up to the end is interpreted and judged."""

from __future__ import annotations

from collections.abc import Iterator

from aiverify.finding import Finding, Unexamined
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.pickles.engine import Opinion
from aiverify.pickles.graph import Graph
from aiverify.pickles.judge import judge
from aiverify.pickles.machine import Buffer, interpret
from aiverify.rules import finding

_MAX_STREAMS = 10_000


def examine_pickle(data: Buffer, path: str, options: ScanOptions) -> Examination:
    """A file that is nothing but pickle streams."""
    examination = Examination(format=Format.PICKLE)
    for _ in examine_streams(data, 0, examination, path, options):
        pass
    return examination


def examine_streams(
    data: Buffer,
    start: int,
    examination: Examination,
    path: str,
    options: ScanOptions,
    *,
    member: str | None = None,
    storages: bool = False,
) -> Iterator[Graph]:
    """Judge every stream from ``start`` to the end of ``data``; yields the graph of each.

    Bytes behind the last stream that are no pickle are a finding.
    """
    for number in range(_MAX_STREAMS):
        graph = interpret(data, start)
        if number and graph.failure is not None and not (graph.globals or graph.extensions or graph.budget_hit):
            examination.findings.append(
                finding(
                    "AIV308", f"{len(data) - start} bytes follow the pickle", file=path, member=member, offset=start
                )
            )
            return
        examine_stream(data, graph, examination, path, options, member=member, storages=storages)
        yield graph
        if graph.failure is not None or graph.end >= len(data):
            return
        start = graph.end
    examination.unexamined.append(
        Unexamined(file=path, member=member, reason=f"more than {_MAX_STREAMS} pickle streams")
    )


def examine_stream(
    data: Buffer,
    graph: Graph,
    examination: Examination,
    path: str,
    options: ScanOptions,
    *,
    member: str | None = None,
    storages: bool = False,
) -> None:
    """Judge one interpreted stream, and ask the second engine about the same bytes."""
    examination.findings += judge(graph, file=path, member=member, storages=storages, trust=options.trust)
    if graph.failure is not None:
        reason = f"the pickle breaks off at byte {graph.failure_offset}: {graph.failure}"
        examination.unexamined.append(Unexamined(file=path, member=member, reason=reason))
    if options.engine is not None:
        opinion = options.engine.examine(bytes(data[graph.start : graph.end]), opcodes=graph.opcodes)
        _weigh(opinion, graph, examination, path, member)


def _weigh(opinion: Opinion, graph: Graph, examination: Examination, path: str, member: str | None) -> None:
    """Record what the second engine said. Only a name that the machine lacks is a finding of its own."""
    if opinion.incomplete is not None:
        text = f"second engine incomplete: {opinion.engine}: {opinion.incomplete}"
        examination.findings.append(finding("AIV312", text, file=path, member=member, offset=graph.start))
        return
    ours = {found.written for found in graph.globals}
    ours |= {(found.module, found.name) for found in graph.globals if found.module is not None}
    missing = sorted(".".join(name) for name in opinion.names - ours)
    if missing and not any(found.module is None for found in graph.globals):
        text = f"{opinion.engine} names {', '.join(missing[:5])}, which the machine did not see"
        examination.findings.append(finding("AIV309", text, file=path, member=member, offset=graph.start))
    examination.findings[:] = [
        _with_opinion(item, opinion) if _speaks_of(item, graph, member) else item for item in examination.findings
    ]


def _speaks_of(item: Finding, graph: Graph, member: str | None) -> bool:
    offset = item.location.offset
    inside = offset is not None and graph.start <= offset < graph.end
    return item.rule == "AIV301" and item.location.member == member and inside


def _with_opinion(item: Finding, opinion: Opinion) -> Finding:
    said = {"engine": opinion.engine, "severity": opinion.severity, "source": (opinion.source or "")[:4000]}
    return finding(
        item.rule,
        item.message,
        file=item.file,
        severity=item.severity,
        member=item.location.member,
        offset=item.location.offset,
        evidence={**item.evidence, "second_engine": said},
    )
