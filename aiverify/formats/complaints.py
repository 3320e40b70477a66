"""What the reader of one file has to say, kept to a length that can be read.

Each thing is said once, and of one rule and severity only so many: what is grave cannot be hidden behind what is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from aiverify.finding import Severity, Unexamined
from aiverify.formats.embedded import Search
from aiverify.formats.interface import Examination
from aiverify.rules import finding

MAX_REPORTED = 50


class Complaints:
    """Enters findings about ``path``, or the member ``member`` of it, into ``examination``."""

    def __init__(self, examination: Examination, path: str, member: str | None = None) -> None:
        self.examination = examination
        self._path = path
        self._member = member
        self._search = Search()
        self._said: set[tuple[str, str]] = set()
        self._counts: Counter[tuple[str, Severity]] = Counter()

    def say(
        self,
        rule: str,
        text: str,
        *,
        offset: int | None = None,
        severity: Severity | None = None,
        evidence: Mapping[str, object] | None = None,
    ) -> None:
        """Report something under ``rule``, unless it was said before, or too much like it was."""
        made = finding(
            rule, text, file=self._path, member=self._member, offset=offset, severity=severity, evidence=evidence
        )
        kind = rule, made.severity
        if (rule, text) in self._said or self._counts[kind] >= MAX_REPORTED:
            return
        self._said.add((rule, text))
        self._counts[kind] += 1
        self.examination.findings.append(made)

    def judge_value(self, value: bytes, what: str, offset: int | None = None) -> None:
        """Report ``value`` if it is a program. ``what`` says whose value it is."""
        kind = self._search.program(value)
        if kind is not None:
            self.say("AIV411", f"{what} is {kind}", offset=offset)
        elif self._search.broke_off:
            self.gap("its values take more steps to tell from programs than one file may")

    def gap(self, reason: str) -> None:
        """Say that a part could not be examined; each reason once."""
        made = Unexamined(file=self._path, member=self._member, reason=reason)
        if made not in self.examination.unexamined:
            self.examination.unexamined.append(made)

    def retract(self) -> None:
        """Take back all that was said."""
        self.examination.findings.clear()
        self._said.clear()
        self._counts.clear()
