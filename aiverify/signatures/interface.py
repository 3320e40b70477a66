"""What authentication gives back, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass

from aiverify.errors import AiverifyError
from aiverify.finding import Finding
from aiverify.report import SignatureResult


class SignatureError(AiverifyError):
    """Authentication could not be done: a bundle, key, authority or trusted root that was named cannot be used."""


class MalformedError(SignatureError):
    """A bundle, envelope or manifest breaks the rules of its format."""


class UnsupportedError(SignatureError):
    """A manifest is of a kind that exists, but that this version does not read."""


class InvalidSignatureError(SignatureError):
    """A signature does not verify."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the authenticate stage hands over."""

    results: tuple[SignatureResult, ...]
    findings: tuple[Finding, ...]
