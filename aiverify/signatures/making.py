"""Making signatures: a payload in, a bundle out.

Source: OMS v1.0 section 4, DSSE v1.0.0. The rules:

- Keys are ECDSA on P-256, P-384 or P-521, with the hash of the curve. A private key is never shown, nor its password.
- A certificate must be one that a verifier takes: for this key, valid now, allowed to sign code, and under the
  certificates that are given above it. Self-signed ones are left out of the bundle: who trusts them has them.
- What was made is verified before it is handed out.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.dsse import PAYLOAD_TYPE, Envelope
from aiverify.signatures.interface import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import Certificate

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True)
class Made:
    """A signature: the bundle as it is written to a file, and in words whose it is."""

    bundle: bytes
    signer: str


class Signing(ABC):
    """One way to sign."""

    def prepare(self) -> None:  # noqa: B027 - most ways need no preparation
        """Notice before the work begins what would make it end without a signature. Raises SignatureError."""

    @abstractmethod
    def sign(self, payload: bytes) -> Made:
        """Sign an in-toto statement. Raises SignatureError; then nothing was made."""


class KeySigning(Signing):
    """Signs with a private key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, payload: bytes) -> Made:
        """Sign an in-toto statement."""
        from aiverify.signatures.key import fingerprint, pem_fingerprint, verify

        public = self._key.public_key()
        material = {"publicKey": {"hint": pem_fingerprint(public)}, "tlogEntries": []}
        raw = _bundle(self._key, payload, material)
        verify(public, parse_bundle(raw).envelope)
        return Made(raw, f"the key with SHA-256 {fingerprint(public)}")


class CertificateSigning(Signing):
    """Signs with the private key of a certificate. ``chain`` are the certificates above it, the nearest first."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: Certificate, chain: Sequence[Certificate] = ()
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._chain = tuple(chain)

    def prepare(self) -> None:
        """Refuse a certificate that no verifier would take."""
        from aiverify.signatures.certificate import require_fit

        require_fit(self._certificate, self._chain, self._key.public_key())

    def sign(self, payload: bytes) -> Made:
        """Sign an in-toto statement."""
        from cryptography.hazmat.primitives.serialization import Encoding

        from aiverify.signatures.certificate import certificate_fingerprint, load_leaf
        from aiverify.signatures.key import verify

        self.prepare()
        above = [one for one in self._chain if one.issuer != one.subject]
        certificates = [{"rawBytes": _text(one.public_bytes(Encoding.DER))} for one in (self._certificate, *above)]
        raw = _bundle(self._key, payload, {"x509CertificateChain": {"certificates": certificates}, "tlogEntries": []})
        bundle = parse_bundle(raw)
        leaf = load_leaf(bundle)
        verify(leaf.key, bundle.envelope)
        return Made(raw, f"{leaf.subject} (certificate SHA-256 {certificate_fingerprint(leaf.certificate)})")


def load_private_key(pem: bytes, name: str, password: Callable[[], str] | None = None) -> ec.EllipticCurvePrivateKey:
    """The private key in a PEM file that messages call ``name``. ``password`` is asked for if the key has one.

    Raises SignatureError.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from aiverify.signatures.key import is_usable

    secret: bytes | None = None
    if b"ENCRYPTED" in pem and b"ENCRYPTED SIGSTORE" not in pem and b"ENCRYPTED COSIGN" not in pem:
        if password is None:
            raise SignatureError(f"{name}: the key has a password, and none was given")
        secret = password().encode()
    try:
        key = load_pem_private_key(pem, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if secret is not None:
            raise SignatureError(f"{name}: the password is wrong, or the key cannot be read") from error
        raise SignatureError(
            f"{name}: not a private key in PEM form", hint="Give the file that begins with BEGIN PRIVATE KEY."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_usable(key.public_key()):
        raise SignatureError(
            f"{name}: not an ECDSA key on P-256, P-384 or P-521, and models are signed with no other",
            hint="openssl ecparam -name prime256v1 -genkey -noout -out key.pem makes one.",
        )
    return key


def _bundle(key: ec.EllipticCurvePrivateKey, payload: bytes, material: Mapping[str, Any]) -> bytes:
    from aiverify.signatures.key import signed

    signature = signed(key, Envelope(payload, b"").pae())
    table = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": _text(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": _text(signature), "keyid": ""}],
        },
    }
    return json.dumps(table).encode() + b"\n"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
