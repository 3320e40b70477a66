"""Who signs: the options that ``sign`` and ``attest`` share, and what they stand for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from aiverify.errors import UsageError
from aiverify.files import MAX_PEM, read_at_most

if TYPE_CHECKING:
    from aiverify.signatures.making import Signing

_KEY = "Sign with a key or certificate"
_KEYLESS = "Sign keyless"
PASSWORD = "AIVERIFY_KEY_PASSWORD"  # noqa: S105 - the name of the variable

PrivateKey = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help=f"Private key (PEM, ECDSA P-256, P-384 or P-521). Its password is asked for, or taken from {PASSWORD}.",
        rich_help_panel=_KEY,
    ),
]
Certificate = Annotated[
    Path | None, typer.Option(help="Certificate (PEM) of that key; needs --key.", rich_help_panel=_KEY)
]
CertificateChain = Annotated[
    Path | None,
    typer.Option(help="Certificates (PEM) above that one, the nearest first.", rich_help_panel=_KEY),
]
IdentityToken = Annotated[
    str | None,
    typer.Option(
        envvar="SIGSTORE_IDENTITY_TOKEN",
        help="Identity token; otherwise that of the CI job, or a browser. Never printed.",
        show_default=False,
        rich_help_panel=_KEYLESS,
    ),
]
OutOfBand = Annotated[
    bool,
    typer.Option(
        "--oauth-force-oob", help="Open no browser: show an address, and ask for a code.", rich_help_panel=_KEYLESS
    ),
]
SigningConfig = Annotated[
    Path | None,
    typer.Option(help="Signing configuration (JSON) that goes with --trusted-root.", rich_help_panel=_KEYLESS),
]
TrustedRoot = Annotated[
    Path | None,
    typer.Option(help="Sigstore trusted root (JSON); otherwise the public instance.", rich_help_panel=_KEYLESS),
]
Staging = Annotated[
    bool, typer.Option("--staging", help="Use Sigstore's staging instance instead.", rich_help_panel=_KEYLESS)
]
TufUrl = Annotated[
    str | None,
    typer.Option(help="TUF repository of a private Sigstore instance; needs --tuf-root.", rich_help_panel=_KEYLESS),
]
TufRoot = Annotated[
    Path | None, typer.Option(help="The root.json to trust that repository by.", rich_help_panel=_KEYLESS)
]


class Signature(NamedTuple):
    """With what is signed, and at which Sigstore instance."""

    key: PrivateKey = None
    certificate: Certificate = None
    certificate_chain: CertificateChain = None
    identity_token: IdentityToken = None
    oauth_force_oob: OutOfBand = False
    trusted_root: TrustedRoot = None
    signing_config: SigningConfig = None
    staging: Staging = False
    tuf_url: TufUrl = None
    tuf_root: TufRoot = None


def signing_with(options: Signature) -> Signing:
    """The way to sign that the options name. Raises UsageError and SignatureError."""
    from aiverify.cli.trust import trust_source

    root = trust_source(
        options.trusted_root,
        staging=options.staging,
        tuf_url=options.tuf_url,
        tuf_root=options.tuf_root,
        offline=False,
    )
    key, certificate, token = options.key, options.certificate, options.identity_token
    if certificate is not None and key is None:
        raise UsageError("a certificate signs with its private key", hint="Give --key, too.")
    if options.certificate_chain is not None and certificate is None:
        raise UsageError("there is a chain, but no certificate at its end", hint="Give --certificate, too.")
    if key is not None:
        if token is not None and not os.environ.get("SIGSTORE_IDENTITY_TOKEN"):
            raise UsageError("a key and an identity cannot both sign", hint="Give --key or --identity-token, not both.")
        if root is not None or options.signing_config is not None:
            raise UsageError("a key needs no trusted root to sign", hint="Leave out the options of an instance.")
        return _with_key(key, certificate, options.certificate_chain)
    from aiverify.signatures.keyless_signing import KeylessSigning
    from aiverify.signatures.tokens import AskedToken, GivenToken
    from aiverify.signatures.trust import Instance

    tokens = GivenToken(token) if token is not None else AskedToken(browser=not options.oauth_force_oob)
    return KeylessSigning(tokens, root or Instance.PRODUCTION, options.signing_config)


def _with_key(key: Path, certificate: Path | None, chain: Path | None) -> Signing:
    from aiverify.signatures.making import CertificateSigning, KeySigning, load_private_key

    private = load_private_key(_read(key), str(key), _password(key))
    if certificate is None:
        return KeySigning(private)
    from aiverify.signatures.certificate import load_certificates

    own, *above = load_certificates(_read(certificate), str(certificate))
    if chain is not None:
        above += load_certificates(_read(chain), str(chain))
    return CertificateSigning(private, own, above)


def _password(key: Path) -> Callable[[], str]:
    def ask() -> str:
        found = os.environ.get(PASSWORD)
        if found is not None:
            return found
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError(f"{key}: the key has a password", hint=f"Set {PASSWORD}, or run this in a terminal.")
        from getpass import getpass

        return getpass(f"Password of {key}: ")

    return ask


def _read(path: Path) -> bytes:
    try:
        return read_at_most(path, MAX_PEM)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{path}: cannot be read: {reason or error}") from error
