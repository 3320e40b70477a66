"""Whether what a lockfile says still holds: what the Hub says now, what became of the twins, and today's policy.

A question that cannot be asked (no network, a Hub out of order) raises SourceError: it is no answer. That a repository
or a commit is not there any more is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from aiverify.finding import Finding, Severity
from aiverify.lock.lockfile import LockedArtifact
from aiverify.lock.locking import RECEIPT, read_receipt
from aiverify.lock.pinning import selection_of
from aiverify.rules import finding
from aiverify.sources.hub import HubSource
from aiverify.sources.hubclient.listing import Listing
from aiverify.sources.identity import renamed
from aiverify.sources.interface import GoneError
from aiverify.sources.statements import narrowed

#: What a pin may be moved on over: a branch that went on, and another policy. Everything else is for a person.
MOVABLE = frozenset(("AIV605", "AIV609"))

_CHUNK = 1 << 20


def asked(locked: LockedArtifact, source: HubSource) -> list[Finding]:
    """What the Hub says now about a locked repository. Raises SourceError when it says nothing."""
    commit = locked.commit or ""
    try:
        standing = source.standing(locked.revision or commit)
    except GoneError as error:
        said = [_gone(str(error), commit)]
    else:
        said = [*renamed(source.repo, standing.name, severity=Severity.HIGH)]
        if locked.created is not None and standing.created != locked.created:
            text = f"the repository was made at {standing.created or 'an unknown time'}; when it was locked, that was"
            evidence = {"locked": locked.created, "found": standing.created}
            said.append(finding("AIV607", f"{text} {locked.created}", evidence=evidence))
        if standing.commit != commit:
            text = f"{locked.revision} leads to {standing.commit} now; the locked commit is {commit}"
            said.append(finding("AIV605", text, evidence={"locked": commit, "found": standing.commit}))
    try:
        listing = source.listing(commit)
    except GoneError as error:
        gone = any(item.rule == "AIV606" for item in said)
        return said if gone else [*said, _gone(str(error), commit)]
    return [*said, *_listed(locked, listing)]


def _gone(why: str, commit: str) -> Finding:
    return finding("AIV606", f"the locked commit is not to be had from the Hub: {why}", evidence={"locked": commit})


def _listed(locked: LockedArtifact, listing: Listing) -> Iterator[Finding]:
    """What the Hub states otherwise than the lock does. Of small files it states no SHA-256: only their size counts."""
    known = {file.path for file in locked.files}
    selection, _ = narrowed(listing, selection_of(locked))
    for path in listing:
        if path not in known and selection.wants(path):
            yield finding("AIV603", "is not in the lock, but the Hub lists it at that commit", file=path)
    for file in locked.files:
        stated = listing.get(file.path)
        if stated is None:
            yield finding("AIV603", "is locked, but the Hub does not list it at that commit", file=file.path)
        elif stated.size != file.size or stated.sha256 not in (None, file.sha256):
            found = stated.sha256 or f"{stated.size} bytes"
            yield finding(
                "AIV602",
                "the Hub states other bytes for it than those that were locked",
                file=file.path,
                evidence={"locked": file.sha256, "found": found},
            )


def judged_otherwise(locked: LockedArtifact, policy: str) -> list[Finding]:
    """The word on a policy (by its digest) that is not the one of the lock."""
    if policy == locked.policy:
        return []
    text = f"the policy in force is {policy[:12]}…, it was {locked.policy[:12]}… when this was locked"
    return [finding("AIV609", text, evidence={"locked": locked.policy, "found": policy})]


def stale(locked: LockedArtifact, folder: Path) -> Iterator[Finding]:
    """The locked twins that do not lie in ``folder`` as they were, or whose receipt names another source."""
    sources = {file.path: file.sha256 for file in locked.files}
    for twin in locked.twins:
        found = _sha256(folder / twin.output)
        if found != twin.sha256:
            text = f"the twin {twin.output} of {twin.source} {'has other bytes' if found else 'is not there'}"
            yield finding("AIV610", text, evidence={"locked": twin.sha256, "found": found})
            continue
        receipt = read_receipt(folder / f"{twin.output}{RECEIPT}")
        if receipt is None or receipt.source_sha256 != sources.get(twin.source) or receipt.sha256 != twin.sha256:
            text = f"the receipt of the twin {twin.output} is missing, or is not about {twin.source} as it was locked"
            yield finding("AIV610", text)


def _sha256(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()
