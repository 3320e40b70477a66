"""Keyless signatures: a short-lived certificate for an identity, and a transparency log that saw it used in time.

sigstore-python does the cryptography, offline. Rules added here: the payload it verified must be the payload that was
parsed, an identity counts only together with its issuer, and whatever a library makes of hostile bytes ends as
InvalidSignatureError.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.signatures import trust
from aiverify.signatures.bundle import Bundle
from aiverify.signatures.dsse import PAYLOAD_TYPE
from aiverify.signatures.interface import InvalidSignatureError, KeylessSigner, SignatureError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

# Fulcio's certificate extension for the issuer, the one that sigstore-python's Identity policy compares:
# https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_ISSUER = "1.3.6.1.4.1.57264.1.1"

_LOG_LEVEL = threading.Lock()


@dataclass(frozen=True, slots=True)
class KeylessCheck:
    """A signature that verifies: who made it, and whether that is one of the expected signers."""

    signer: KeylessSigner
    expected: bool


def verify(bundle: Bundle, expected: Sequence[KeylessSigner], trusted_root: Path | None) -> KeylessCheck:
    """Verify a keyless bundle under a trusted root, at the time that the log or a timestamp proves.

    Raises InvalidSignatureError when nobody's signature verifies, and SignatureError when the trusted root is unusable.
    """
    with _quiet():
        verifier = trust.keyless_verifier(trusted_root)
        try:
            return _verify(verifier, bundle, expected)
        except SignatureError:
            raise
        except Exception as error:
            raise InvalidSignatureError(trust.reason(error)) from error


def _verify(verifier: Verifier, bundle: Bundle, expected: Sequence[KeylessSigner]) -> KeylessCheck:
    from sigstore import models
    from sigstore.errors import MetadataError, VerificationError
    from sigstore.verify import policy

    parsed = models.Bundle.from_json(bundle.raw)
    identities = [policy.Identity(identity=signer.identity, issuer=signer.issuer) for signer in expected]
    as_expected = bool(identities)
    try:
        verified = verifier.verify_dsse(parsed, policy.AnyOf([*identities]) if identities else policy.UnsafeNoOp())
    except MetadataError as error:
        raise SignatureError(f"the trusted root lacks what this bundle needs: {error}") from error
    except VerificationError:
        if not identities:
            raise
        # Valid for somebody else, or not valid at all? The messages differ.
        as_expected = False
        verified = verifier.verify_dsse(parsed, policy.UnsafeNoOp())
    if verified != (PAYLOAD_TYPE, bundle.envelope.payload):
        raise InvalidSignatureError("the verified payload is not the one in the envelope")
    return KeylessCheck(_signer(parsed.signing_certificate), as_expected)


def _signer(certificate: Certificate) -> KeylessSigner:
    """Who a verified certificate is for, in the words that an exact identity and issuer are compared with."""
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    identities = [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *(name.value.decode() for name in names.get_values_for_type(x509.OtherName)),
    ]
    issuer = _issuer(certificate)
    if len(identities) != 1 or not identities[0].strip() or not issuer.strip():
        raise InvalidSignatureError("the certificate does not name one identity and its issuer")
    return KeylessSigner(identities[0], issuer)


def _issuer(certificate: Certificate) -> str:
    from cryptography import x509

    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(_ISSUER)).value
    return extension.value.decode() if isinstance(extension, x509.UnrecognizedExtension) else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep sigstore from logging warnings about what is reported here as findings."""
    logger = logging.getLogger("sigstore")
    with _LOG_LEVEL:
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
