"""What the signatures of an artifact come to together.

One signature speaks for itself. Of several, those of expected signers are taken together, path by path: a file is
vouched for if the signers whose manifests hold its bytes are enough of those that were asked for. Where that is not so,
or nobody was named, every signature is heard, and whatever one of them has against a file is said once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiverify.finding import Finding
from aiverify.report import FileState, SignatureResult
from aiverify.rules import finding
from aiverify.signatures.comparison import Comparison
from aiverify.signatures.interface import Authentication
from aiverify.signatures.presented import SIGNATURE_NAME
from aiverify.signatures.standing import Standing
from aiverify.signers import Expectation, Proof, satisfied

_NOT_READ = Standing("failed", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one signature comes to: its standing, and the comparison of its manifest with the files.

    ``unread`` stands in for the comparison where the manifest is of a kind that is not known, and ``broken`` is what is
    wrong with a signature that is none. ``notes`` are said in any case.
    """

    path: str | None
    kind: str
    standing: Standing = _NOT_READ
    comparison: Comparison | None = None
    unread: Standing | None = None
    broken: str = ""
    notes: tuple[Finding, ...] = ()


def combined(
    opinions: Sequence[Opinion], expected: Expectation | None, left_out: Sequence[str], *, required: bool
) -> Authentication:
    """The results, one for each signature, and everything that there is to say."""
    if not opinions:
        return _absent(expected, left_out, required=required)
    proofs = [opinion.standing.proof for opinion in opinions if opinion.comparison and opinion.standing.proof]
    enough = expected is not None and satisfied(expected, proofs)
    heard = [one for one in opinions if one.comparison and (one.standing.expected or not enough)]
    findings = [
        *(said for opinion in opinions for said in _about(opinion, enough=enough)),
        *_shortfall(opinions, expected, enough=enough),
        *_unnamed(opinions, expected, required=required),
        *_about_files(heard, expected if enough else None),
    ]
    return Authentication(tuple(_result(opinion) for opinion in opinions), tuple(findings))


def _absent(expected: Expectation | None, left_out: Sequence[str], *, required: bool) -> Authentication:
    where = f": the selection left {SIGNATURE_NAME} out" if SIGNATURE_NAME in left_out else ""
    if expected is not None:
        found = finding("AIV202", f"no signature was found{where}; one by {expected} is expected")
    elif required:
        found = finding("AIV202", f"no signature was found{where}; one is required")
    else:
        found = finding("AIV201", f"no signature was found beside the files{where}")
    return Authentication((SignatureResult(kind="none", outcome="absent", detail=found.message),), (found,))


def _about(opinion: Opinion, *, enough: bool) -> Iterator[Finding]:
    yield from opinion.notes
    for standing in (opinion.standing, opinion.unread):
        if standing is not None:
            yield from standing.surplus if enough and not standing.expected else standing.findings


def _shortfall(opinions: Sequence[Opinion], expected: Expectation | None, *, enough: bool) -> Iterator[Finding]:
    """Some of those who should have signed have, and others have not."""
    signers = [opinion.standing.signer for opinion in opinions if opinion.comparison and opinion.standing.expected]
    if expected is not None and signers and not enough:
        names = " and ".join(name for name in signers if name)
        yield finding("AIV212", f"signed by {names} only, and {expected} must have signed")


def _unnamed(opinions: Sequence[Opinion], expected: Expectation | None, *, required: bool) -> Iterator[Finding]:
    """A signature is required, and by nobody in particular."""
    valid = next((one for one in opinions if one.standing.outcome in ("unpinned", "unchecked")), None)
    if required and expected is None and valid is not None:
        message = "a signature is required, but nobody says by whom: name the signer that must have signed"
        yield finding("AIV202", message, file=valid.path)


def _about_files(heard: Sequence[Opinion], expected: Expectation | None) -> Iterator[Finding]:
    """What the manifests say about each path. ``expected`` is there when enough of the signers have signed."""
    comparisons = [(one.comparison, one.standing.proof) for one in heard if one.comparison is not None]
    paths = dict.fromkeys(path for comparison, _ in comparisons for path in comparison.states)
    for path in paths:
        holders = [proof for comparison, proof in comparisons if comparison.states.get(path) is FileState.MATCHING]
        said = [(comparison.findings[path], proof) for comparison, proof in comparisons if path in comparison.findings]
        against = [one for one, _ in said if one.rule == "AIV205"]
        if against:
            yield against[0]
        elif said and not holders:
            yield _of_enough(said, expected)
        elif expected is not None and not satisfied(expected, [proof for proof in holders if proof]):
            yield _too_few(path, [proof for proof in holders if proof], expected)


def _of_enough(said: Sequence[tuple[Finding, Proof | None]], expected: Expectation | None) -> Finding:
    """What to say of a file that nobody vouches for: the mildest word that enough of the signers go along with.

    One who left a file out of the signature, and says so, does not speak for another who never knew of it.
    """
    ranked = sorted(said, key=lambda one: one[0].severity.rank)
    for count, (mild, _) in enumerate(ranked, 1):
        if expected is not None and satisfied(expected, [proof for _, proof in ranked[:count] if proof]):
            return mild
    return ranked[-1][0]


def _too_few(path: str, holders: Sequence[Proof], expected: Expectation) -> Finding:
    signatures = "one signature vouches" if len(holders) == 1 else f"{len(holders)} signatures vouch"
    return finding("AIV212", f"only {signatures} for it, and {expected} must", file=path)


def _result(opinion: Opinion) -> SignatureResult:
    standing, comparison, kind = opinion.standing, opinion.comparison, str(opinion.kind)
    if opinion.broken:
        return SignatureResult(
            kind=kind, outcome="failed", detail=opinion.broken, signer=standing.signer, root=standing.root
        )
    if comparison is None:
        unread = opinion.unread or standing
        outcome = "failed" if standing.outcome == "failed" else unread.outcome
        return SignatureResult(
            kind=kind, outcome=outcome, detail=unread.detail, signer=standing.signer, root=standing.root
        )
    vouched = standing.outcome in ("verified", "unpinned")
    broken = comparison.count(FileState.MISMATCHING)
    detail = standing.detail
    if comparison.partial:
        left_out = comparison.count(FileState.NOT_COMPARED)
        signed = left_out + broken + comparison.count(FileState.MATCHING) + comparison.count(FileState.MISSING)
        detail = f"{detail}; partial: {left_out} of the {signed} signed files were not compared"
    return SignatureResult(
        kind=kind,
        outcome="failed" if broken else standing.outcome,
        detail=f"{detail}, but {broken} of the signed files changed" if broken else detail,
        signer=standing.signer,
        covers=comparison.covers if vouched else (),
        files=tuple(comparison.states.items()),
        partial=comparison.partial,
        root=standing.root,
    )
