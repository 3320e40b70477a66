"""The one serialisable record of a run. Every reporter renders this and nothing else.

Field names are a public interface, described by ``docs/report.schema.json``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from aiverify.artifact import Artifact
from aiverify.finding import Finding, Unexamined
from aiverify.layers import Layer

SCHEMA_VERSION = "1.0"


class Outcome(enum.StrEnum):
    """What a verdict says. The order is pass < review < error < block."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    REVIEW = "review"
    ERROR = "error"
    BLOCK = "block"

    @property
    def rank(self) -> int:
        """Position in the order of gravity."""
        return list(type(self)).index(self)

    @property
    def exit_code(self) -> int:
        """0 for pass, 1 for review and block, 2 for error."""
        return {"pass": 0, "review": 1, "error": 2, "block": 1}[self.value]


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The gravest of ``outcomes``; ``pass`` when there is none."""
    return max(outcomes, key=lambda outcome: outcome.rank, default=Outcome.PASS)


class FileState(enum.StrEnum):
    """What a signed manifest says about one path."""

    MATCHING = "matching"
    MISMATCHING = "mismatching"
    MISSING = "missing"
    NOT_COMPARED = "not-compared"
    UNSIGNED = "unsigned"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureResult:
    """What one signature was worth.

    ``kind``: ``keyless``, ``key`` or ``certificate``; ``none`` when the artifact has no signature.
    ``outcome``: ``verified``, ``unpinned`` (valid, but nobody said whom to expect), ``unchecked``, ``failed`` or
    ``absent``.
    ``signer`` names the identity and issuer, the key, or the certificate. ``covers`` are the paths whose bytes the
    signature vouches for. ``files`` says of each path, signed or there, what the comparison with the manifest gave; it
    is empty when there was none. ``partial`` tells that a selection left signed files out of the comparison. ``root``
    names the trusted root that the result rests on, and how old that is, where it rests on one.
    """

    kind: str
    outcome: str
    detail: str
    signer: str | None = None
    covers: tuple[str, ...] = ()
    files: tuple[tuple[str, FileState], ...] = ()
    partial: bool = False
    root: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """What an attestation was worth whose verdict was to be taken over.

    ``outcome``: ``accepted`` or ``refused``. ``kind``, ``signer`` and ``root`` are those of its signature, and
    ``statement`` is the SHA-256 of its bundle. The rest is what it says, where it could be read: when the files were
    verified (RFC 3339 in UTC), by which version, under which policy (SHA-256), and the verdict.
    """

    kind: str
    outcome: str
    detail: str
    statement: str
    signer: str | None = None
    root: str | None = None
    verified_at: str | None = None
    tool: str | None = None
    policy: str | None = None
    verdict: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Something in a checkpoint that a twin does not carry: its path inside the checkpoint and its type."""

    path: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A checkpoint that was proved convertible, and the twin if one was written.

    ``source`` is a path in the artifact. ``output`` and ``receipt`` are file names in the output folder, ``None``
    when the conversion was only planned. ``tensors`` counts names, aliases included. ``sha256`` is that of the twin,
    where it was taken.
    """

    source: str
    tensors: int
    dropped: tuple[Dropped, ...] = ()
    output: str | None = None
    receipt: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to load the artifact: the files that a loader would use together, and what they come to."""

    name: str
    files: tuple[str, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome for what the policy would load, which variant that is, and why."""

    outcome: Outcome
    reasons: tuple[str, ...]
    variant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySource:
    """Where a part of the policy came from: a file with its SHA-256, an option, the environment or the defaults."""

    name: str
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """Every source of the policy in force, and the digest of the policy that they add up to."""

    sources: tuple[PolicySource, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run over one target. ``started_at`` is RFC 3339 in UTC; ``duration_s`` is in seconds.

    Where there are ``attestations``, the verdict was taken over from them, and no file was examined. ``layers`` are
    what the weights are made of, as far as they were read: safetensors files, and checkpoints that can be converted.
    """

    tool: str
    started_at: str
    duration_s: float
    target: str
    policy: PolicyRecord
    artifact: Artifact
    signatures: tuple[SignatureResult, ...]
    findings: tuple[Finding, ...]
    unexamined: tuple[Unexamined, ...]
    conversions: tuple[Conversion, ...]
    variants: tuple[Variant, ...]
    verdict: Verdict
    schema_version: str = SCHEMA_VERSION
    attestations: tuple[AttestationResult, ...] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def unverified(self) -> bool:
        """Whether the run could not be done at all: nothing was examined, and the verdict's reason is the error."""
        return self.verdict.outcome is Outcome.ERROR and not self.artifact.files and not self.findings
