"""The verdict of a policy on one file, given by the pipeline or remembered by the store.

Rules it keeps:

1. A file is judged alone and under its own name. Weights have the verdict of the run; any other file, of which there is
   no variant to load, is as bad as its worst finding, and an error where it was not examined.
2. What was judged is what was recorded: the names are read from bytes with the same digest, or from the very file that
   was opened, and an examination of these that says anything else than the first ends in an error.
3. A verdict is kept under the digest and name of the file, the policy, the tables and the versions of everything that
   took part.

What examines is imported when there is something to examine: a verdict that is remembered needs none of it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from aiverify.finding import Finding, Severity
from aiverify.guard.asked import State
from aiverify.guard.interface import Name
from aiverify.options import Options
from aiverify.policy import Policy
from aiverify.questions import asked
from aiverify.report import Outcome, Report, worst
from aiverify.store.interface import Question
from aiverify.variants import TWIN
from aiverify.verdict import effect

CODE, CHANGED = "AIV502", "AIV103"
_FORMAT = 2
_MOST_REASONS = 5


class Way(enum.StrEnum):
    """What was looked at: a sealed copy alone, or as part of a snapshot, the file where others may write, its twin."""

    SEALED = "file"
    SNAPSHOT = "file of a snapshot"
    IN_PLACE = "file in place"
    TWIN = "twin of the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is kept about one content under one name and policy. ``runs``: source code that the policy lets run.

    ``twin``: a safetensors twin of it would pass.
    """

    outcome: Outcome
    format: str
    reasons: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    names: frozenset[Name] = frozenset()
    inert: bool = False
    runs: bool = False
    twin: bool = False

    def text(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "guard": _FORMAT,
                "outcome": self.outcome.value,
                "format": self.format,
                "reasons": self.reasons,
                "rules": self.rules,
                "names": sorted(self.names),
                "inert": self.inert,
                "runs": self.runs,
                "twin": self.twin,
            }
        )


def read_judged(text: str) -> Judged | None:
    """What ``Judged.text`` wrote; ``None`` for anything else."""
    try:
        found: Any = json.loads(text)
        if found["guard"] != _FORMAT:
            return None
        return Judged(
            outcome=Outcome(found["outcome"]),
            format=str(found["format"]),
            reasons=tuple(map(str, found["reasons"])),
            rules=tuple(map(str, found["rules"])),
            names=frozenset((str(module), str(name)) for module, name in found["names"]),
            inert=found["inert"] is True,
            runs=found["runs"] is True,
            twin=found["twin"] is True,
        )
    except (ValueError, KeyError, TypeError):
        return None


def question(sha256: str, name: str, policy: Policy, way: Way) -> Question:
    """What a verdict on the content with this digest, under this name, is an answer to."""
    return asked(f"{way.value} {sha256} {name}", policy, Options().engines)


def judge_file(file: Path, name: str, policy: Policy, state: State | None = None) -> Judged:
    """Examine and judge ``file`` alone, and write down its names. Raises AiverifyError.

    ``state`` is that of the file that is meant, where another one may be put in its place.
    """
    from aiverify.guard.names import complaints, record_names
    from aiverify.pipeline import run

    report = run(str(file), Options(policy=policy, digests=False))
    outcome = report.verdict.outcome if report.variants else _alone(report, policy)
    # the first reason of a run says what a load would use
    reasons = report.verdict.reasons[1:] if report.variants else _reasons(report)
    recorded = record_names(file, name, policy.trusted_globals, state)
    judged = Judged(
        outcome=outcome,
        format=report.artifact.files[0].format if report.artifact.files else "unknown",
        reasons=tuple(reasons[:_MOST_REASONS]),
        rules=tuple(dict.fromkeys(item.rule for item in report.findings if _counts(item, policy))),
        names=recorded.names,
        inert=recorded.inert,
        runs=outcome is Outcome.PASS and _may_run(report),
        twin=any(variant.name == TWIN and variant.outcome is Outcome.PASS for variant in report.variants),
    )
    if not recorded.complaints <= complaints(report.findings, report.unexamined):
        reason = "it changed while it was examined"
        return replace(judged, outcome=worst([outcome, Outcome.ERROR]), reasons=(reason,), rules=(CHANGED,))
    return judged


def _may_run(report: Report) -> bool:
    """Whether there is no code in the file, or the policy waives that there is: somebody has read it."""
    if all(file.size == 0 for file in report.artifact.files):
        return True
    found = [item for item in report.findings if item.rule == CODE]
    return bool(found) and all(item.severity is Severity.INFO for item in found)


def _counts(item: Finding, policy: Policy) -> bool:
    return effect(item, policy) is not Outcome.PASS


def _alone(report: Report, policy: Policy) -> Outcome:
    """What a file that is no weights comes to."""
    gaps = [item for item in report.unexamined if not _accepted(item.file, policy.accept_unexamined)]
    return worst([*(effect(item, policy) for item in report.findings), *(Outcome.ERROR for _ in gaps)])


def _accepted(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _reasons(report: Report) -> Sequence[str]:
    found = sorted(report.findings, key=lambda item: -item.severity.rank)
    said = [f"{item.message} ({item.rule})" for item in found]
    return said + [f"not examined: {item.reason}" for item in report.unexamined]


def passed_with_snapshot(file: Path, name: str, policy: Policy) -> Judged:
    """The verdict on a file of a snapshot that passed as a whole: its names are all that is still to be known."""
    from aiverify.formats.examine import recognise
    from aiverify.guard.names import record_names

    recorded = record_names(file, name, policy.trusted_globals)
    kind = recognise(file, name)
    return Judged(outcome=Outcome.PASS, format=kind.value, names=recorded.names, inert=recorded.inert)


def unread(judged: Judged, sha256: str) -> Judged:
    """The verdict on source code that is about to run, and of which the policy does not say that somebody read it."""
    reason = f"code of a repository runs only with a waiver of {CODE} for its digest, {sha256}"
    return replace(judged, outcome=Outcome.REVIEW, reasons=(reason,), rules=(CODE,))


def deciding_line(outcome: Outcome, policy: Policy) -> str:
    """The line of ``policy`` because of which a file with this outcome is not loaded, and where it stands."""
    lines: Mapping[Outcome, str] = {
        Outcome.BLOCK: f"block_at = {policy.block_at.value}",
        Outcome.REVIEW: f"review_at = {policy.review_at.value}",
        Outcome.ERROR: "what could not be examined does not pass",
    }
    return f"{policy.sources[-1].name}: {lines.get(outcome, outcome.value)}"
