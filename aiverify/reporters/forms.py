"""The forms that a report is written in, and the reporter for each. A reporter is imported when it is asked for."""

from __future__ import annotations

import enum
import importlib.util
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from aiverify.reporters.interface import Reporter


class Form(enum.StrEnum):
    """How a report is written."""

    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"
    MARKDOWN = "markdown"
    HTML = "html"
    CYCLONEDX = "cyclonedx"


def lacking(form: Form) -> str | None:
    """What has to be installed before a report can be written in ``form``; ``None`` when nothing has."""
    if form is Form.CYCLONEDX and importlib.util.find_spec("cyclonedx") is None:
        return "it needs cyclonedx-python-lib: pip install 'aiverify-weights[cyclonedx]'"
    return None


def reporter_for(form: Form, *, verbosity: int = 0, stream: TextIO | None = None) -> Reporter:
    """The reporter for ``form``. The one for people suits ``stream``, and a file without one.

    ``verbosity`` is -1 (the verdict alone), 0, or 1 and more; forms that machines read are always complete. Raises
    ImportError when something is ``lacking``.
    """
    match form:
        case Form.HUMAN:
            from aiverify.reporters.human import HumanReporter

            if stream is None:
                return HumanReporter(verbosity=verbosity)
            return HumanReporter.for_stream(stream, verbosity=verbosity)
        case Form.JSON:
            from aiverify.reporters.json import JsonReporter

            return JsonReporter()
        case Form.SARIF:
            from aiverify.reporters.sarif import SarifReporter

            return SarifReporter()
        case Form.MARKDOWN:
            from aiverify.reporters.markdown import MarkdownReporter

            return MarkdownReporter(verbosity=verbosity)
        case Form.HTML:
            from aiverify.reporters.html import HtmlReporter

            return HtmlReporter()
        case Form.CYCLONEDX:
            from aiverify.reporters.cyclonedx import CycloneDxReporter

            return CycloneDxReporter()
