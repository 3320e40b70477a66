"""What every reporter offers, and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from aiverify.errors import AiverifyError
from aiverify.report import Report


class ReporterError(AiverifyError):
    """A report cannot be written in this form, or a saved report is not valid. The message names the field."""


class Reporter(ABC):
    """A way to say what a run over one or several targets came to."""

    @abstractmethod
    def render(self, reports: Sequence[Report]) -> str:
        """The reports as one text that ends with a newline.

        Raises ReporterError when there is no report, because an empty run must not look like one that passed, and when
        a value has no place in the form.
        """
