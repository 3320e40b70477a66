"""The report as Markdown, for comments on pull requests and summaries of jobs.

Text that came with the artifact stands in code spans and is harmless there: nothing in it is a link, a mention, a
picture or markup. The text stays under the length that GitHub takes for a comment, and says what it left out.

Source: https://github.github.com/gfm/ (code spans, tables).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiverify.finding import Finding, Severity
from aiverify.report import Outcome, Report
from aiverify.reporters.advice import next_steps, title_of
from aiverify.reporters.hostile import printable
from aiverify.reporters.interface import Reporter, ReporterError
from aiverify.reporters.quantities import number_of
from aiverify.reporters.quiet import facts
from aiverify.rules import rules

LONGEST = 65_000
MAX_FINDINGS = 30

_SIGNS = {Outcome.PASS: "✅", Outcome.REVIEW: "⚠️", Outcome.ERROR: "❔", Outcome.BLOCK: "⛔"}
_WEIGHTS = {"verified": "✅", "unpinned": "⚠️", "unchecked": "❔", "failed": "⛔"}
_BACKTICKS = re.compile("`+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkdownReporter(Reporter):
    """Writes a comment. A ``verbosity`` above 0 has it say more."""

    verbosity: int = 0

    def render(self, reports: Sequence[Report]) -> str:
        """A summary when there are several reports, and a section for each."""
        if not reports:
            raise ReporterError("there is no report to write")
        lines = ["## aiverify", ""]
        if len(reports) > 1:
            lines += _summary(reports)
        for report in reports:
            lines += _section(report, self.verbosity)
        return _cut(lines)


def _cut(lines: Sequence[str]) -> str:
    """As many lines as the length allows, and a word about the rest."""
    kept, length = [], 0
    for line in lines:
        length += len(line.encode()) + 1
        if length > LONGEST:
            kept += ["", "*The rest was left out: it is in the JSON report.*"]
            break
        kept.append(line)
    return "\n".join(kept).rstrip() + "\n"


def _summary(reports: Sequence[Report]) -> Iterator[str]:
    yield "| | target | verdict | loads |"
    yield "|---|---|---|---|"
    for report in reports:
        verdict, title = report.verdict, _cell(title_of(report))
        variant = _cell(verdict.variant) if verdict.variant else ""
        yield f"| {_SIGNS[verdict.outcome]} | {title} | {verdict.outcome.value} | {variant} |"
    yield ""


def _section(report: Report, verbosity: int) -> Iterator[str]:
    verdict = report.verdict
    title = _code(title_of(report)) + (f" {_code(verdict.variant)}" if verdict.variant else "")
    yield f"### {_SIGNS[verdict.outcome]} {verdict.outcome.value.upper()} {title}"
    yield ""
    yield facts(report)
    yield ""
    for reason in verdict.reasons[: MAX_FINDINGS if verbosity > 0 else 10]:
        yield f"- {_code(reason)}"
    yield ""
    yield from _steps(report)
    yield from _findings(report, verbosity)
    yield from _signatures(report)
    yield from _unexamined(report)


def _steps(report: Report) -> Iterator[str]:
    found = next_steps(report)
    if not found:
        return
    yield "**What to do**"
    yield ""
    for step in found:
        yield f"- {_code(step.text) if step.quotes else step.text}"
        if step.command:
            yield f"  {_code(step.command, limit=len(step.command))}"
    yield ""


def _findings(report: Report, verbosity: int) -> Iterator[str]:
    wanted = [item for item in report.findings if verbosity > 0 or item.severity is not Severity.INFO]
    if not wanted:
        return
    wanted.sort(key=lambda item: -item.severity.rank)
    yield "| severity | rule | where | what |"
    yield "|---|---|---|---|"
    for item in wanted[:MAX_FINDINGS]:
        yield f"| {item.severity.value} | {_rule(item)} | {_cell(_where(item))} | {_cell(item.message)} |"
    yield ""
    if len(wanted) > MAX_FINDINGS:
        yield f"{number_of(len(wanted) - MAX_FINDINGS, 'finding')} of no greater weight not shown here."
        yield ""


def _rule(item: Finding) -> str:
    rule = rules().get(item.rule)
    return _code(item.rule) if rule is None else f"[{rule.id}]({rule.help_url})"


def _where(item: Finding) -> str:
    parts = [item.file or "the artifact as a whole"]
    if item.location.member is not None:
        parts.append(item.location.member)
    if item.location.offset is not None:
        parts.append(f"byte {item.location.offset}")
    return ", ".join(parts)


def _signatures(report: Report) -> Iterator[str]:
    for signature in report.signatures:
        if signature.kind != "none":
            sign = _WEIGHTS.get(signature.outcome, "")
            yield f"{sign} signature {_code(signature.outcome)}: {_code(signature.signer or signature.detail)}"
            yield ""


def _unexamined(report: Report) -> Iterator[str]:
    if not report.unexamined:
        return
    yield "<details><summary>Not examined</summary>"
    yield ""
    for item in report.unexamined[:MAX_FINDINGS]:
        name = item.file if item.member is None else f"{item.file}, member {item.member}"
        yield f"- {_code(name)}: {_code(item.reason)}"
    if len(report.unexamined) > MAX_FINDINGS:
        yield f"- and {len(report.unexamined) - MAX_FINDINGS} more"
    yield ""
    yield "</details>"
    yield ""


def _code(text: str, *, limit: int = 400) -> str:
    """A code span with more backticks around it than stand in a row inside."""
    shown = printable(text, limit=limit) or " "
    fence = "`" * (max((len(run) for run in _BACKTICKS.findall(shown)), default=0) + 1)
    padding = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def _cell(text: str) -> str:
    """A code span inside a table, where a bar would end the cell: a backslash before it is not shown there."""
    return _code(text).replace("|", "\\|")
