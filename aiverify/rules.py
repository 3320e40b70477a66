"""The rules that findings refer to: stable ids, texts and default severities, read from ``rules.toml``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiverify.finding import Finding, Location, Severity

HELP_URL = "https://aiverify-weights.readthedocs.io/rules/{rule}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``what`` was seen, ``why`` it matters, how to ``fix`` it.

    What a rule without ``alarm`` finds is shown with its severity, and weighs on a verdict no more than a low one.
    """

    id: str
    title: str
    severity: Severity
    what: str
    why: str
    fix: str
    alarm: bool = True

    @property
    def help_url(self) -> str:
        """The rule's page in the documentation."""
        return HELP_URL.format(rule=self.id)


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its id, in the order of the ids."""
    table = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))
    return {
        key: Rule(id=key, **{**entry, "severity": Severity(entry["severity"])}) for key, entry in sorted(table.items())
    }


def finding(
    rule: str,
    message: str,
    *,
    file: str | None = None,
    severity: Severity | None = None,
    member: str | None = None,
    offset: int | None = None,
    evidence: Mapping[str, object] | None = None,
) -> Finding:
    """A finding under ``rule``, with the rule's own severity unless another is given."""
    return Finding(
        rule=rule,
        severity=severity or rules()[rule].severity,
        message=message,
        file=file,
        location=Location(member, offset),
        evidence=evidence or {},
    )
