"""A private certificate authority, for tests, and signatures made with certificates under it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from local_sigstore import LocalSigstore, key_usage
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
from signed_models import sign_with_key

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
YEAR = timedelta(days=365)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a certificate says. ``age`` and ``left`` are how long ago it became valid, and how long it still is."""

    subject: str = "CN=Release,O=Acme"
    age: timedelta = YEAR
    left: timedelta = YEAR
    purposes: Sequence[ObjectIdentifier] | None = (CODE_SIGNING,)
    usage: x509.KeyUsage | None = field(default_factory=lambda: key_usage(signs_certificates=False))
    is_authority: bool = False
    path_length: int | None = None


class Holder:
    """A certificate with its key, and the chain above it."""

    def __init__(self, traits: Traits, issuer: Holder | None = None, curve: ec.EllipticCurve | None = None) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.issuer = issuer
        now = datetime.now(UTC).replace(microsecond=0)
        name = x509.Name.from_rfc4514_string(traits.subject)
        above = issuer or self
        builder = x509.CertificateBuilder(
            issuer.certificate.subject if issuer else name,
            name,
            self.key.public_key(),
            x509.random_serial_number(),
            now - traits.age,
            now + traits.left,
        ).add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        if issuer is not None:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
            builder = builder.add_extension(authority, critical=False)
        if traits.is_authority or traits.path_length is not None:
            constraints = x509.BasicConstraints(ca=traits.is_authority, path_length=traits.path_length)
            builder = builder.add_extension(constraints, critical=True)
        if traits.usage is not None:
            builder = builder.add_extension(traits.usage, critical=True)
        if traits.purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(traits.purposes), critical=False)
        self.certificate = builder.sign(above.key, SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def chain(self) -> list[x509.Certificate]:
        """The certificates from this one up to, and without, the root."""
        return [] if self.issuer is None else [self.certificate, *self.issuer.chain()]


def authority(subject: str = "CN=Root", issuer: Holder | None = None, **traits: Any) -> Holder:
    defaults = {"usage": key_usage(signs_certificates=True), "purposes": None, "is_authority": True, "left": 5 * YEAR}
    return Holder(Traits(subject=subject, **{**defaults, **traits}), issuer)


def sign_with_certificate(
    payload: bytes,
    holder: Holder,
    *,
    chain: Sequence[x509.Certificate] | None = None,
    timestamps: Sequence[tuple[LocalSigstore, datetime | None]] = (),
    legacy: bool = False,
) -> dict[str, Any]:
    """A bundle with a certificate chain, and a timestamp of each authority over its signature."""
    bundle = sign_with_key(payload, holder.key, legacy=legacy)
    certificates = holder.chain() if chain is None else chain
    material: dict[str, Any] = {
        "x509CertificateChain": {
            "certificates": [{"rawBytes": text64(one.public_bytes(Encoding.DER))} for one in certificates]
        },
        "tlogEntries": [],
    }
    signature = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    stamps = [text64(stamp(sigstore, signature, when)) for sigstore, when in timestamps]
    if stamps:
        material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": one} for one in stamps]}
    return {**bundle, "verificationMaterial": material}


def stamp(sigstore: LocalSigstore, data: bytes, when: datetime | None) -> bytes:
    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    return sigstore.timestamp(request.as_bytes(), when)


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()
