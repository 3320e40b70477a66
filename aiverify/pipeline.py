"""The one way through: fetch → scan → convert → digest → authenticate → judge → report → seal.

Only this module knows the order. Every stage takes values and returns values, and can be called on its own. Nothing
anywhere executes, imports or unpickles anything that came with an artifact.

Which files are meant is settled before anything of them is read. Their digests are taken while they are scanned and
converted; nothing is published before digests and signatures have had their say.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import Artifact, ArtifactFile, Fetched, SourceKind
from aiverify.digests.hashing import Digest, Digesting, changed, compare
from aiverify.digests.interface import Copies, Memory
from aiverify.errors import AiverifyError
from aiverify.finding import Finding, Unexamined
from aiverify.formats.interface import Examination, Format
from aiverify.known_bad import listed
from aiverify.policy import DEFAULT_POLICY, Policy
from aiverify.progress import Progress, Silent
from aiverify.report import Conversion, Outcome, Report, SignatureResult, Verdict, worst
from aiverify.rules import finding
from aiverify.sources.identity import lookalikes
from aiverify.sources.interface import HostileSourceError, HubOptions, Preview, Selection, Source, SourceError
from aiverify.twins import Conversions, Twins
from aiverify.variants import Member, classes, group, to_convert
from aiverify.verdict import Evidence, Judgement, effect, judge
from aiverify.version import __version__

if TYPE_CHECKING:
    from aiverify.attestations.stage import Attestations
    from aiverify.lock.lockfile import LockedArtifact
    from aiverify.signatures.interface import Authentication
    from aiverify.signatures.trust import TrustSource
    from aiverify.signers import Expectation

__all__ = ["Conversions", "Options", "known", "run", "unverified"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one run is done. ``authenticate`` and ``convert`` leave those stages out when false.

    ``bundles`` name signatures, ``trusted_root`` a Sigstore trusted root. ``convert_to`` is the folder for
    twins; without it conversion is planned and proved, but nothing is written. ``conversion`` says how twins are made.
    ``engines`` are the names of second engines. Without ``digests`` no file is hashed, unless a waiver needs it.
    ``source`` stands for the target where that is only a name. The artifact must be the one that is ``locked``.
    ``noticed`` is what is known of it beforehand. ``memory`` has digests that earlier runs took. ``seal`` is given the
    report on files that were examined, and where they lie; ``copies`` takes copies for it while they are hashed.
    From ``attestations`` the verdict is taken over, and nothing is examined.
    """

    policy: Policy = DEFAULT_POLICY
    selection: Selection = field(default_factory=Selection)
    hub: HubOptions = field(default_factory=HubOptions)
    bundles: tuple[Path, ...] = ()
    trusted_root: TrustSource | None = None
    convert_to: Path | None = None
    authenticate: bool = True
    convert: bool = True
    conversion: Conversions = field(default_factory=lambda: Conversions())
    engines: tuple[str, ...] = ("fickling",)
    digests: bool = True
    source: Source | None = None
    locked: LockedArtifact | None = None
    noticed: tuple[Finding, ...] = ()
    memory: Memory | None = None
    copies: Copies | None = None
    seal: Callable[[Report, Fetched], None] | None = None
    attestations: Attestations | None = None

    @property
    def wanted(self) -> Selection:
        """The files to fetch: a selection of files does not deselect their signature."""
        if not (self.selection.include and self.authenticate):
            return self.selection
        return replace(self.selection, include=(*self.selection.include, "model.sig", "model.*.sig"))


def run(target: str, options: Options, progress: Progress | None = None) -> Report:
    """Verify ``target`` and report. Raises an AiverifyError of the stage that could not be done."""
    return _Run(target, options, progress or Silent()).report()


def unverified(target: str, policy: Policy, error: AiverifyError) -> Report:
    """The report on a run over ``target`` that ``error`` put an end to."""
    return _Run(target, Options(policy=policy), Silent()).unverified(error)


def known(target: str, policy: Policy, artifact: Artifact, findings: Sequence[Finding]) -> Report:
    """The report on an artifact that nobody looked at now: what is known of it, and what that comes to."""
    return _Run(target, Options(policy=policy), Silent()).known(artifact, tuple(findings))


@dataclass(frozen=True, slots=True)
class _Identified:
    """What the files are by digest, what that says, and who vouches for them."""

    digests: Sequence[Digest]
    files: tuple[ArtifactFile, ...]
    findings: tuple[Finding, ...]
    signatures: tuple[SignatureResult, ...]


class _Run:
    """One run: the facts that the report begins with, and the stages in their order."""

    def __init__(self, target: str, options: Options, progress: Progress) -> None:
        self.target = target
        self.options = options
        self.policy = options.policy
        self.progress = progress
        self.started = datetime.datetime.now(datetime.UTC)
        self.clock = time.monotonic()
        self.foreseen: tuple[Fetched, Authentication] | None = None
        self.noticed = options.noticed

    def report(self) -> Report:
        from aiverify.sources.target import open_source

        source = self.options.source or open_source(self.target, self.options.hub)
        try:
            if self.options.attestations is not None:
                return self._taken_over(source, self.options.attestations)
            fetched = self._fetch(source)
            report = self._report_on(fetched)
            if self._fetched_again(source, fetched, report):
                report = self._report_on(fetched)
        except HostileSourceError as error:
            return self._refused(error.finding)
        if self.options.seal is not None:
            self.options.seal(report, fetched)
        return report

    def _report_on(self, fetched: Fetched) -> Report:
        with Digesting(fetched.files, memory=self.options.memory, copies=self.options.copies) as digesting:
            return self._examined(fetched, digesting)

    def _fetched_again(self, source: Source, fetched: Fetched, report: Report) -> bool:
        """Whether files that were not what the source states have been put right. They are, and that is said."""
        paths = {file.path for file in fetched.files}
        damaged = [item for item in report.findings if item.rule == "AIV101" and "stated" in item.evidence]
        damaged = [item for item in damaged if item.file in paths]
        if not damaged or self.options.conversion.salvage:
            return False
        try:
            if not source.fetch_again(fetched, [item.file for item in damaged if item.file], self.progress):
                return False
        except HostileSourceError:
            raise
        except SourceError:
            return False
        self.noticed += tuple(
            finding(
                "AIV105", "was not what the Hub states, and was fetched again", file=item.file, evidence=item.evidence
            )
            for item in damaged
        )
        return True

    def _examined(self, fetched: Fetched, digesting: Digesting) -> Report:
        """Scan and convert while digests are taken; then ask whether the files are what somebody vouches for."""
        from aiverify.repository.whole import judged

        hashed = self.options.digests or bool(self.policy.waivers or self.policy.known_bad)
        spare = hashed and self._spares(fetched)
        if hashed and not spare:
            digesting.begin()
        self._foresee_signatures(fetched)
        meant = digesting.meant()
        examinations = dict(self._scan(meant))
        formats = {path: item.format for path, item in examinations.items()}
        evidence = Evidence(
            files=self._files(fetched, formats, meant),
            findings=judged(fetched, meant, examinations),
            unexamined=[item for examination in examinations.values() for item in examination.unexamined],
            families=group([Member(path, kind) for path, kind in formats.items()]),
        )
        if spare:
            digesting.begin(spared=to_convert(evidence.families))
        identify = cache(partial(self._identified, fetched, formats, digesting))

        def complete(evidence: Evidence) -> Evidence:
            identified = identify()
            said = [*identified.findings, *evidence.findings, *changed(identified.digests)]
            return replace(evidence, files=identified.files, findings=said)

        conversions: tuple[Conversion, ...] = ()
        if self.options.convert:
            twins = Twins(
                fetched=fetched,
                wanted=self.options.conversion,
                output=self.options.convert_to,
                hub_cache=self.options.hub.cache_dir,
                progress=self.progress,
                policy=self.policy,
                complete=complete,
                judge=self._judged,
            )
            evidence, conversions = twins.made(evidence, meant, examinations)
        evidence = complete(evidence)
        artifact = Artifact(
            source=fetched.kind, files=tuple(evidence.files), repo=fetched.repo, revision=fetched.revision
        )
        return self._report(artifact, identify().signatures, evidence.unexamined, conversions, self._judged(evidence))

    def _judged(self, evidence: Evidence) -> Judgement:
        return judge(evidence, self.policy, self.started.date())

    def _taken_over(self, source: Source, attestations: Attestations) -> Report:
        """The report on files whose verdict somebody vouches for: nothing is scanned, converted or authenticated."""
        from aiverify.attestations.stage import take_over

        found = take_over(
            attestations,
            source=source,
            selection=self.options.wanted,
            attestors=lambda repo: [rule.expected for rule in self.policy.attestors if rule.applies_to(repo)],
            policy=self.policy.digest,
            now=self.started,
            trusted_root=self.options.trusted_root,
            memory=self.options.memory,
            progress=self.progress,
        )
        refused = tuple(f"{item.file or 'the artifact'}: {item.message} ({item.rule})" for item in found.findings[:5])
        judgement = Judgement(
            findings=found.findings,
            variants=found.summary.variants if found.summary else (),
            verdict=found.verdict or Verdict(outcome=Outcome.BLOCK, reasons=refused),
        )
        return replace(self._report(found.artifact, (), (), (), judgement), attestations=found.results)

    # fetch, digest, authenticate, scan

    def _fetch(self, source: Source) -> Fetched:
        from aiverify.signatures.presented import is_signature

        selection = self.options.wanted
        if not self.options.authenticate:
            return source.fetch(selection, self.progress)
        wants = is_signature if not self.options.bundles else lambda _: False
        return source.fetch_previewed(selection, self.progress, Preview(wants=wants, look=self._look))

    def _look(self, stated: Fetched) -> None:
        """Fetch nothing more of a repository whose listing contradicts its signature."""
        from aiverify.signatures.preview import foreseen

        signers = self._signers(stated.repo)
        options = self.options
        seen = foreseen(stated, bundles=options.bundles, signers=signers, trusted_root=options.trusted_root)
        if any(effect(item, self.policy) is Outcome.BLOCK for item in seen.findings):
            self.foreseen = stated, seen
            raise HostileSourceError(seen.findings[0])

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

    def _spares(self, fetched: Fetched) -> bool:
        """Whether nobody asks for the digests of checkpoints: not the user, no source, no signature and no waiver."""
        from aiverify.signatures.presented import is_signature

        wanted = self.options.convert_to is None or self.options.conversion.digests
        vouched = self.options.bundles or self.policy.require_signature or self._signers(fetched.repo)
        signed = any(is_signature(file.path) or file.path.endswith(".sig") for file in fetched.files)
        return not (wanted or vouched or signed or self.policy.waivers or self.policy.known_bad or self.options.locked)

    def _identified(self, fetched: Fetched, formats: Mapping[str, Format], digesting: Digesting) -> _Identified:
        """Wait for the digests, compare them with what the source states, and ask who vouches for them."""
        digests = digesting.finish(self.progress)
        files = self._files(fetched, formats, digests)
        findings = [*self.noticed, *fetched.findings]
        findings += compare(fetched.files, digests, stated=fetched.kind is SourceKind.HUB)
        if fetched.repo is not None and self.policy.known_repositories:
            findings += lookalikes(fetched.repo, self.policy.known_repositories)
        findings += listed(self.policy.known_bad, fetched.repo, fetched.revision, files)
        signatures: tuple[SignatureResult, ...] = ()
        if self.options.authenticate:
            signatures, said = self._authenticate(fetched, files)
            findings += said
        if self.options.locked is not None:
            findings += self._unlocked(self.options.locked, fetched, files, signatures)
        return _Identified(digests, files, tuple(findings), signatures)

    def _foresee_signatures(self, fetched: Fetched) -> None:
        """Let the libraries that they need be imported meanwhile."""
        from aiverify.signatures.presented import is_signature

        beside = [file.location for file in fetched.files if is_signature(file.path)]
        if self.options.authenticate and (self.options.bundles or beside):
            from aiverify.signatures.ahead import import_ahead

            import_ahead(self.options.bundles or beside)

    def _authenticate(
        self, fetched: Fetched, files: Sequence[ArtifactFile]
    ) -> tuple[tuple[SignatureResult, ...], tuple[Finding, ...]]:
        from aiverify.signatures.stage import authenticate

        self.progress.stage("authenticate")
        result = authenticate(
            files=files,
            root=fetched.root,
            left_out=fetched.left_out,
            bundles=self.options.bundles,
            signers=self._signers(fetched.repo),
            required=self.policy.require_signature,
            trusted_root=self.options.trusted_root,
            alone=fetched.kind is SourceKind.FILE,
        )
        return result.results, result.findings

    def _unlocked(
        self,
        locked: LockedArtifact,
        fetched: Fetched,
        files: Sequence[ArtifactFile],
        signatures: Sequence[SignatureResult],
    ) -> list[Finding]:
        """What is not as it was locked. A signature that verifies needs no pin here: the lock is the pin."""
        from aiverify.lock.comparison import differences, signer_differences

        left_out = {file.path for file in locked.files if not self.options.selection.wants(file.path)}
        signers = [item.signer for item in signatures if item.signer and item.outcome in ("verified", "unpinned")]
        found = differences(locked, commit=fetched.revision, files=files, left_out=left_out)
        return [*found, *signer_differences(locked, signers)]

    def _signers(self, repo: str | None) -> list[Expectation]:
        return [rule.expected for rule in self.policy.signers if rule.applies_to(repo)]

    def _scan(self, digests: Sequence[Digest]) -> Iterator[tuple[str, Examination]]:
        from aiverify.formats.many import Subject, examine_many  # only a run that examines something pays for it

        self.progress.stage("scan", sum(digest.size for digest in digests))
        examinations = examine_many(
            [Subject(location=digest.location, path=digest.path, size=digest.size) for digest in digests],
            trust=self.policy.trusted_globals,
            engines=self.options.engines,
            progress=self.progress,
            checkpoints=self.options.convert,
        )
        return zip((digest.path for digest in digests), examinations, strict=True)

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
        if self.foreseen is not None:
            return self._foreseen(*self.foreseen)
        verdict = Verdict(outcome=Outcome.BLOCK, reasons=(f"{evidence.message} ({evidence.rule})",))
        judgement = Judgement(findings=(evidence,), variants=(), verdict=verdict)
        return self._report(self._nothing(), (), (), (), judgement)

    def _foreseen(self, stated: Fetched, seen: Authentication) -> Report:
        """The report on a repository whose listing contradicts its signature. Nothing but that was taken."""
        reasons = tuple(f"{item.file}: {item.message} ({item.rule})" for item in seen.findings[:5])
        verdict = Verdict(outcome=Outcome.BLOCK, reasons=reasons)
        judgement = Judgement(findings=seen.findings, variants=(), verdict=verdict)
        artifact = Artifact(source=stated.kind, files=(), repo=stated.repo, revision=stated.revision)
        return self._report(artifact, seen.results, (), (), judgement)

    def known(self, artifact: Artifact, findings: tuple[Finding, ...]) -> Report:
        """The report on what is known without a look at the files."""
        outcome = worst(effect(item, self.policy) for item in findings)
        reasons = tuple(
            f"{item.file or 'the artifact'}: {item.message} ({item.rule})"
            for item in findings
            if effect(item, self.policy) is not Outcome.PASS
        )
        verdict = Verdict(outcome=outcome, reasons=("its files were not examined", *reasons))
        return self._report(artifact, (), (), (), Judgement(findings=findings, variants=(), verdict=verdict))

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
