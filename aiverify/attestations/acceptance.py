"""May the verdict of an attestation be taken over for these files?

Pure rules; each that is broken is said, and one is enough to refuse:

- The files are exactly its subjects: none changed, none missing, none besides.
- A repository on the Hub is the one that was verified. Which signers a policy asks for depends on its name.
- It was made under the policy in force, or under one that the user allows by its digest.
- It is not older than the user allows, and not from the future.
- The version that made it is not older than the one that takes it over, or than one that the user allows: an older one
  may not have looked for what this one looks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiverify.artifact import Artifact, ArtifactFile
from aiverify.attestations.summary import Summary
from aiverify.errors import UsageError
from aiverify.finding import Finding
from aiverify.rules import finding

DEFAULT_MAX_AGE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)

_VERSION = re.compile(r"(?P<release>[0-9]+(?:\.[0-9]+)*)(?P<rest>.*)")
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an attestation has to keep to.

    ``policies`` are digests (SHA-256, hex) of policies; ``oldest`` is the oldest version of aiverify.
    """

    policies: frozenset[str]
    oldest: str
    now: datetime
    max_age: timedelta = DEFAULT_MAX_AGE

    def __post_init__(self) -> None:
        if self.max_age <= timedelta(0):
            raise UsageError("no attestation is as young as that", hint="--max-age takes a number of days above 0.")
        if not _is_version(self.oldest):
            raise UsageError(f"{self.oldest!r} is not a version", hint="Write it as in 1.2.0.")


def differences(summary: Summary, artifact: Artifact) -> Iterator[Finding]:
    """Where the files, or where they come from, are not what was attested. ``artifact`` carries digests."""
    attested = summary.artifact
    if artifact.repo is not None and artifact.repo != attested.repo:
        about = f"about {attested.repo}" if attested.repo else "not about a repository on the Hub"
        yield finding("AIV213", f"the attestation is {about}, and not about {artifact.repo}")
    expected = {file.path: file for file in attested.files}
    for file in artifact.files:
        subject = expected.pop(file.path, None)
        if subject is None:
            yield finding("AIV213", "is not among the files that were attested", file=file.path)
        elif (subject.sha256, subject.size) != (file.sha256, file.size):
            yield _changed(file, subject)
    for path in expected:
        yield finding("AIV213", "was attested, and is not there", file=path)


def lapses(summary: Summary, terms: Terms) -> Iterator[str]:
    """Why the attestation is not good enough now, whatever it is about."""
    if summary.policy not in terms.policies:
        yield f"it was made under another policy (sha256 {summary.policy[:16]}…) than the one in force"
    age = terms.now - summary.verified_at
    if age > terms.max_age:
        yield f"it is {age.days} days old, and may be {terms.max_age.total_seconds() / 86400:g}"
    if age < -CLOCK_SKEW:
        yield f"it says that the files were verified at {summary.verified_at:%Y-%m-%d %H:%M} UTC, which is to come"
    if is_older(summary.version, terms.oldest):
        yield f"it was made by version {summary.version[:40]}, and must be by {terms.oldest} or a later one"


def is_older(version: str, than: str) -> bool:
    """Whether one version comes before another. What is no version comes before all, and 1.0rc1 before 1.0."""
    return _order(version) < _order(than)


def _is_version(text: str) -> bool:
    return len(text) <= _LONGEST and _VERSION.fullmatch(text) is not None


def _order(version: str) -> tuple[list[int], bool, str]:
    found = _VERSION.fullmatch(version)
    if found is None or not _is_version(version):
        return [], False, ""
    release = [int(part) for part in found["release"].split(".")]
    while release and not release[-1]:
        release.pop()
    rest = found["rest"]
    # A local part or a post-release comes after its release; every other addition before it.
    final = not rest or rest.startswith(("+", ".post"))
    return release, final, rest


def _changed(file: ArtifactFile, subject: ArtifactFile) -> Finding:
    if file.sha256 == subject.sha256:
        message = f"has {file.size} bytes, but {subject.size} were attested"
    else:
        message = f"has SHA-256 {(file.sha256 or 'nothing')[:12]}…, but {(subject.sha256 or '')[:12]}… was attested"
    return finding("AIV213", message, file=file.path, evidence={"attested": subject.sha256, "actual": file.sha256})
