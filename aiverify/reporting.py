"""The reports that a run can end with, whether or not it got as far as the files."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiverify.artifact import Artifact, Fetched, SourceKind
from aiverify.errors import AiverifyError
from aiverify.finding import Finding, Unexamined
from aiverify.layers import Layer
from aiverify.policy import Policy
from aiverify.report import Conversion, Outcome, Report, SignatureResult, Verdict, worst
from aiverify.verdict import Judgement, effect
from aiverify.version import __version__

if TYPE_CHECKING:
    from aiverify.signatures.interface import Authentication

_SHOWN = 5


class Reports:
    """The reports on ``target`` under ``policy``; the run begins when this is made."""

    def __init__(self, target: str, policy: Policy) -> None:
        self.target = target
        self.policy = policy
        self.started = datetime.datetime.now(datetime.UTC)
        self._clock = time.monotonic()

    def on(
        self,
        artifact: Artifact,
        judgement: Judgement,
        *,
        signatures: Sequence[SignatureResult] = (),
        unexamined: Sequence[Unexamined] = (),
        conversions: Sequence[Conversion] = (),
        layers: Sequence[Layer] = (),
    ) -> Report:
        """The report on what was found out."""
        return Report(
            tool=f"aiverify {__version__}",
            started_at=self.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            duration_s=round(time.monotonic() - self._clock, 3),
            target=self.target,
            policy=self.policy.record,
            artifact=artifact,
            signatures=tuple(signatures),
            findings=judgement.findings,
            unexamined=tuple(unexamined),
            conversions=tuple(conversions),
            variants=judgement.variants,
            verdict=judgement.verdict,
            layers=tuple(layers),
        )

    def refused(self, evidence: Finding) -> Report:
        """The report on a source that behaved as no honest one does. Nothing of it was taken."""
        verdict = Verdict(outcome=Outcome.BLOCK, reasons=(f"{evidence.message} ({evidence.rule})",))
        return self.on(self._nothing(), Judgement(findings=(evidence,), variants=(), verdict=verdict))

    def foreseen(self, stated: Fetched, seen: Authentication) -> Report:
        """The report on a repository whose listing contradicts its signature. Nothing but that was taken."""
        artifact = Artifact(source=stated.kind, files=(), repo=stated.repo, revision=stated.revision)
        judgement = Judgement(findings=seen.findings, variants=(), verdict=blocked(seen.findings))
        return self.on(artifact, judgement, signatures=seen.results)

    def known(self, artifact: Artifact, findings: Sequence[Finding]) -> Report:
        """The report on an artifact that nobody looked at now: what is known of it, and what that comes to."""
        policy = self.policy.for_repository(artifact.repo)
        effects = [(item, effect(item, policy)) for item in findings]
        reasons = (_in_words(item) for item, outcome in effects if outcome is not Outcome.PASS)
        verdict = Verdict(
            outcome=worst(outcome for _, outcome in effects), reasons=("its files were not examined", *reasons)
        )
        return self.on(artifact, Judgement(findings=tuple(findings), variants=(), verdict=verdict))

    def unverified(self, error: AiverifyError) -> Report:
        """The report on a run that ``error`` put an end to."""
        verdict = Verdict(outcome=Outcome.ERROR, reasons=tuple(error.diagnostics().splitlines()))
        return self.on(self._nothing(), Judgement(findings=(), variants=(), verdict=verdict))

    def _nothing(self) -> Artifact:
        """The artifact of which no file was examined."""
        if not self.target.startswith("hf://") and os.path.lexists(self.target):
            return Artifact(source=SourceKind.FOLDER, files=())
        return Artifact(source=SourceKind.HUB, files=(), repo=self.target.removeprefix("hf://").partition("@")[0])


def blocked(findings: Sequence[Finding]) -> Verdict:
    """The verdict that ``findings`` refuse the artifact; the first of them in words."""
    return Verdict(outcome=Outcome.BLOCK, reasons=tuple(_in_words(item) for item in findings[:_SHOWN]))


def _in_words(item: Finding) -> str:
    return f"{item.file or 'the artifact'}: {item.message} ({item.rule})"
