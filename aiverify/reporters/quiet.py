"""One line for each report, without colours: what a script reads. It needs no rich, which takes longer than a scan."""

from __future__ import annotations

from aiverify.report import Report
from aiverify.reporters.advice import title_of
from aiverify.reporters.hostile import printable
from aiverify.reporters.quantities import duration, number_of, size


def facts(report: Report) -> str:
    """How much was looked at, and how long that took."""
    files = report.artifact.files
    return ", ".join(
        [number_of(len(files), "file"), size(sum(file.size for file in files)), duration(report.duration_s)]
    )


def verdict_line(report: Report, encoding: str) -> str:
    """The verdict on exactly one line, however long, as ``sections.verdict_line`` writes it without colours."""
    variant = report.verdict.variant
    parts = [title_of(report), "" if variant is None else f" ({variant})"]
    title = "".join(printable(part, encoding=encoding, limit=1000) for part in parts)
    return f"{report.verdict.outcome.value.upper():<6}  {title}  {facts(report)}\n"
