"""The one way through: fetch → scan → convert → digest → authenticate → judge → report → seal.

Only this module knows the order. Every stage takes values and returns values, and can be called on its own. Nothing
anywhere executes, imports or unpickles anything that came with an artifact.

Which files are meant is settled before anything of them is read. Their digests are taken while they are scanned and
converted, and second engines may think on meanwhile; nothing is published before all of them have had their say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from aiverify.artifact import Artifact, ArtifactFile, Fetched, SourceKind
from aiverify.digests.hashing import Digest, Digesting, changed
from aiverify.finding import Finding
from aiverify.formats.interface import Examination, Format
from aiverify.identification import files_of, said_of
from aiverify.layers import together
from aiverify.options import Options
from aiverify.pickles.engine import Engines, open_engines
from aiverify.progress import Progress, Silent
from aiverify.report import Conversion, Outcome, Report, SignatureResult
from aiverify.reporting import Reports, blocked
from aiverify.rules import finding
from aiverify.sources.interface import HostileSourceError, Preview, Selection, Source, SourceError
from aiverify.variants import Member, group, to_convert
from aiverify.verdict import Evidence, Judgement, effect, judge

if TYPE_CHECKING:
    from aiverify.attestations.stage import Attestations
    from aiverify.signatures.interface import Authentication

__all__ = ["Options", "run"]


def run(target: str, options: Options, progress: Progress | None = None) -> Report:
    """Verify ``target`` and report. Raises an AiverifyError of the stage that could not be done."""
    return _Run(target, options, progress or Silent()).report()


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
        self.reports = Reports(target, options.policy)
        self.foreseen: tuple[Fetched, Authentication] | None = None
        self.noticed = options.noticed

    def report(self) -> Report:
        from aiverify.sources.target import open_source

        source = self.options.source or open_source(self.target, self.options.hub)
        try:
            if self.options.attestations is not None:
                return self._taken_over(source, self.options.attestations)
            fetched = self._fetch(source)
            self.policy = self.options.policy.for_repository(fetched.repo)
            report = self._report_on(fetched)
            if self._fetched_again(source, fetched, report):
                report = self._report_on(fetched)
        except HostileSourceError as error:
            if self.foreseen is not None:
                return self.reports.foreseen(*self.foreseen)
            return self.reports.refused(error.finding)
        if self.options.seal is not None:
            self.options.seal(report, fetched)
        return report

    def _report_on(self, fetched: Fetched) -> Report:
        engines = open_engines(self.options.engines) if self.options.convert else nullcontext()
        with (
            Digesting(fetched.files, memory=self.options.memory, copies=self.options.copies) as digesting,
            engines as here,
        ):
            return self._examined(fetched, digesting, here)

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

    def _examined(self, fetched: Fetched, digesting: Digesting, here: Engines | None) -> Report:
        """Scan and convert while digests are taken; then ask whether the files are what somebody vouches for."""
        from aiverify.repository.whole import judged

        spare = self.options.hashed and self._spares(fetched)
        if self.options.hashed and not spare:
            digesting.begin()
        self._foresee_signatures(fetched)
        meant = digesting.meant()
        examinations = dict(self._scan(meant, here))
        formats = {path: item.format for path, item in examinations.items()}
        evidence = Evidence(
            files=self._files(fetched, formats, meant),
            findings=judged(fetched, meant, examinations, self._beside if fetched.repo is not None else None),
            unexamined=[item for examination in examinations.values() for item in examination.unexamined],
            families=group([Member(path, kind) for path, kind in formats.items()]),
        )
        if spare:
            digesting.begin(spared=to_convert(evidence.families))
        identify = cache(partial(self._identified, fetched, formats, digesting))

        @cache
        def late() -> list[Finding]:
            return [item for examination in examinations.values() for item in examination.settle()]

        def complete(evidence: Evidence) -> Evidence:
            identified = identify()
            said = [*identified.findings, *evidence.findings, *late(), *changed(identified.digests, evidence.findings)]
            return replace(evidence, files=identified.files, findings=said)

        conversions: tuple[Conversion, ...] = ()
        if self.options.convert:
            from aiverify.twins import Twins

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
        return self.reports.on(
            artifact,
            self._judged(evidence),
            signatures=identify().signatures,
            unexamined=evidence.unexamined,
            conversions=conversions,
            layers=together(layer for examination in examinations.values() for layer in examination.layers),
        )

    def _judged(self, evidence: Evidence) -> Judgement:
        return judge(evidence, self.policy, self.reports.started.date())

    def _taken_over(self, source: Source, attestations: Attestations) -> Report:
        """The report on files whose verdict somebody vouches for: nothing is scanned, converted or authenticated."""
        from aiverify.attestations.stage import take_over

        found = take_over(
            attestations,
            source=source,
            selection=self.options.wanted,
            attestors=lambda repo: [rule.expected for rule in self.policy.attestors if rule.applies_to(repo)],
            policy=self.policy.digest,
            now=self.reports.started,
            trusted_root=self.options.trusted_root,
            memory=self.options.memory,
            progress=self.progress,
        )
        judgement = Judgement(
            findings=found.findings,
            variants=found.summary.variants if found.summary else (),
            verdict=found.verdict or blocked(found.findings),
        )
        return replace(self.reports.on(found.artifact, judgement), attestations=found.results)

    # fetch, digest, authenticate, scan

    def _fetch(self, source: Source) -> Fetched:
        selection = self.options.wanted
        if not self.options.authenticate:
            return source.fetch(selection, self.progress)
        from aiverify.signatures.presented import is_signature

        wants = is_signature if not self.options.bundles else lambda _: False
        return source.fetch_previewed(selection, self.progress, Preview(wants=wants, look=self._look))

    def _beside(self, repo: str, selection: Selection) -> Fetched:
        """Files of another repository, which this one is compared with."""
        from aiverify.sources.hub import HubSource

        return HubSource(repo, replace(self.options.hub, revision=None, local_dir=None)).fetch(selection, Silent())

    def _look(self, stated: Fetched) -> None:
        """Fetch nothing more of a repository whose listing contradicts its signature."""
        from aiverify.signatures.preview import foreseen

        signers = self.options.signers(stated.repo)
        options = self.options
        policy = options.policy.for_repository(stated.repo)
        seen = foreseen(stated, bundles=options.bundles, signers=signers, trusted_root=options.trusted_root)
        if any(effect(item, policy) is Outcome.BLOCK for item in seen.findings):
            self.foreseen = stated, seen
            raise HostileSourceError(seen.findings[0])

    def _files(
        self, fetched: Fetched, formats: Mapping[str, Format], digests: Sequence[Digest]
    ) -> tuple[ArtifactFile, ...]:
        selected = bool(self.options.selection.include) or fetched.kind is SourceKind.FILE
        return files_of(formats, digests, selected=selected)

    def _spares(self, fetched: Fetched) -> bool:
        """Whether nobody asks for the digests of checkpoints: not the user, no source, no signature and no waiver."""
        if self.options.convert_to is None or self.options.conversion.digests:
            return False
        from aiverify.signatures.presented import is_signature

        vouched = self.options.bundles or self.policy.require_signature or self.options.signers(fetched.repo)
        signed = any(is_signature(file.path) or file.path.endswith(".sig") for file in fetched.files)
        return not (vouched or signed or self.policy.waivers or self.policy.known_bad or self.options.locked)

    def _identified(self, fetched: Fetched, formats: Mapping[str, Format], digesting: Digesting) -> _Identified:
        """Wait for the digests, compare them with what the source states, and ask who vouches for them."""
        digests = digesting.finish(self.progress)
        files = self._files(fetched, formats, digests)
        findings = [*self.noticed, *fetched.findings, *said_of(fetched, digests, files, self.policy)]
        signatures: tuple[SignatureResult, ...] = ()
        if self.options.authenticate:
            signatures, said = self._authenticate(fetched, files)
            findings += said
        if self.options.locked is not None:
            from aiverify.lock.comparison import unlocked

            findings += unlocked(
                self.options.locked,
                commit=fetched.revision,
                files=files,
                signatures=signatures,
                selection=self.options.selection,
            )
        return _Identified(digests, files, tuple(findings), signatures)

    def _foresee_signatures(self, fetched: Fetched) -> None:
        """Let the libraries that they need be imported meanwhile."""
        if not self.options.authenticate:
            return
        from aiverify.signatures.presented import is_signature

        beside = [file.location for file in fetched.files if is_signature(file.path)]
        if self.options.bundles or beside:
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
            signers=self.options.signers(fetched.repo),
            required=self.policy.require_signature,
            trusted_root=self.options.trusted_root,
            alone=fetched.kind is SourceKind.FILE,
        )
        return result.results, result.findings

    def _scan(self, digests: Sequence[Digest], here: Engines | None) -> Iterator[tuple[str, Examination]]:
        from aiverify.formats.many import Subject, examine_many  # only a run that examines something pays for it

        self.progress.stage("scan", sum(digest.size for digest in digests))
        examinations = examine_many(
            [
                Subject(location=item.location, path=item.path, size=item.size, state=astuple(item.identity))
                for item in digests
            ],
            trust=self.policy.trusted_globals,
            engines=self.options.engines,
            progress=self.progress,
            here=here,
        )
        return zip((digest.path for digest in digests), examinations, strict=True)
