"""Whether an artifact is the locked one: the same commit, the same files, the same bytes, the same signers.

Each difference is a finding (AIV602 to AIV604). A file that the selection of this run left out is no difference; one
that the lock does not name is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from aiverify.artifact import ArtifactFile
from aiverify.finding import Finding
from aiverify.lock.lockfile import LockedArtifact
from aiverify.lock.naming import key_of_signer
from aiverify.report import SignatureResult
from aiverify.rules import finding
from aiverify.sources.interface import Selection


def unlocked(
    locked: LockedArtifact,
    *,
    commit: str | None,
    files: Sequence[ArtifactFile],
    signatures: Sequence[SignatureResult],
    selection: Selection,
) -> list[Finding]:
    """What is not as it was locked. A signature that verifies needs no pin here: the lock is the pin."""
    left_out = {file.path for file in locked.files if not selection.wants(file.path)}
    signers = [item.signer for item in signatures if item.signer and item.outcome in ("verified", "unpinned")]
    return [
        *differences(locked, commit=commit, files=files, left_out=left_out),
        *signer_differences(locked, signers),
    ]


def differences(
    locked: LockedArtifact,
    *,
    commit: str | None,
    files: Sequence[ArtifactFile],
    left_out: Collection[str] = (),
) -> list[Finding]:
    """What differs between the locked artifact and what is there. Files without a digest are not the locked ones."""
    return [*_commit(locked, commit), *_files(locked, files, left_out)]


def signer_differences(locked: LockedArtifact, signers: Sequence[str]) -> list[Finding]:
    """Signers that vouched for the locked artifact, and are not among those whose signatures were verified now."""
    found = {key_of_signer(signer) for signer in signers}
    return [
        finding(
            "AIV604",
            f"the locked artifact was signed by {signer}, this one is not",
            evidence={"locked": signer, "found": list(signers)},
        )
        for signer in locked.signers
        if key_of_signer(signer) not in found
    ]


def _commit(locked: LockedArtifact, commit: str | None) -> Iterator[Finding]:
    if locked.commit is not None and commit != locked.commit:
        text = f"the lock pins commit {locked.commit}, this is {commit or 'none'}"
        yield finding("AIV602", text, evidence={"locked": locked.commit, "found": commit})


def _files(locked: LockedArtifact, files: Sequence[ArtifactFile], left_out: Collection[str]) -> Iterator[Finding]:
    expected = {file.path: file for file in locked.files}
    found = {file.path: file for file in files}
    for path in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(path), found.get(path)
        if theirs is None:
            if path not in left_out:
                yield finding("AIV603", "is locked, but it is not there", file=path)
        elif ours is None:
            yield finding("AIV603", "is not in the lock", file=path)
        elif (ours.size, ours.sha256) != (theirs.size, theirs.sha256):
            yield finding(
                "AIV602",
                "is not the locked file",
                file=path,
                evidence={"locked": ours.sha256, "found": theirs.sha256},
            )
