"""The findings of a report for people: grouped by file, the gravest first, each with its place and its payload."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from aiverify.finding import Finding, Severity
from aiverify.report import Report
from aiverify.reporters.page import Page, columns
from aiverify.reporters.quantities import number_of

MAX_FINDINGS = 50
PAYLOAD_LINES = 12
PAYLOAD_LINES_VERBOSE = 400
PAYLOAD_CHARACTERS = 240
PAYLOAD_CHARACTERS_VERBOSE = 4000

_STYLE = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "blue",
    Severity.INFO: "dim",
}


def findings(page: Page, report: Report, verbosity: int) -> None:
    """The findings that the verbosity asks for, and how many it does not show."""
    wanted = [finding for finding in report.findings if verbosity > 0 or finding.severity is not Severity.INFO]
    ordered = [finding for group in _by_file(wanted) for finding in group]
    shown = ordered if verbosity > 0 else ordered[:MAX_FINDINGS]
    if not shown:
        return
    page.heading("Findings")
    for group in _by_file(shown):
        file = group[0].file
        page.write(page.say(file, "bold") if file is not None else Text("the artifact as a whole", "bold"), indent=2)
        for finding in group:
            _finding(page, finding, verbosity)
    if len(ordered) > len(shown):
        left = number_of(len(ordered) - len(shown), "finding")
        page.write(Text(f"{left} of no greater weight not shown here: -v lists them", "dim"), indent=2)


def _by_file(found: list[Finding]) -> list[list[Finding]]:
    """The findings of each file, gravest first, and the files by their gravest finding, then by name."""
    groups: dict[str, list[Finding]] = {}
    for finding in sorted(found, key=lambda finding: -finding.severity.rank):
        groups.setdefault(finding.file or "", []).append(finding)
    return sorted(groups.values(), key=lambda group: (-group[0].severity.rank, group[0].file or ""))


def _finding(page: Page, finding: Finding, verbosity: int) -> None:
    severity = Text(finding.severity.value, _STYLE[finding.severity])
    rule = page.say(finding.rule)
    body = [page.say(finding.message), *_place(page, finding)]
    if page.narrow:
        page.write(Text("  ").join([severity, rule]), indent=4)
        for text in body:
            page.write(text, indent=6)
    else:
        severity.pad_right(len(Severity.CRITICAL) - len(severity))
        first, *rest = [(severity, rule, text) for text in body]
        page.write(columns([first, *((Text(), Text(), text) for _, _, text in rest)], flexible=2), indent=4)
    payload = finding.evidence.get("payload")
    if isinstance(payload, str) and (verbosity > 0 or finding.severity is Severity.CRITICAL):
        _payload(page, payload, verbosity)


def _place(page: Page, finding: Finding) -> Iterator[Text]:
    member, offset = finding.location.member, finding.location.offset
    parts = ([] if member is None else [member]) + ([] if offset is None else [f"byte {offset}"])
    if parts:
        yield page.say("at " + ", ".join(parts), "dim")


def _payload(page: Page, payload: str, verbosity: int) -> None:
    left_out = page.quote(
        payload,
        indent=6,
        max_lines=PAYLOAD_LINES_VERBOSE if verbosity > 0 else PAYLOAD_LINES,
        limit=PAYLOAD_CHARACTERS_VERBOSE if verbosity > 0 else PAYLOAD_CHARACTERS,
    )
    if left_out:
        where = "the JSON report has them" if verbosity > 0 else "-v shows them"
        page.write(Text(f"{number_of(left_out, 'more line')} of the payload: {where}", "dim"), indent=6)
