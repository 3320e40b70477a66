"""The report for a person at a terminal, or for the log of a job.

First the verdict, then what to do, then the evidence. Everything that came with the artifact is shown as harmless text
(``hostile.py``). Without a terminal the text is plain and 100 columns wide. Only rendering imports rich, and not for
lines without colours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from aiverify.report import Report
from aiverify.reporters.interface import Reporter, ReporterError

PLAIN_WIDTH = 100
MIN_WIDTH = 20
MAX_WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanReporter(Reporter):
    """Renders for a stream of ``width`` columns that shows the characters of ``encoding``, in colour or not.

    ``verbosity`` is -1 (the verdict alone), 0, or 1 and more (``-v``).
    """

    width: int = PLAIN_WIDTH
    colour: bool = False
    encoding: str = "utf-8"
    verbosity: int = 0

    @classmethod
    def for_stream(
        cls, stream: TextIO, environ: Mapping[str, str] = os.environ, *, verbosity: int = 0
    ) -> HumanReporter:
        """What suits ``stream``: colour on a terminal, unless ``NO_COLOR`` is set or ``TERM`` is ``dumb``."""
        terminal = stream.isatty()
        return cls(
            width=_columns(stream) if terminal else PLAIN_WIDTH,
            # https://no-color.org: any value that is not empty counts.
            colour=terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb",
            encoding=getattr(stream, "encoding", None) or "utf-8",
            verbosity=verbosity,
        )

    def render(self, reports: Sequence[Report]) -> str:
        """Verdict, steps and evidence of each report; a summary follows when there are several."""
        if not reports:
            raise ReporterError("there is no report to show")
        if self.verbosity < 0 and not self.colour:
            from aiverify.reporters import quiet

            return "".join(quiet.verdict_line(report, self.encoding) for report in reports)
        from aiverify.reporters import sections
        from aiverify.reporters.page import Page

        page = Page(width=self.width, colour=self.colour, encoding=self.encoding)
        for index, report in enumerate(reports):
            if self.verbosity < 0:
                sections.verdict_line(page, report)
                continue
            if index:
                page.rule()
            sections.whole(page, report, self.verbosity)
        if len(reports) > 1 and self.verbosity >= 0:
            page.rule()
            sections.summary(page, reports)
        return page.text()


def _columns(stream: TextIO) -> int:
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        width = 0
    # 0 is what a terminal without a size says.
    return min(max(width or 80, MIN_WIDTH), MAX_WIDTH)
