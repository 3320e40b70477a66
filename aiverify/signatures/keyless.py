"""Keyless signatures: a short-lived certificate for an identity, and a transparency log that saw it used in time.

sigstore-python does the cryptography. Rules added here: the payload it verified must be the payload that was parsed, an
identity counts only together with its issuer, and whatever a library makes of hostile bytes ends as
InvalidSignatureError. Whether the identity is an expected one is not decided here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiverify.signatures.bundle import Bundle
from aiverify.signatures.dsse import PAYLOAD_TYPE
from aiverify.signatures.interface import InvalidSignatureError, SignatureError
from aiverify.signatures.trust import Trust, reason
from aiverify.signers import KeylessIdentity

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

# Fulcio's certificate extensions: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_FULCIO = "1.3.6.1.4.1.57264.1"
_ISSUER_PLAIN, _ISSUER = f"{_FULCIO}.1", f"{_FULCIO}.8"
_SOURCE_REPOSITORY, _SOURCE_REF, _BUILD_CONFIG = f"{_FULCIO}.12", f"{_FULCIO}.14", f"{_FULCIO}.18"
_UTF8_STRING = 0x0C

_LOG_LEVEL = threading.Lock()


def verify(bundle: Bundle, trust: Trust) -> KeylessIdentity:
    """Verify a keyless bundle under a trusted root, at the time that the log or a timestamp proves.

    Returns whose it is. Raises InvalidSignatureError when nobody's signature verifies, and SignatureError when the
    trusted root is unusable.
    """
    with quiet():
        verifier = trust.verifier()
        try:
            return _verify(verifier, bundle)
        except SignatureError:
            raise
        except Exception as error:
            raise InvalidSignatureError(reason(error)) from error


def _verify(verifier: Verifier, bundle: Bundle) -> KeylessIdentity:
    from sigstore import models
    from sigstore.errors import MetadataError
    from sigstore.verify import policy

    parsed = models.Bundle.from_json(bundle.raw)
    try:
        verified = verifier.verify_dsse(parsed, policy.UnsafeNoOp())
    except MetadataError as error:
        raise SignatureError(f"the trusted root lacks what this bundle needs: {error}") from error
    if verified != (PAYLOAD_TYPE, bundle.envelope.payload):
        raise InvalidSignatureError("the verified payload is not the one in the envelope")
    return identity_of(parsed.signing_certificate)


def identity_of(certificate: Certificate) -> KeylessIdentity:
    """Who a verified certificate is for. Raises InvalidSignatureError when that is not one identity of one issuer."""
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    identities = [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *(name.value.decode() for name in names.get_values_for_type(x509.OtherName)),
    ]
    extensions = {
        extension.oid.dotted_string: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    named = (extensions.get(_ISSUER_PLAIN, b"").decode(), _utf8(extensions.get(_ISSUER)))
    issuers = {issuer for issuer in named if issuer.strip()}
    if len(identities) != 1 or not identities[0].strip() or len(issuers) != 1:
        raise InvalidSignatureError("the certificate does not name one identity and its issuer")
    return KeylessIdentity(
        identity=identities[0],
        issuer=issuers.pop(),
        source_repository=_utf8(extensions.get(_SOURCE_REPOSITORY)),
        source_ref=_utf8(extensions.get(_SOURCE_REF)),
        workflow=_utf8(extensions.get(_BUILD_CONFIG)),
    )


def _utf8(der: bytes | None) -> str:
    """The text in a DER UTF8String; empty where there is none. Raises InvalidSignatureError for anything else."""
    if der is None:
        return ""
    length, start = (der[1], 2) if len(der) > 1 else (-1, 0)
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(der[2 : 2 + count]), 2 + count
    if der[:1] != bytes([_UTF8_STRING]) or start + length != len(der):
        raise InvalidSignatureError("an extension of the certificate is not text")
    return der[start:].decode()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep sigstore from logging warnings about what is reported here as findings."""
    logger = logging.getLogger("sigstore")
    with _LOG_LEVEL:
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
