"""What loading would call, as a tree: for each pickle the calls that findings report, and the calls inside them.

Calls of trusted names that nothing was said about are in no finding, and so not in the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aiverify.finding import Finding, Severity
from aiverify.report import Report
from aiverify.reporters.html.elements import Markup, Node, Place, Section, code, element, joined, listed, said
from aiverify.reporters.html.outline import MAX_CALLS, MAX_DEPTH, MAX_VALUES, Call, calls
from aiverify.reporters.quantities import number_of

MAX_FINDINGS = 200
_LONGEST_VALUE = 120


def call_graph(place: Place, report: Report) -> Section | None:
    """The section about the calls, if a finding reports one."""
    streams: dict[tuple[str, str], list[Finding]] = {}
    named = [item for item in report.findings if isinstance(item.evidence.get("global"), str)]
    named.sort(key=lambda item: -item.severity.rank)
    for item in named[:MAX_FINDINGS]:
        streams.setdefault((item.file or "", item.location.member or ""), []).append(item)
    if not streams:
        return None
    left = len(named) - MAX_FINDINGS
    return place.section(
        "calls",
        "What loading would call",
        element("p", "Read from inside to outside: a call is given the results of the calls under it."),
        listed((_stream(file, member, found) for (file, member), found in streams.items()), class_="tree"),
        element("p", f"The calls of {number_of(left, 'finding')} of no greater weight are not shown here.")
        if left > 0
        else None,
        element("p", f"Of a payload, {MAX_CALLS} calls are shown, {MAX_DEPTH} deep, each with {MAX_VALUES} values."),
    )


def _stream(file: str, member: str, found: Sequence[Finding]) -> Markup:
    said_of = _findings_by_name(found)
    title = joined(("load ", code(file or "the artifact"), *((", member ", code(member)) if member else ())))
    return joined((title, listed((_call(call, said_of) for call in _distinct(found)), class_="tree")))


def _findings_by_name(found: Sequence[Finding]) -> Mapping[str, Finding]:
    """The gravest finding about each global."""
    names: dict[str, Finding] = {}
    for item in found:
        names.setdefault(str(item.evidence["global"]), item)
    return names


def _distinct(found: Sequence[Finding]) -> Iterator[Call]:
    """The calls that ``found`` reports, each once however many findings report it."""
    seen: set[str] = set()
    for item in found:
        payload = item.evidence.get("payload")
        read = calls(payload) if isinstance(payload, str) else []
        for call in read or [Call(str(item.evidence["global"]), called=False)]:
            form = repr(call)
            if form not in seen:
                seen.add(form)
                yield call


def _call(call: Call, said_of: Mapping[str, Finding]) -> Markup:
    item = said_of.get(call.target)
    return joined(
        (
            code(f"{call.name}()" if call.called else call.name),
            None if call.called else element("small", " named, not called"),
            None if item is None else joined((" ", badge(item.severity), " ", element("small", item.rule))),
            _values(call.values),
            listed((_call(inner, said_of) for inner in call.calls), class_="tree") if call.calls else None,
        )
    )


def _values(values: Sequence[str]) -> Node:
    if not values:
        return None
    shown = [value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…" for value in values]
    return element("div", "with ", said(", ".join(shown)), class_="values")


def badge(severity: Severity) -> Markup:
    """The word for a severity, in its colour."""
    return element("span", severity.value, class_=f"badge {severity.value}")
