"""Keyless signatures: a short-lived certificate for an identity, and a transparency log that saw it used in time.

sigstore-python does the cryptography. Rules added here: the envelope it verified must be the one that was parsed, the
services of the trusted root must have been in use at the time (``periods.py``), an identity counts only together with
its issuer, and whatever a library makes of hostile bytes ends as InvalidSignatureError. Whether the identity is an
expected one is not decided here.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiverify.signatures.bundle import Bundle, parse_bundle
from aiverify.signatures.dsse import PAYLOAD_TYPE
from aiverify.signatures.interface import InvalidSignatureError, SignatureError
from aiverify.signatures.strict_json import parse_object
from aiverify.signatures.timestamps import proven_times
from aiverify.signatures.trust import Trust, reason
from aiverify.signers import KeylessIdentity

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, OtherName
    from sigstore import models
    from sigstore.verify import Verifier

# Fulcio's certificate extensions: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_FULCIO = "1.3.6.1.4.1.57264.1"
_ISSUER_PLAIN, _ISSUER = f"{_FULCIO}.1", f"{_FULCIO}.8"
_USER_NAME = f"{_FULCIO}.7"
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
            return _verify(verifier, bundle, trust)
        except SignatureError:
            raise
        except Exception as error:
            raise InvalidSignatureError(reason(error)) from error


def _verify(verifier: Verifier, bundle: Bundle, trust: Trust) -> KeylessIdentity:
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
    if parse_bundle(parsed.to_json().encode()).envelope != bundle.envelope:
        raise InvalidSignatureError("the verified envelope is not the one that was read")
    require_in_use(parsed, trust, lambda narrowed: narrowed.verify_dsse(parsed, policy.UnsafeNoOp()))
    return identity_of(parsed.signing_certificate)


def require_in_use(parsed: models.Bundle, trust: Trust, verify: Callable[[Verifier], object]) -> None:
    """``verify`` once more, under those services of the trusted root alone that were in use at the time.

    The times are those that sigstore-python goes by. They are taken from the bundle as it has read it: it knows two
    spellings of every field. Raises InvalidSignatureError.
    """
    from cryptography.x509 import PrecertificateSignedCertificateTimestamps as Promises

    material = parse_object(parsed.to_json().encode())["verificationMaterial"]
    data = material.get("timestampVerificationData") or {}
    stamps = [base64.b64decode(one["signedTimestamp"]) for one in data.get("rfc3161Timestamps") or ()]
    signed = [*proven_times(stamps, parsed.signature, trust.root()), *_logged(material)]
    if not signed:
        raise InvalidSignatureError("nothing proves when it was made")
    promises = parsed.signing_certificate.extensions.get_extension_for_class(Promises).value
    promised = [promise.timestamp.replace(tzinfo=UTC) for promise in promises]
    try:
        verify(trust.verifier_at(signed, promised))
    except Exception as error:
        days = ", ".join(dict.fromkeys(f"{time:%Y-%m-%d}" for time in signed))
        raise InvalidSignatureError(
            f"it was made on {days} with services of Sigstore that were not in use then, by the trusted root's word"
        ) from error


def _logged(material: Mapping[str, Any]) -> Iterator[datetime]:
    """When the log says that it saw the signature, if it signed that."""
    for entry in material["tlogEntries"]:
        if entry.get("inclusionPromise") and int(entry.get("integratedTime", 0)):
            yield datetime.fromtimestamp(int(entry["integratedTime"]), UTC)


def identity_of(certificate: Certificate) -> KeylessIdentity:
    """Who a verified certificate is for. Raises InvalidSignatureError when that is not one identity of one issuer."""
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    identities = [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *(_utf8(name.value) for name in names.get_values_for_type(x509.OtherName) if _is_user_name(name)),
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


def _is_user_name(name: OtherName) -> bool:
    """Whether it is what Fulcio writes for issuers that know people as users: ``somebody!domain``."""
    return name.type_id.dotted_string == _USER_NAME


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
