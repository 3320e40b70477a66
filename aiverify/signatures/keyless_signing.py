"""Keyless signatures, made by sigstore-python: a key that is thrown away, and a certificate for an identity.

The services are those of the signing configuration that goes with the trusted root: of a file, or of a TUF repository;
those of the public instances come from their TUF repositories, because services move. What comes back is verified
under the same root before it is handed out. Whatever goes wrong ends as a SignatureError that does not hold the token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.errors import in_words
from aiverify.files import read_at_most
from aiverify.signatures import keyless
from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.making import Made, Signing
from aiverify.signatures.tokens import TokenSource
from aiverify.signatures.trust import (
    MAX_ROOT_BYTES,
    Instance,
    Trust,
    TrustSource,
    TufRepository,
    reason,
    tuf_repository,
)

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig, SigningConfig
    from sigstore.oidc import IdentityToken

_MEDIA_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


class KeylessSigning(Signing):
    """Signs as the holder of a token. ``signing_config`` goes with a trusted root that is given as a file."""

    def __init__(
        self, tokens: TokenSource, trust: TrustSource = Instance.PRODUCTION, signing_config: Path | None = None
    ) -> None:
        self._tokens = tokens
        self._trust = trust
        self._signing_config = signing_config

    def prepare(self) -> None:
        """See that there is an identity and that the services are known."""
        if isinstance(self._trust, Path) and self._signing_config is None:
            raise SignatureError(
                "the trusted root does not say where to sign", hint="Give the signing configuration: --signing-config."
            )
        self._tokens.prepare()

    def sign(self, payload: bytes) -> Made:
        """Sign an in-toto statement."""
        self.prepare()
        with client_config(self._trust, self._signing_config) as (config, trust):
            token = self._tokens.token(_oidc_url(config.signing_config))
            raw = _signed(config, token, payload)
        identity = keyless.verify(parse_bundle(raw), trust)
        return Made(raw, str(identity))


@contextmanager
def client_config(source: TrustSource, signing_config: Path | None) -> Iterator[tuple[ClientTrustConfig, Trust]]:
    """Where to sign, and the root to verify it under. Raises SignatureError."""
    with _trusted(source) as found:
        trust = Trust(found)
        yield _client_config(trust, _signing_config(found, signing_config)), trust


@contextmanager
def _trusted(source: TrustSource) -> Iterator[TrustSource]:
    if isinstance(source, Instance):
        with tuf_repository(source) as repository:
            yield repository
    else:
        yield source


def _signing_config(source: TrustSource, path: Path | None) -> bytes:
    if path is None and isinstance(source, TufRepository):
        from aiverify.signatures.tuf import SIGNING_CONFIG, target

        with target(source, SIGNING_CONFIG) as fetched:
            return fetched.read_bytes()
    if path is None:
        raise SignatureError("nobody says where to sign", hint="Give the signing configuration: --signing-config.")
    try:
        content = read_at_most(path, MAX_ROOT_BYTES)
    except (OSError, ValueError) as error:
        raise SignatureError(f"the signing configuration {path} cannot be read: {in_words(error)}") from error
    if len(content) > MAX_ROOT_BYTES:
        raise SignatureError(f"the signing configuration {path} is larger than {MAX_ROOT_BYTES} bytes")
    return content


def _client_config(trust: Trust, signing_config: bytes) -> ClientTrustConfig:
    from sigstore.models import ClientTrustConfig

    try:
        root, services = json.loads(trust.content()), json.loads(signing_config)
        table = {"mediaType": _MEDIA_TYPE, "trustedRoot": root, "signingConfig": services}
        config = ClientTrustConfig.from_json(json.dumps(table))
        _ = config.signing_config
    except SignatureError:
        raise
    except Exception as error:
        raise SignatureError(f"the signing configuration cannot be used: {reason(error)}") from error
    return config


def _oidc_url(config: SigningConfig) -> str:
    try:
        return config.get_oidc_url()
    except Exception:  # noqa: BLE001 - only needed where a person has to be asked
        return ""


def _signed(config: ClientTrustConfig, token: IdentityToken, payload: bytes) -> bytes:
    from sigstore.dsse import Statement
    from sigstore.sign import SigningContext

    try:
        with keyless.quiet(), SigningContext.from_trust_config(config).signer(token) as signer:
            return signer.sign_dsse(Statement(payload)).to_json().encode() + b"\n"
    except Exception as error:  # noqa: BLE001 - whatever the services answer
        # A service that quotes the request must not make us print the token.
        causes = (error, error.__cause__ or error.__context__)
        said = [reason(one).replace(str(token), "…") for one in causes if isinstance(one, Exception) and str(one)]
        why = "; ".join(dict.fromkeys(said)) or type(error).__name__
        raise SignatureError(
            f"the services of the instance gave no signature: {why}", hint="Check the network, and the identity."
        ) from None
