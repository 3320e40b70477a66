"""Whom a user expects, what authentication gives back, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from aiverify.errors import AiverifyError, UsageError
from aiverify.finding import Finding
from aiverify.report import SignatureResult


class SignatureError(AiverifyError):
    """Authentication could not be done: a bundle, key or trusted root that was named cannot be read or used."""


class MalformedError(SignatureError):
    """A bundle, envelope or manifest breaks the rules of its format."""


class UnsupportedError(SignatureError):
    """A manifest is of a kind that exists, but that this version does not read."""


class InvalidSignatureError(SignatureError):
    """A signature does not verify."""


@dataclass(frozen=True, slots=True)
class KeylessSigner:
    """An identity that an OpenID Connect issuer vouches for, both compared exactly.

    The same identity from another issuer is somebody else, so one without the other is a UsageError.
    """

    identity: str
    issuer: str

    def __post_init__(self) -> None:
        if not self.identity.strip() or not self.issuer.strip():
            raise UsageError(
                "a keyless signer is an identity and an issuer, and one of them is missing",
                hint="Give both --cert-identity and --cert-oidc-issuer.",
            )

    def __str__(self) -> str:
        return f"{self.identity} (issuer {self.issuer})"


@dataclass(frozen=True, slots=True)
class KeySigner:
    """The holder of an ECDSA key. ``pem`` is the public key; ``name`` says where it came from, for messages only."""

    pem: bytes
    name: str

    def __str__(self) -> str:
        return f"key {self.name}"


Signer: TypeAlias = KeylessSigner | KeySigner


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the authenticate stage hands over."""

    results: tuple[SignatureResult, ...]
    findings: tuple[Finding, ...]
