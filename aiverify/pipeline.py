"""The one way through: fetch → digest → authenticate → scan → convert → judge → report.

Only this module knows the order. Every stage takes values and returns values, and can be called on its own. Nothing
anywhere executes, imports or unpickles anything that came with an artifact.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import Artifact, ArtifactFile, Fetched, FileClass, SourceKind
from aiverify.digests.hashing import Digest, changed, compare, digest_files
from aiverify.errors import AiverifyError
from aiverify.finding import Finding, Unexamined
from aiverify.formats.examine import examine, recognise
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.names import file_class
from aiverify.pickles.fickling_engine import FicklingEngine
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule
from aiverify.progress import Progress, Silent
from aiverify.report import Conversion, Outcome, Report, SignatureResult, Verdict
from aiverify.sources.interface import HostileSourceError, HubOptions, Selection
from aiverify.variants import PYTORCH, TWIN, Member, classes, group
from aiverify.verdict import Evidence, Judgement, effect, judge
from aiverify.version import __version__

if TYPE_CHECKING:
    from aiverify.convert.planning import Planning
    from aiverify.convert.stage import Companion
    from aiverify.signatures.interface import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversions:
    """How twins are made, where they are asked for.

    ``required``: an artifact without checkpoints is an error. ``salvage``: the tensors of a blocked artifact are taken,
    too; that changes nothing about its verdict. ``digests``: take checksums and digests of the twins. ``with_config``:
    copy configuration and inert files beside them.
    """

    required: bool = False
    salvage: bool = False
    digests: bool = True
    with_config: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one run is done. ``authenticate`` and ``convert`` leave those stages out when false.

    ``bundle`` names a signature bundle, ``trusted_root`` a Sigstore trusted root. ``convert_to`` is the folder for
    twins; without it conversion is planned and proved, but nothing is written. ``conversion`` says how twins are made.
    ``second_engine`` asks fickling, too.
    """

    policy: Policy = DEFAULT_POLICY
    selection: Selection = field(default_factory=Selection)
    hub: HubOptions = field(default_factory=HubOptions)
    bundle: Path | None = None
    trusted_root: Path | None = None
    convert_to: Path | None = None
    authenticate: bool = True
    convert: bool = True
    conversion: Conversions = field(default_factory=lambda: Conversions())
    second_engine: bool = True


def run(target: str, options: Options, progress: Progress | None = None) -> Report:
    """Verify ``target`` and report. Raises an AiverifyError of the stage that could not be done."""
    return _Run(target, options, progress or Silent()).report()


def unverified(target: str, policy: Policy, error: AiverifyError) -> Report:
    """The report on a run over ``target`` that ``error`` put an end to."""
    return _Run(target, Options(policy=policy), Silent()).unverified(error)


class _Run:
    """One run: the facts that the report begins with, and the stages in their order."""

    def __init__(self, target: str, options: Options, progress: Progress) -> None:
        self.target = target
        self.options = options
        self.policy = options.policy
        self.progress = progress
        self.started = datetime.datetime.now(datetime.UTC)
        self.clock = time.monotonic()

    def report(self) -> Report:
        try:
            fetched = self._fetch()
        except HostileSourceError as error:
            return self._refused(error.finding)
        digests = list(digest_files(fetched.files, self.progress))
        findings = [*fetched.findings, *compare(fetched.files, digests, stated=fetched.kind is SourceKind.HUB)]
        signatures: tuple[SignatureResult, ...] = ()
        if self.options.authenticate:
            formats = {digest.path: recognise(digest.location, digest.path) for digest in digests}
            signatures, said = self._authenticate(fetched, self._files(fetched, formats, digests))
            findings += said
        examinations = dict(self._scan(digests))
        findings += [item for examination in examinations.values() for item in examination.findings]
        unexamined = [item for examination in examinations.values() for item in examination.unexamined]
        files = self._files(fetched, {path: item.format for path, item in examinations.items()}, digests)
        evidence = Evidence(
            files=files,
            findings=findings,
            unexamined=unexamined,
            families=group([Member(file.path, Format(file.format)) for file in files]),
        )
        conversions: tuple[Conversion, ...] = ()
        if self.options.convert:
            evidence, conversions = self._converted(fetched, digests, evidence, examinations)
        evidence = replace(evidence, findings=[*evidence.findings, *changed(digests)])
        judgement = judge(evidence, self.policy, self.started.date())
        artifact = Artifact(source=fetched.kind, files=files, repo=fetched.repo, revision=fetched.revision)
        return self._report(artifact, signatures, unexamined, conversions, judgement)

    def _converted(
        self,
        fetched: Fetched,
        digests: Sequence[Digest],
        evidence: Evidence,
        examinations: Mapping[str, Examination],
    ) -> tuple[Evidence, tuple[Conversion, ...]]:
        """Plan every checkpoint; write the twins if that was asked for and the policy would let a load take them."""
        planning = self._plan(fetched, digests, examinations)
        evidence = replace(
            evidence,
            findings=[*evidence.findings, *planning.findings],
            convertible=[item.path for item in planning.planned],
        )
        output, wanted = self.options.convert_to, evidence.families.get(PYTORCH, ())
        if output is None:
            return evidence, planning.conversions
        if not wanted:
            failed = {"the artifact": "it has no PyTorch checkpoint"} if self.options.conversion.required else {}
            return replace(evidence, failed=failed), planning.conversions
        salvaged = self._blocked(evidence)
        if salvaged and not self.options.conversion.salvage:
            return evidence, planning.conversions
        missing = set(wanted).difference(evidence.convertible)
        if missing:
            reasons = {item.file: item.message for item in planning.findings if item.rule == "AIV410"}
            failed = {path: reasons.get(path, "it could not be read as a checkpoint") for path in sorted(missing)}
            return replace(evidence, failed=failed), planning.conversions
        conversions = self._convert(fetched, planning, evidence, output, salvaged=salvaged)
        return replace(evidence, converted=True), conversions

    def _blocked(self, evidence: Evidence) -> bool:
        """Whether the policy blocks the twin, or the artifact that it is of, before there is one."""
        judgement = judge(replace(evidence, converted=True), self.policy, self.started.date())
        twins = [variant.outcome for variant in judgement.variants if variant.name == TWIN]
        return bool(twins) and Outcome.BLOCK in (*twins, judgement.verdict.outcome)

    # fetch and digest

    def _fetch(self) -> Fetched:
        from aiverify.sources.target import open_source

        selection = self.options.selection
        if selection.include and self.options.authenticate:  # a selection of files does not deselect their signature
            selection = replace(selection, include=(*selection.include, "model.sig"))
        return open_source(self.target, self.options.hub).fetch(selection, self.progress)

    def _files(
        self, fetched: Fetched, formats: Mapping[str, Format], digests: Sequence[Digest]
    ) -> tuple[ArtifactFile, ...]:
        selected = bool(self.options.selection.include) or fetched.kind is SourceKind.FILE
        kinds = classes([Member(path, kind) for path, kind in formats.items()], selected=selected)
        return tuple(
            ArtifactFile(
                path=digest.path,
                size=digest.size,
                sha256=digest.sha256,
                format=formats[digest.path],
                file_class=kinds[digest.path],
            )
            for digest in digests
        )

    # authenticate

    def _authenticate(
        self, fetched: Fetched, files: Sequence[ArtifactFile]
    ) -> tuple[tuple[SignatureResult, ...], tuple[Finding, ...]]:
        from aiverify.signatures.stage import authenticate

        self.progress.stage("authenticate")
        signers = [rule for rule in self.policy.signers if rule.applies_to(fetched.repo)]
        result = authenticate(
            files=files,
            root=fetched.root,
            left_out=fetched.left_out,
            bundle=self.options.bundle,
            signers=[_signer(rule) for rule in signers],
            required=self.policy.require_signature,
            trusted_root=self.options.trusted_root,
        )
        return result.results, result.findings

    # scan

    def _scan(self, digests: Sequence[Digest]) -> Iterator[tuple[str, Examination]]:
        self.progress.stage("scan", sum(digest.size for digest in digests))
        with contextlib.ExitStack() as stack:
            engine = FicklingEngine() if self.options.second_engine else None
            if engine is not None:
                stack.callback(engine.close)
            options = ScanOptions(trust=self.policy.trusted_globals, engine=engine)
            for digest in digests:
                self.progress.detail(digest.path)
                yield digest.path, examine(digest.location, digest.path, options)
                self.progress.advance(digest.size)

    # convert

    def _plan(self, fetched: Fetched, digests: Sequence[Digest], examinations: Mapping[str, Examination]) -> Planning:
        from aiverify.convert.planning import Candidate, plan_all

        candidates = [
            Candidate(
                path=digest.path,
                location=digest.location,
                size=digest.size,
                sha256=digest.sha256,
                identity=digest.identity,
                checkpoint=examinations[digest.path].checkpoint,
                tensors=examinations[digest.path].tensors,
            )
            for digest in digests
            if file_class(examinations[digest.path].format) is FileClass.WEIGHTS
        ]
        configuration = {
            digest.path: digest.location for digest in digests if examinations[digest.path].format is Format.JSON
        }
        return plan_all(candidates, configuration, fetched.left_out)

    def _convert(
        self, fetched: Fetched, planning: Planning, evidence: Evidence, output: Path, *, salvaged: bool
    ) -> tuple[Conversion, ...]:
        """Write the twins of the PyTorch checkpoints into the folder ``output``."""
        from aiverify.convert.stage import Manner, convert_checkpoints

        members = [item for item in planning.planned if item.path in evidence.families[PYTORCH]]
        shards = {item.path for item in members}
        return convert_checkpoints(
            members,
            output,
            self.progress,
            repo=fetched.repo,
            revision=fetched.revision,
            artifact_root=fetched.root if fetched.kind is not SourceKind.FILE else None,
            hub_cache=self.options.hub.cache_dir,
            indexes=[index for index in planning.indexes if shards.intersection(index.shards.values())],
            companions=self._companions(fetched, evidence) if self.options.conversion.with_config else (),
            manner=Manner(digests=self.options.conversion.digests, salvaged=salvaged),
        )

    def _companions(self, fetched: Fetched, evidence: Evidence) -> list[Companion]:
        """Configuration and inert files that nothing was said against, without those that are about the checkpoints."""
        from aiverify.convert.index import is_index
        from aiverify.convert.stage import Companion

        doubtful = {item.file for item in evidence.findings if effect(item, self.policy) is not Outcome.PASS}
        doubtful |= {item.file for item in evidence.unexamined}
        places = {file.path: file.location for file in fetched.files}
        return [
            Companion(path=file.path, location=places[file.path], sha256=file.sha256)
            for file in evidence.files
            if file.file_class in (FileClass.CONFIG, FileClass.INERT)
            and file.path not in doubtful
            and not is_index(file.path)
            and not file.path.endswith(".sig")
        ]

    # judge and report

    def _report(
        self,
        artifact: Artifact,
        signatures: tuple[SignatureResult, ...],
        unexamined: Sequence[Unexamined],
        conversions: tuple[Conversion, ...],
        judgement: Judgement,
    ) -> Report:
        return Report(
            tool=f"aiverify {__version__}",
            started_at=self.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            duration_s=round(time.monotonic() - self.clock, 3),
            target=self.target,
            policy=self.policy.record,
            artifact=artifact,
            signatures=signatures,
            findings=judgement.findings,
            unexamined=tuple(unexamined),
            conversions=conversions,
            variants=judgement.variants,
            verdict=judgement.verdict,
        )

    def _refused(self, evidence: Finding) -> Report:
        """The report on a source that behaved as no honest one does. Nothing of it was taken."""
        verdict = Verdict(outcome=Outcome.BLOCK, reasons=(f"{evidence.message} ({evidence.rule})",))
        judgement = Judgement(findings=(evidence,), variants=(), verdict=verdict)
        return self._report(self._nothing(), (), (), (), judgement)

    def unverified(self, error: AiverifyError) -> Report:
        """The report on a run that could not be done."""
        verdict = Verdict(outcome=Outcome.ERROR, reasons=tuple(error.diagnostics().splitlines()))
        judgement = Judgement(findings=(), variants=(), verdict=verdict)
        return self._report(self._nothing(), (), (), (), judgement)

    def _nothing(self) -> Artifact:
        """The artifact of which no file was examined."""
        if not self.target.startswith("hf://") and os.path.lexists(self.target):
            return Artifact(source=SourceKind.FOLDER, files=())
        return Artifact(source=SourceKind.HUB, files=(), repo=self.target.removeprefix("hf://").partition("@")[0])


def _signer(rule: SignerRule) -> Signer:
    from aiverify.signatures.interface import KeylessSigner, KeySigner

    if rule.key is not None:
        return KeySigner(pem=rule.key.encode(), name=rule.key_name)
    return KeylessSigner(identity=rule.identity or "", issuer=rule.issuer or "")
