"""The report as a page: one HTML file for the audit folder, the phone and the printer.

First the verdict and what to do, then the evidence. The page needs no network and no script: the script only filters.
Text that came with the artifact is text and nothing else (``elements.py``), and the page forbids itself everything that
it does not need (``page.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from aiverify.report import Report, worst
from aiverify.reporters.advice import title_of
from aiverify.reporters.html.body import body
from aiverify.reporters.html.page import page
from aiverify.reporters.interface import Reporter, ReporterError
from aiverify.reporters.quantities import number_of


class HtmlReporter(Reporter):
    """Writes a page. Always complete."""

    def render(self, reports: Sequence[Report]) -> str:
        """One page for all reports."""
        if not reports:
            raise ReporterError("there is no report to write")
        outcome = worst(report.verdict.outcome for report in reports).value.upper()
        what = title_of(reports[0]) if len(reports) == 1 else number_of(len(reports), "target")
        return page(f"{outcome}: {what} - aiverify", body(reports))
