"""The findings of a report, the gravest first, and the controls that filter them.

Without the script every finding is shown, and there are no controls. The script reads the ``data-`` attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from aiverify.finding import Finding, Severity
from aiverify.report import Report
from aiverify.reporters.html.call_graph import badge
from aiverify.reporters.html.elements import (
    Markup,
    Node,
    Place,
    Section,
    code,
    element,
    facts,
    folded,
    joined,
    listed,
    quoted,
    said,
)
from aiverify.reporters.quantities import number_of
from aiverify.rules import rules

MAX_FINDINGS = 2000
_LONGEST_VALUE = 500
_WHOLE = "the artifact as a whole"


def findings(place: Place, report: Report) -> Section:
    """The section about the findings, or the sentence that there are none."""
    ordered = sorted(report.findings, key=lambda item: -item.severity.rank)
    shown = ordered[:MAX_FINDINGS]
    if not shown:
        return place.section("findings", "Findings", element("p", "Nothing was found."))
    files = {name: index for index, name in enumerate(sorted({item.file or "" for item in shown}))}
    left = len(ordered) - len(shown)
    return place.section(
        "findings",
        "Findings",
        _filters(place, shown, files),
        element(
            "ol",
            *(
                element(
                    "li",
                    _finding(item),
                    class_=f"finding {item.severity.value}",
                    data_severity=item.severity.rank,
                    data_rule=item.rule,
                    data_file=files[item.file or ""],
                )
                for item in shown
            ),
            class_="findings",
        ),
        element("p", f"{number_of(left, 'finding')} of no greater weight not shown here: the JSON report has them.")
        if left
        else None,
    )


def _filters(place: Place, shown: Sequence[Finding], files: Mapping[str, int]) -> Markup | None:
    """Hidden, until the script that makes them work shows them."""
    if len(shown) == 1:
        return None
    severities = sorted({item.severity for item in shown}, key=lambda severity: severity.rank)
    controls = (
        _choice(
            place,
            "severity",
            "Severity",
            [
                ("", "all"),
                *(
                    (str(item.rank), item.value if item is severities[-1] else f"{item.value} or graver")
                    for item in severities[1:]
                ),
            ],
        ),
        _choice(
            place, "rule", "Rule", [("", "all"), *((rule, rule) for rule in sorted({item.rule for item in shown}))]
        ),
        _choice(place, "file", "File", [("", "all"), *((str(index), name or _WHOLE) for name, index in files.items())]),
    )
    count = element("p", f"{len(shown)} of {len(shown)} shown", class_="count", role="status")
    return element("form", *controls, count, class_="filters", hidden=True)


def _choice(place: Place, name: str, label: str, options: Sequence[tuple[str, str]]) -> Markup:
    entries = (element("option", text, value=value) for value, text in options)
    control = element("select", *entries, id=place.id(f"by-{name}"), data_filter=name)
    return element("div", element("label", label, for_=place.id(f"by-{name}")), control)


def _finding(item: Finding) -> Markup:
    return joined(
        (
            element("p", badge(item.severity), " ", rule_link(item.rule), " ", _title(item.rule), class_="head"),
            element("p", said(item.message)),
            element("p", *_where(item), class_="where"),
            *_evidence(item),
        )
    )


def rule_link(rule: str) -> Markup:
    """The id of a rule, which leads to its page if it is one of ours."""
    known = rules().get(rule)
    return code(rule) if known is None else element("a", rule, href=known.help_url, rel="noreferrer noopener")


def _title(rule: str) -> Node:
    known = rules().get(rule)
    return None if known is None else element("strong", known.title)


def _where(item: Finding) -> Iterator[Node]:
    yield _WHOLE if item.file is None else code(item.file)
    if item.location.member is not None:
        yield ", member "
        yield code(item.location.member)
    if item.location.offset is not None:
        yield f", byte {item.location.offset}"


def _evidence(item: Finding) -> Iterator[Markup]:
    """What the finding rests on: the payload first, then everything else by name."""
    payload = item.evidence.get("payload")
    if isinstance(payload, str):
        yield folded("What loading would run", quoted(payload), unfolded=item.severity is Severity.CRITICAL)
    rest = [pair for name, value in item.evidence.items() if name != "payload" for pair in _flat(name, value)]
    if rest:
        yield folded("Evidence", facts(rest, class_="evidence"))


def _flat(name: str, value: object) -> Iterator[tuple[str, Node]]:
    match value:
        case Mapping():
            for inner, item in value.items():
                yield from _flat(f"{name}: {inner}", item)
        case str():
            yield name, quoted(value) if "\n" in value else code(value)
        case list() | tuple() if all(isinstance(item, str) for item in value):
            yield name, listed((code(item) for item in value), class_="plain")
        case _:
            text = json.dumps(value, default=str)
            yield name, code(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…")
