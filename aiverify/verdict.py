"""Given the policy, may this be loaded? Values in, values out.

Rules it keeps:

1. A variant is as bad as the worst file that it loads, and as the worst finding about the artifact as a whole. Code,
   configuration and texts belong to every variant. What is said of a path that is not among the files (a link that
   leads out, a signed file that is missing) is about the artifact as a whole.
2. The verdict is about the variant that a load would take. It becomes ``block`` when any examined file is blocked,
   whichever variant it belongs to: nobody who ships a live payload is trusted for the file beside it.
3. What was not examined, among weights, code and configuration, turns a pass or a review into an error. A file of
   another framework that was not examined does so only to its own variant.
4. A twin is judged by the integrity and the signature of its source and by what stands beside it, not by the pickle
   that it leaves behind. The twin of a blocked checkpoint is blocked, unless the policy says otherwise.
5. Weights of a format that the policy does not take are blocked in their variants, and speak against no other.
6. A waiver takes one rule off one content until a date. What it waived stays in the report, as information.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.finding import Finding, Severity, Unexamined
from aiverify.policy import Policy, Waiver
from aiverify.report import Outcome, Variant, Verdict, worst
from aiverify.variants import PYTORCH, SAFETENSORS, TRAINING, TWINS

_LOADED = (FileClass.WEIGHTS, FileClass.CODE, FileClass.CONFIG)
_MAX_REASONS = 5
_INTEGRITY = ("AIV1", "AIV2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a verdict rests on.

    ``families`` are the weight files of each variant, in the order of preference. ``convertible`` are the checkpoints
    with a proved plan, ``converted`` tells that twins were written; ``failed`` says of conversions that were asked for
    and are not there why they are not.
    """

    files: Sequence[ArtifactFile]
    findings: Sequence[Finding]
    unexamined: Sequence[Unexamined]
    families: Mapping[str, Sequence[str]]
    convertible: Sequence[str] = ()
    converted: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The findings as they count (waivers applied), the variants, and the verdict."""

    findings: tuple[Finding, ...]
    variants: tuple[Variant, ...]
    verdict: Verdict


def effect(finding: Finding, policy: Policy) -> Outcome:
    """What one finding does to a verdict."""
    return policy.effect(finding.rule, finding.severity)


def judge(evidence: Evidence, policy: Policy, today: datetime.date) -> Judgement:
    """The judgement of ``policy`` on ``evidence`` as of ``today``."""
    digests = {file.path: file.sha256 for file in evidence.files}
    findings = tuple(_waived(finding, digests, policy.waivers, today) for finding in evidence.findings)
    return _Court(replace(evidence, findings=findings), policy).judgement()


def _waived(
    finding: Finding, digests: Mapping[str, str | None], waivers: Sequence[Waiver], today: datetime.date
) -> Finding:
    for waiver in waivers:
        same = finding.file is not None and digests.get(finding.file) == waiver.sha256
        if same and waiver.rule == finding.rule and today <= waiver.expires:
            text = f"{finding.message} (waived until {waiver.expires}: {waiver.reason})"
            return replace(finding, severity=Severity.INFO, message=text)
    return finding


class _Court:
    def __init__(self, evidence: Evidence, policy: Policy) -> None:
        self.evidence = evidence
        self.policy = policy
        self.weights = {path for paths in evidence.families.values() for path in paths}
        self.classes = {file.path: file.file_class for file in evidence.files}
        self.shared = tuple(
            file.path
            for file in evidence.files
            if file.path not in self.weights and file.file_class is not FileClass.OTHER_FRAMEWORK
        )
        gaps = [item for item in evidence.unexamined if not self._accepted(item)]
        self.missed = [item for item in gaps if self.classes.get(item.file, FileClass.WEIGHTS) in _LOADED]
        other = [item for item in gaps if self.classes.get(item.file) is FileClass.OTHER_FRAMEWORK]
        self.outcomes, self.whole = self._weighed(evidence.findings, [*self.missed, *other])
        integrity = [finding for finding in evidence.findings if finding.rule.startswith(_INTEGRITY)]
        self.integrity, _ = self._weighed(integrity, ())

    def _accepted(self, item: Unexamined) -> bool:
        return any(fnmatchcase(item.file, pattern) for pattern in self.policy.accept_unexamined)

    def _weighed(self, findings: Iterable[Finding], missed: Iterable[Unexamined]) -> tuple[dict[str, Outcome], Outcome]:
        """What was found and missed comes to, for each file and for the artifact as a whole."""
        outcomes = dict.fromkeys(self.classes, Outcome.PASS)
        whole = Outcome.PASS
        effects = [(finding.file, effect(finding, self.policy)) for finding in findings]
        for path, outcome in [*effects, *((item.file, Outcome.ERROR) for item in missed)]:
            if path is not None and path in outcomes:
                outcomes[path] = worst([outcomes[path], outcome])
            else:
                whole = worst([whole, outcome])
        return outcomes, whole

    def judgement(self) -> Judgement:
        variants = self._variants()
        return Judgement(findings=tuple(self.evidence.findings), variants=variants, verdict=self._verdict(variants))

    def _variants(self) -> tuple[Variant, ...]:
        made = []
        for name, paths in self.evidence.families.items():
            made.append(self._variant(name, paths, (self.outcomes[path] for path in paths)))
            if name in TWINS and set(paths) <= set(self.evidence.convertible):
                made.append(self._variant(TWINS[name], paths, map(self._twin_outcome, paths)))
        return tuple(made)

    def _variant(self, name: str, paths: Sequence[str], outcomes: Iterable[Outcome]) -> Variant:
        beside = (self.outcomes[path] for path in self.shared)
        taken = Outcome.BLOCK if self._refused(name) else Outcome.PASS
        return Variant(name=name, files=(*paths, *self.shared), outcome=worst([*outcomes, *beside, self.whole, taken]))

    def _refused(self, variant: str) -> bool:
        """Whether the policy takes no weights of this format."""
        formats = {TRAINING: PYTORCH, **dict.fromkeys(TWINS.values(), SAFETENSORS)}
        return self.policy.formats is not None and formats.get(variant, variant) not in self.policy.formats

    def _twin_outcome(self, path: str) -> Outcome:
        if self.outcomes[path] is Outcome.BLOCK and not self.policy.twin_of_blocked:
            return Outcome.BLOCK
        return self.integrity[path]

    def _verdict(self, variants: Sequence[Variant]) -> Verdict:
        chosen = self._chosen(variants)
        if chosen is None:
            outcome = worst([Outcome.ERROR, *self.outcomes.values(), self.whole])
            return Verdict(outcome=outcome, reasons=("there are no model weights among the files", *self._causes()))
        source = next((name for name, twin in TWINS.items() if twin == chosen.name), None)
        exempt = set(self.evidence.families.get(source, ())) if source is not None else set()
        others = [
            outcome
            for path, outcome in self.outcomes.items()
            if path not in exempt
            and (outcome is Outcome.BLOCK or (outcome is Outcome.ERROR and self.classes[path] in _LOADED))
        ]
        failed = [Outcome.ERROR] if self.evidence.failed else []
        outcome = worst([chosen.outcome, *others, *failed])
        weights = [path for path in chosen.files if path in self.weights]
        loads = ", ".join(weights[:3]) + (f" and {len(weights) - 3} more" if len(weights) > 3 else "")
        twin = "the safetensors twin of " if source is not None else ""
        subject = f"the variant {chosen.name}: a load would use {twin}{loads}"
        reasons = (subject, *self._refusal(chosen.name), *self._causes(exempt))
        return Verdict(outcome=outcome, variant=chosen.name, reasons=reasons)

    def _refusal(self, variant: str) -> tuple[str, ...]:
        taken = ", ".join(sorted(self.policy.formats or ()))
        return (f"the policy takes weights only as {taken}",) if self._refused(variant) else ()

    def _chosen(self, variants: Sequence[Variant]) -> Variant | None:
        """The variant that a load would take: the first, or its twin once that has been written."""
        loads = [variant for variant in variants if variant.name != TRAINING] or list(variants)
        if not loads:
            return None
        if not self.evidence.converted:
            return loads[0]
        return next((variant for variant in loads if variant.name == TWINS.get(loads[0].name)), loads[0])

    def _causes(self, exempt: Set[str] = frozenset()) -> list[str]:
        """The gravest findings and the gaps, as sentences."""
        graves = sorted(
            (finding for finding in self.evidence.findings if effect(finding, self.policy) is not Outcome.PASS),
            key=lambda finding: -finding.severity.rank,
        )
        causes = [
            f"{finding.file or 'the artifact'}: {finding.message} ({finding.rule})"
            for finding in graves
            if finding.file not in exempt or effect(finding, self.policy) is Outcome.BLOCK
        ]
        causes += [f"{item.file}: not examined: {item.reason}" for item in self.missed if item.file not in exempt]
        causes += [f"{path}: not converted: {reason}" for path, reason in self.evidence.failed.items()]
        more = len(causes) - _MAX_REASONS
        return causes[:_MAX_REASONS] + ([f"and {more} more"] if more > 0 else [])
