"""Take over a verdict: whose is the attestation, which files are here, and does it hold for them?

Rules:

- An attestor must be named, by an option or by the policy. A signer of models is no attestor by that.
- No file is scanned. Of a repository on the Hub the SHA-256 that its listing states at the pinned commit is enough, and
  nothing of it is downloaded; only where the listing states none (it names small files by SHA-1) a file is fetched and
  hashed. Without a network everything is hashed: an old listing is not the Hub's word. So are local files, because a
  folder states nothing.
- Enough of the attestors who were asked for must have signed, each for exactly these files; the verdict is the worst
  of theirs. Everything else is refused with its reason: what speaks against the files or the signature as a finding
  that blocks, what only makes the attestation not good enough as an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from aiverify.artifact import Artifact, ArtifactFile, FetchedFile, FileClass, SourceKind
from aiverify.attestations.acceptance import DEFAULT_MAX_AGE, Terms, differences, lapses
from aiverify.attestations.interface import AttestationError
from aiverify.attestations.summary import Summary, parse_summary
from aiverify.digests.hashing import Digesting, changed, compare
from aiverify.digests.interface import Memory
from aiverify.errors import UsageError, in_words
from aiverify.finding import Finding, Severity
from aiverify.progress import Progress
from aiverify.report import AttestationResult, Verdict, worst
from aiverify.rules import finding
from aiverify.signatures.bundle import Bundle, parse_bundle
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.presented import read
from aiverify.signatures.standing import Checker, Standing
from aiverify.signatures.trust import Instance, Trust, TrustSource
from aiverify.signers import Expectation, Proof, any_of, satisfied
from aiverify.sources.interface import Selection, Source
from aiverify.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestations:
    """The attestations that a user hands in, and what they have to keep to.

    ``policies`` are digests of policies that are allowed besides the one in force. ``oldest`` is the oldest version of
    aiverify whose word counts.
    """

    bundles: tuple[Path, ...]
    max_age: timedelta = DEFAULT_MAX_AGE
    policies: tuple[str, ...] = ()
    oldest: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """The files that are here, what the attestations were worth, and the verdict: that of a summary, if one held.

    ``findings`` are what speaks against it or, where a verdict was taken over, what else there is to say.
    """

    artifact: Artifact
    results: tuple[AttestationResult, ...]
    findings: tuple[Finding, ...] = ()
    summary: Summary | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """One attestation: its signature, and what it says if that could be read."""

    path: Path
    bundle: Bundle
    standing: Standing
    summary: Summary | None
    fault: str


def take_over(
    attestations: Attestations,
    *,
    source: Source,
    selection: Selection,
    attestors: Callable[[str | None], Sequence[Expectation]],
    policy: str,
    now: datetime,
    trusted_root: TrustSource | None,
    memory: Memory | None = None,
    progress: Progress,
) -> TakenOver:
    """The verdict of ``attestations`` on the files of ``source``. ``policy`` is the digest of the policy in force.

    ``attestors`` gives those whose verdict may be taken over for a repository, or for local files (``None``).

    Raises AttestationError when none of them can be used, and SourceError when the files cannot be had.
    """
    terms = Terms(
        policies=frozenset((policy, *attestations.policies)),
        oldest=attestations.oldest,
        now=now,
        max_age=attestations.max_age,
    )
    bundles = [(path, _bundle(path)) for path in attestations.bundles]
    artifact, said = _stated(source, selection, memory, progress)
    progress.stage("authenticate")
    expected = any_of(attestors(artifact.repo))
    if expected is None:
        raise UsageError(
            "an attestation is to be accepted, and nobody says whose",
            hint="Name the attestor: --attestor-identity and --attestor-oidc-issuer, --attestor-key or --attestor-ca, "
            "or [[attestors]] in the policy. A signer of the model is no attestor by that.",
        )
    checker = Checker(expected, Trust(trusted_root if trusted_root is not None else Instance.PRODUCTION))
    return _Court(expected, terms, artifact).judged([_read(path, bundle, checker) for path, bundle in bundles], said)


def _bundle(path: Path) -> Bundle:
    try:
        return parse_bundle(read(path))
    except MalformedError as error:
        raise AttestationError(f"the attestation {path} cannot be read: {in_words(error)}") from error


def _read(path: Path, bundle: Bundle, checker: Checker) -> _Read:
    summary, fault = None, ""
    try:
        summary = parse_summary(bundle.envelope.payload)
    except MalformedError as error:
        fault = str(error)
    return _Read(path, bundle, checker.standing(bundle, None, legacy=False), summary, fault)


class _Court:
    """The attestations of one artifact, weighed together."""

    def __init__(self, expected: Expectation, terms: Terms, artifact: Artifact) -> None:
        self._expected = expected
        self._terms = terms
        self._artifact = artifact

    def judged(self, found: Sequence[_Read], said: Sequence[Finding]) -> TakenOver:
        broken = [one for one in said if one.severity.rank >= Severity.HIGH.rank]
        grave = list(broken)
        weak: list[str] = []
        held: list[tuple[Proof, Summary]] = []
        results = []
        for one in found:
            against, reasons = self._objections(one)
            grave += against
            weak += [f"{one.path}: {reason}" for reason in reasons]
            if not against and not reasons and one.standing.proof is not None and one.summary is not None:
                held.append((one.standing.proof, one.summary))
            results.append(_result(one, [*(item.message for item in against), *reasons]))
        enough = satisfied(self._expected, [proof for proof, _ in held])
        if enough and not broken:
            summaries = [summary for _, summary in held]
            return replace(self._taken_over(summaries, tuple(results)), findings=tuple(said))
        if not grave:
            if not weak:
                weak = [f"{self._expected} must have attested it, and not all of them did"]
            raise AttestationError(
                f"no verdict can be taken over: {'; '.join(weak)}",
                hint="Verify the files themselves, without --accept-attestation.",
            )
        return TakenOver(artifact=self._artifact, results=tuple(results), findings=tuple(_once(grave)))

    def _objections(self, one: _Read) -> tuple[list[Finding], list[str]]:
        if not one.standing.expected:
            detail = one.standing.detail.replace("the signature", "its signature", 1)
            return [finding("AIV213", f"the attestation {one.path.name} does not count: {detail}")], []
        if one.summary is None:
            return [], [f"it cannot be used: {one.fault}"]
        return list(differences(one.summary, self._artifact)), list(lapses(one.summary, self._terms))

    def _taken_over(self, summaries: Sequence[Summary], results: tuple[AttestationResult, ...]) -> TakenOver:
        outcome = worst(summary.verdict.outcome for summary in summaries)
        summary = next(summary for summary in summaries if summary.verdict.outcome is outcome)
        files = {file.path: file for file in summary.artifact.files}
        attestors = " and ".join(dict.fromkeys(one.signer or "" for one in results if one.outcome == "accepted"))
        when = f"{summary.verified_at:%Y-%m-%d}"
        reasons = (
            f"by attestation: {attestors} says that these files were verified on {when} with aiverify "
            f"{summary.version}, and came out as {outcome}; nothing was scanned now",
        )
        artifact = replace(self._artifact, files=tuple(files[file.path] for file in self._artifact.files))
        verdict = Verdict(outcome=outcome, variant=summary.verdict.variant, reasons=reasons)
        return TakenOver(artifact=artifact, results=results, summary=summary, verdict=verdict)


def _result(one: _Read, against: Sequence[str]) -> AttestationResult:
    summary = one.summary
    return AttestationResult(
        kind=str(one.bundle.kind),
        outcome="refused" if against else "accepted",
        detail="; ".join(against[:5]) + (f"; and {len(against) - 5} more" if len(against) > 5 else "")
        if against
        else one.standing.detail,
        statement=hashlib.sha256(one.bundle.raw).hexdigest(),
        signer=one.standing.signer,
        root=one.standing.root,
        verified_at=f"{summary.verified_at:%Y-%m-%dT%H:%M:%SZ}" if summary else None,
        tool=f"aiverify {summary.version}" if summary else None,
        policy=summary.policy if summary else None,
        verdict=summary.verdict.outcome if summary else None,
    )


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """Several attestations may have the same against a file."""
    return list({(item.file, item.message): item for item in findings}.values())


# which files are here


def _stated(
    source: Source, selection: Selection, memory: Memory | None, progress: Progress
) -> tuple[Artifact, list[Finding]]:
    """The selected files with their digests, and what there is to say about them."""
    stated = source.stated(selection, progress)
    fetched = stated.fetched
    with Digesting(stated.here, memory=memory) as digesting:
        digesting.begin()
        digests = digesting.finish(progress)
        said = [
            *fetched.findings,
            *compare(stated.here, digests, stated=fetched.kind is SourceKind.HUB),
            *changed(digests),
        ]
    taken = {digest.path: digest.sha256 for digest in digests}
    files = tuple(_artifact_file(file, taken.get(file.path, file.sha256)) for file in fetched.files)
    return Artifact(source=fetched.kind, files=files, repo=fetched.repo, revision=fetched.revision), said


def _artifact_file(file: FetchedFile, sha256: str | None) -> ArtifactFile:
    return ArtifactFile(path=file.path, size=file.size, sha256=sha256, format="", file_class=FileClass.INERT)
