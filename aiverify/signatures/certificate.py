"""Signatures made with a certificate whose chain leads to an authority that the user named.

Source: OMS v1.0 section 4, RFC 5280. The rules:

- Only the given authorities are trusted: no system store, and nothing that the bundle brings along.
- The path is built and checked by ``cryptography``, at the times that timestamps prove, or now.
- An extended key usage may be absent. Where there is one, in the signer's certificate or above it, it must allow code
  signing; a certificate for a web server signs no models.
- A key usage may be absent. Where there is one, the signer's must allow signatures, an issuer's to issue certificates.
- A subject pin must stand in the signer's certificate, every part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from aiverify.signatures.bundle import Bundle, BundleKind
from aiverify.signatures.dsse import Envelope
from aiverify.signatures.interface import InvalidSignatureError, SignatureError
from aiverify.signatures.key import is_usable
from aiverify.signers import CertificateSigner

# Authorities between the signer's certificate and a trusted one. With as many certificates as a bundle may hold, all of
# one name, the paths that have to be tried stay in the thousands.
_MAX_DEPTH = 4
_UNREADABLE = (ValueError, x509.InvalidVersion)
_SIGNING = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)


@dataclass(frozen=True, slots=True)
class Authority:
    """The authorities of a signer, with the pinned parts of the subject."""

    signer: CertificateSigner
    certificates: tuple[x509.Certificate, ...]
    pins: frozenset[x509.NameAttribute[Any]]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The certificate that a bundle was signed with, before anything about it is checked.

    ``subject`` is who it is for, in the form of RFC 4514, and ``names`` are the parts of that. It is valid from
    ``start`` to ``end``.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePublicKey
    subject: str
    names: frozenset[x509.NameAttribute[Any]]
    start: datetime
    end: datetime


def load_authority(signer: CertificateSigner) -> Authority:
    """The authorities of a signer. Raises SignatureError for what is no PEM certificate, or no name to pin."""
    try:
        certificates = tuple(x509.load_pem_x509_certificates(signer.pem))
    except _UNREADABLE as error:
        raise SignatureError(
            f"the authority {signer.name} is not a certificate in PEM form",
            hint="Give the file that begins with BEGIN CERTIFICATE.",
        ) from error
    try:
        pinned = x509.Name.from_rfc4514_string(signer.subject) if signer.subject is not None else ()
    except ValueError as error:
        raise SignatureError(
            f"the subject {signer.subject!r} is not a name", hint="Write it as in CN=Release,O=Acme (RFC 4514)."
        ) from error
    if signer.subject is not None and not list(pinned):
        raise SignatureError("the subject is empty", hint="Write it as in CN=Release,O=Acme (RFC 4514).")
    return Authority(signer, certificates, frozenset(pinned))


def load_leaf(bundle: Bundle) -> Leaf:
    """The signer's certificate in a bundle. Raises InvalidSignatureError."""
    certificate = _loaded(bundle.chain[0])
    try:  # the library reads the parts of a certificate when they are asked for
        key, subject = certificate.public_key(), certificate.subject
        shown, names = subject.rfc4514_string(), frozenset(subject)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:
        raise InvalidSignatureError("the certificate cannot be read") from error
    if not is_usable(key):
        raise InvalidSignatureError("the certificate's key is not an ECDSA key on P-256, P-384 or P-521")
    return Leaf(certificate, key, shown, names, start, end)


def verify_chain(bundle: Bundle, leaf: Leaf, authority: Authority, times: Sequence[datetime]) -> None:
    """Check that the bundle's chain leads to ``authority``, and was valid at all ``times`` or, without any, is now.

    Raises InvalidSignatureError.
    """
    between = [_loaded(data) for data in bundle.chain[1:]]
    for time in times or [datetime.now(UTC)]:
        try:
            _verifier(authority, time).verify(leaf.certificate, between)
        except VerificationError as error:
            raise InvalidSignatureError(_explained(leaf, time, proven=bool(times), error=error)) from error
        except Exception as error:  # hostile certificates make the library raise whatever its parsers meet
            raise InvalidSignatureError(f"the certificate chain cannot be read: {error}") from error


def load_certificates(pem: bytes, name: str) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file that messages call ``name``. Raises SignatureError."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except _UNREADABLE as error:
        raise SignatureError(
            f"{name}: not a certificate in PEM form", hint="Give the file that begins with BEGIN CERTIFICATE."
        ) from error


def require_fit(
    certificate: x509.Certificate, chain: Sequence[x509.Certificate], key: ec.EllipticCurvePublicKey
) -> None:
    """Refuse to sign with a certificate that ``verify_chain`` would refuse. Raises SignatureError.

    The certificate at the end of ``chain`` stands in for the authority that the verifier will name.
    """
    bundle = Bundle(
        kind=BundleKind.CERTIFICATE,
        envelope=Envelope(b"", b""),
        raw=b"",
        chain=tuple(one.public_bytes(Encoding.DER) for one in (certificate, *chain)),
    )
    try:
        leaf = load_leaf(bundle)
        if leaf.key != key:
            raise InvalidSignatureError("it is for another key than the private one")
        if not leaf.start <= datetime.now(UTC) <= leaf.end:
            raise InvalidSignatureError(f"it is valid from {leaf.start:%Y-%m-%d} to {leaf.end:%Y-%m-%d}")
        _require_usage(leaf.certificate)
        if chain:
            end = CertificateSigner(chain[-1].public_bytes(Encoding.PEM), name="at the end of the given chain")
            verify_chain(bundle, leaf, load_authority(end), ())
    except InvalidSignatureError as error:
        raise SignatureError(f"no verifier would take this certificate: {error}") from error


def _require_usage(certificate: x509.Certificate) -> None:
    try:
        for extension in certificate.extensions:
            if isinstance(extension.value, x509.KeyUsage):
                _signs(None, certificate, extension.value)
            elif isinstance(extension.value, x509.ExtendedKeyUsage):
                _signs_code(None, certificate, extension.value)
    except (ValueError, x509.DuplicateExtension) as error:
        raise InvalidSignatureError(str(error)) from error


def is_pinned(leaf: Leaf, authority: Authority) -> bool:
    """Whether the certificate is for the subject that the user named, if any."""
    return authority.pins <= leaf.names


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate in DER, as hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _verifier(authority: Authority, time: datetime) -> ClientVerifier:
    """Private authorities do not keep the rules of the web's, so that only what carries the proof is asked for."""
    issuers = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _issues)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _signs_code)
    )
    signers = (
        ExtensionPolicy.permit_all()
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _signs_code)
    )
    return (
        PolicyBuilder()
        .store(Store(list(authority.certificates)))
        .time(time)
        .max_chain_depth(_MAX_DEPTH)
        .extension_policies(ca_policy=issuers, ee_policy=signers)
        .build_client_verifier()
    )


def _signs(policy: Policy | None, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:  # noqa: ARG001
    if usage is not None and not usage.digital_signature:
        raise ValueError("the key usage does not allow signatures")


def _issues(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:  # noqa: ARG001
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key usage does not allow to issue certificates")


def _signs_code(policy: Policy | None, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:  # noqa: ARG001
    if usage is not None and not any(purpose in usage for purpose in _SIGNING):
        raise ValueError("the extended key usage does not allow code signing")


def _explained(leaf: Leaf, time: datetime, *, proven: bool, error: VerificationError) -> str:
    if not leaf.start <= time <= leaf.end:
        when = f"signed on {time:%Y-%m-%d}" if proven else "there is no proof of when it signed"
        return f"the certificate was valid from {leaf.start:%Y-%m-%d} to {leaf.end:%Y-%m-%d}, and {when}"
    return f"the chain of {leaf.subject} does not lead to the authority: {error}"


def _loaded(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except _UNREADABLE as error:
        raise InvalidSignatureError("a certificate of the chain cannot be read") from error
