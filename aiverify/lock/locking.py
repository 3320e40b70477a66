"""From a report to a lockfile's entry: what was verified, and nothing that was not.

The rules: every file has a digest, or there is no entry. Signers are those whose signatures were verified. A twin
stands in the lock with the digest that its receipt states.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiverify.artifact import ArtifactFile
from aiverify.lock.lockfile import LockedArtifact, LockedFile, LockedTwin, LockError
from aiverify.lock.naming import key_of_signer
from aiverify.report import Report
from aiverify.sources.hubclient.listing import SHA256, Standing

RECEIPT = ".receipt.json"
MAX_RECEIPT = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a conversion receipt says: the SHA-256 of the twin, and name and SHA-256 of the checkpoint."""

    sha256: str
    source: str
    source_sha256: str


def locked_artifact(
    key: str,
    report: Report,
    *,
    revision: str | None = None,
    standing: Standing | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    twins: Sequence[LockedTwin] = (),
) -> LockedArtifact:
    """The entry for the artifact called ``key``, which ``report`` is about. Raises LockError."""
    commit = report.artifact.revision
    if standing is not None and standing.commit != commit:
        raise LockError(f"{key}: the Hub gave {standing.commit} for {commit}", hint="Check HF_ENDPOINT and try again.")
    return LockedArtifact(
        target=key,
        revision=revision,
        commit=commit,
        created=None if standing is None else standing.created,
        verdict=report.verdict.outcome.value,
        variant=report.verdict.variant,
        policy=report.policy.digest,
        tool=report.tool,
        signers=tuple(
            sorted({key_of_signer(one.signer) for one in report.signatures if one.signer and one.outcome == "verified"})
        ),
        include=tuple(include),
        exclude=tuple(exclude),
        files=tuple(_file(key, file) for file in sorted(report.artifact.files, key=lambda file: file.path)),
        twins=tuple(sorted(twins, key=lambda twin: twin.source)),
    )


def _file(key: str, file: ArtifactFile) -> LockedFile:
    if file.sha256 is None:
        raise LockError(f"{key}: {file.path} has no digest", hint="Verify it with digests.")
    return LockedFile(path=file.path, size=file.size, sha256=file.sha256, format=file.format)


def written_twins(report: Report, folder: Path) -> tuple[LockedTwin, ...]:
    """The twins that the run behind ``report`` wrote into ``folder``, by their receipts."""
    return _matching(report, folder, [one.receipt for one in report.conversions if one.receipt is not None])


def twins_beside(report: Report, folder: Path) -> tuple[LockedTwin, ...]:
    """The twins whose receipts are among the files of the artifact in ``folder``."""
    return _matching(report, folder, [file.path for file in report.artifact.files if file.path.endswith(RECEIPT)])


def _matching(report: Report, folder: Path, receipts: Sequence[str]) -> tuple[LockedTwin, ...]:
    """The twins of those checkpoints that were verified, byte for byte."""
    sources = {file.path: file.sha256 for file in report.artifact.files}
    found = []
    for path in receipts:
        one = read_receipt(folder / path)
        if one is not None and sources.get(one.source) == one.source_sha256:
            output = path.removesuffix(RECEIPT)
            found.append(LockedTwin(source=one.source, output=output, sha256=one.sha256))
    return tuple(found)


def read_receipt(path: Path) -> Receipt | None:
    """The receipt at ``path``; ``None`` if it is none of a twin, or one that leaves a digest out."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECEIPT + 1)
        content: Any = json.loads(data) if len(data) <= MAX_RECEIPT else None
        subject, source = content["subject"][0], content["predicate"]["source"]
        facts = [subject["digest"]["sha256"], source["name"], source["sha256"]]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    if not all(isinstance(fact, str) for fact in facts):
        return None
    sha256, name, source_sha256 = facts
    if not SHA256.fullmatch(sha256) or not SHA256.fullmatch(source_sha256):
        return None
    return Receipt(sha256=sha256, source=name, source_sha256=source_sha256)
