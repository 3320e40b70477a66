"""Whom a user expects to have signed: an algebra of small values, and one pure function that evaluates it.

The rules:

- A signer is a keyless identity with its issuer, the holder of a key, or of a certificate under an authority.
- ``AllOf``, ``AnyOf`` and ``Threshold`` combine them. None of them can be empty, and there is no "not": whatever a
  further signature adds, it takes nothing away, unless it shows that two signers are one.
- A threshold counts different signers: one signature counts once however many members it meets, and so do several
  signatures of one signer, also with several certificates for one subject.
- An issuer is compared exactly. In an identity and in claims ``*`` stands for anything without a slash and ``**`` for
  anything; no other character is special.

Nothing here checks a signature: a ``Proof`` is the word of those who did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from aiverify.errors import UsageError

_WILDCARD = re.compile(r"\*+")


@dataclass(frozen=True, slots=True)
class KeylessIdentity:
    """Who a keyless certificate is for, and what the issuer claims about the run that asked for it."""

    identity: str
    issuer: str
    source_repository: str = ""
    source_ref: str = ""
    workflow: str = ""

    def __str__(self) -> str:
        return f"{self.identity} (issuer {self.issuer})"


@dataclass(frozen=True, slots=True)
class KeylessSigner:
    """An identity that an OpenID Connect issuer vouches for.

    The same identity from another issuer is somebody else, so one without the other is a UsageError. The claims
    (``source_repository``, ``source_ref``, ``workflow``) are what the certificate says about the run of a workflow: the
    address of its repository, the git reference, and the address of the workflow that was started.
    """

    identity: str
    issuer: str
    source_repository: str | None = None
    source_ref: str | None = None
    workflow: str | None = None

    def __post_init__(self) -> None:
        if not self.identity.strip() or not self.issuer.strip():
            raise UsageError(
                "a keyless signer is an identity and an issuer, and one of them is missing",
                hint="Give both --cert-identity and --cert-oidc-issuer.",
            )
        if "*" in self.issuer:
            raise UsageError(f"the issuer {self.issuer} is a pattern", hint="Name the issuer in full.")
        if not any(character.isalnum() for character in self.identity):
            raise UsageError(f"the identity {self.identity} is anybody's", hint="Name a part of the identity at least.")

    def is_met_by(self, proven: KeylessIdentity) -> bool:
        """Whether a verified certificate is this signer's."""
        claims = (
            (self.source_repository, proven.source_repository),
            (self.source_ref, proven.source_ref),
            (self.workflow, proven.workflow),
        )
        return (
            self.issuer == proven.issuer
            and matches(self.identity, proven.identity)
            and all(pattern is None or matches(pattern, claim) for pattern, claim in claims)
        )

    def __str__(self) -> str:
        claims = {"repository": self.source_repository, "ref": self.source_ref, "workflow": self.workflow}
        said = "".join(f", {name} {pattern}" for name, pattern in claims.items() if pattern is not None)
        return f"{self.identity} (issuer {self.issuer}{said})"


@dataclass(frozen=True, slots=True)
class KeySigner:
    """The holder of an ECDSA key. ``pem`` is the public key; ``name`` says where it came from, for messages only."""

    pem: bytes
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"key {self.name}" if self.name else "the key"


@dataclass(frozen=True, slots=True)
class CertificateSigner:
    """The holder of a certificate that leads to an authority.

    ``pem`` are the certificates of the authorities; no others are trusted. ``subject`` pins the holder: a name in the
    form of RFC 4514 (``CN=Release,O=Acme``) whose parts must all stand in the subject of the signer's certificate.
    ``name`` says where the authorities came from, for messages only.
    """

    pem: bytes
    subject: str | None = None
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        authority = f"the authority {self.name}" if self.name else "the authority"
        return f"{self.subject} under {authority}" if self.subject else f"a certificate under {authority}"


Signer: TypeAlias = KeylessSigner | KeySigner | CertificateSigner


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every member must be met; one signature may meet several."""

    members: tuple[Expectation, ...]

    def __post_init__(self) -> None:
        _require_members(self.members)

    def __str__(self) -> str:
        return f"all of ({', '.join(map(str, self.members))})"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one member must be met."""

    members: tuple[Expectation, ...]

    def __post_init__(self) -> None:
        _require_members(self.members)

    def __str__(self) -> str:
        return " or ".join(map(str, self.members))


@dataclass(frozen=True, slots=True)
class Threshold:
    """At least ``count`` of the members must be met, each by a different signer."""

    count: int
    members: tuple[Signer, ...]

    def __post_init__(self) -> None:
        _require_members(self.members)
        if not 1 <= self.count <= len(self.members):
            raise UsageError(f"{self.count} of {len(self.members)} signers can never be met, or always")
        if len(set(self.members)) != len(self.members):
            raise UsageError("a threshold names the same signer twice")

    def __str__(self) -> str:
        return f"{self.count} of ({', '.join(map(str, self.members))})"


Expectation: TypeAlias = Signer | AllOf | AnyOf | Threshold


@dataclass(frozen=True, slots=True)
class Proof:
    """A signature that verifies: whose it is, in words that differ between signers, and which signers it meets.

    ``also`` is another such word, if there is one: a holder of certificates has a subject, and one key after another.
    """

    who: str
    meets: frozenset[Signer]
    also: str = ""


def satisfied(expected: Expectation, proofs: Iterable[Proof]) -> bool:
    """Whether the signatures that verify are those that were asked for."""
    proven = list(proofs)
    match expected:
        case AllOf(members):
            return all(satisfied(member, proven) for member in members)
        case AnyOf(members):
            return any(satisfied(member, proven) for member in members)
        case Threshold(count, members):
            return different_signers(members, proven) >= count
        case _:
            return any(expected in proof.meets for proof in proven)


def different_signers(members: Sequence[Signer], proofs: Iterable[Proof]) -> int:
    """How many of the members can be met at once, each by a signer of its own: a maximum matching."""
    meets = _by_signer(proofs)
    taken: dict[Signer, int] = {}

    def place(signer: int, tried: set[Signer]) -> bool:
        for member in members:
            if member in meets[signer] and member not in tried:
                tried.add(member)
                if member not in taken or place(taken[member], tried):
                    taken[member] = signer
                    return True
        return False

    return sum(place(signer, set()) for signer in range(len(meets)))


def _by_signer(proofs: Iterable[Proof]) -> list[set[Signer]]:
    """What each signer meets, with all of their signatures. Proofs that share a word are one signer's."""
    signers: list[tuple[set[str], set[Signer]]] = []
    for proof in proofs:
        words, meets = {proof.who, proof.also} - {""}, set(proof.meets)
        others = []
        for known, met in signers:
            if known & words:
                words |= known
                meets |= met
            else:
                others.append((known, met))
        signers = [*others, (words, meets)]
    return [meets for _, meets in signers]


def signers_in(expected: Expectation) -> Iterator[Signer]:
    """Every signer that an expectation names, in the order in which it does."""
    if isinstance(expected, AllOf | AnyOf | Threshold):
        for member in expected.members:
            yield from signers_in(member)
    else:
        yield expected


def any_of(expected: Sequence[Expectation]) -> Expectation | None:
    """What several expectations come to where any one is enough; ``None`` if there is none."""
    return expected[0] if len(expected) == 1 else AnyOf(tuple(expected)) if expected else None


def description(expected: Expectation) -> dict[str, object]:
    """The expectation in JSON values, without names of files: equal for equal expectations only."""
    match expected:
        case AllOf(members):
            return {"all_of": [description(member) for member in members]}
        case AnyOf(members):
            return {"any_of": [description(member) for member in members]}
        case Threshold(count, members):
            return {"threshold": count, "of": [description(member) for member in members]}
        case KeySigner(pem):
            return {"key": pem.decode("latin-1")}
        case CertificateSigner(pem, subject):
            return {"ca": pem.decode("latin-1"), "subject": subject}
        case KeylessSigner(identity, issuer, repository, ref, workflow):
            claims = {"source_repository": repository, "source_ref": ref, "workflow": workflow}
            return {"identity": identity, "issuer": issuer, **claims}


def matches(pattern: str, text: str) -> bool:
    """Whether ``text`` has the form of ``pattern``, all of it. Case counts."""
    literals, wildcards = _WILDCARD.split(pattern), _WILDCARD.findall(pattern)
    form = re.escape(literals[0])
    for wildcard, literal in zip(wildcards, literals[1:], strict=True):
        form += ("[^/]*" if wildcard == "*" else ".*") + re.escape(literal)
    return re.fullmatch(form, text, re.DOTALL) is not None


def _require_members(members: Sequence[object]) -> None:
    if not members:
        raise UsageError("a combination of signers names none")
