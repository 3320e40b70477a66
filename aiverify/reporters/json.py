"""The report as JSON text.

The text is pure ASCII: other characters are escaped, so it is valid UTF-8 whatever a file is called, lone surrogates of
undecodable names survive, and nothing in it can act on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiverify.report import Report
from aiverify.reporters.document import document
from aiverify.reporters.interface import Reporter


class JsonReporter(Reporter):
    """Writes the form that ``reading.load`` reads. Always complete."""

    def render(self, reports: Sequence[Report]) -> str:
        """The document of the reports."""
        return ascii_json(document(reports))


def ascii_json(value: object) -> str:
    """``value`` as indented lines of printable ASCII. Raises ValueError for a float that is not finite."""
    text = json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)
    # DEL is the one control character that JSON lets stand.
    return text.replace("\x7f", "\\u007f") + "\n"
