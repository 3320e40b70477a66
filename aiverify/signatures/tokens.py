"""Identity tokens: what an OpenID Connect issuer hands out to whoever signs keyless.

A token is given by the user, found in the surroundings (a CI job that may ask for one), or got from a person in a
browser. It is a secret: it is sent to the certificate authority and nowhere else, and no message holds it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from aiverify.signatures.interface import SignatureError
from aiverify.signatures.trust import reason

if TYPE_CHECKING:
    from sigstore.oidc import IdentityToken

_OTHERWISE = (
    "Give a token with --identity-token, sign with --key or --certificate, or run this in a terminal or in a CI job "
    "that may ask for one (on GitHub: permissions: id-token: write)."
)


class TokenSource(ABC):
    """Where a token comes from."""

    @abstractmethod
    def prepare(self) -> None:
        """Notice in time that there will be none. Raises SignatureError."""

    @abstractmethod
    def token(self, issuer: str) -> IdentityToken:
        """A token that is valid now. ``issuer`` is where a person is sent to. Raises SignatureError."""


class GivenToken(TokenSource):
    """A token that the user hands in."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def __repr__(self) -> str:
        return "GivenToken(…)"

    def prepare(self) -> None:
        """Read the token."""
        _parsed(self._text, "the identity token")

    def token(self, issuer: str) -> IdentityToken:  # noqa: ARG002
        """The token itself."""
        return _parsed(self._text, "the identity token")


class AskedToken(TokenSource):
    """The token of the CI job, or else of the person at the terminal.

    ``browser``: open one; otherwise the address is shown, and the person brings a code back.
    """

    def __init__(self, *, browser: bool = True) -> None:
        self._browser = browser

    def prepare(self) -> None:
        """See whether there is anybody to ask."""
        if _ambient() is None and not _at_terminal():
            raise SignatureError("there is nobody whose identity could sign", hint=_OTHERWISE)

    def token(self, issuer: str) -> IdentityToken:
        """A fresh token: of the surroundings, or of the person."""
        found = _ambient()
        if found is not None:
            return _parsed(found, "the identity token of this CI job")
        if not _at_terminal():
            raise SignatureError("there is nobody whose identity could sign", hint=_OTHERWISE)
        from sigstore.oidc import Issuer

        try:
            return Issuer(issuer).identity_token(force_oob=not self._browser)
        except Exception as error:
            why = reason(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            raise SignatureError(f"{issuer} gave no identity token: {why}", hint=_OTHERWISE) from error


def _ambient() -> str | None:
    from sigstore.oidc import detect_credential

    try:
        return detect_credential()
    except Exception as error:
        raise SignatureError(
            f"this CI job gives no identity token: {reason(error)}",
            hint="On GitHub, the job needs permissions: id-token: write.",
        ) from error


def _parsed(text: str, name: str) -> IdentityToken:
    from sigstore.oidc import IdentityToken

    try:
        return IdentityToken(text)
    except Exception as error:  # noqa: BLE001 - its cause may quote the token
        message = f"{name} cannot be used: {reason(error)}"
        raise SignatureError(message, hint="It may have expired: get a new one.") from None


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
