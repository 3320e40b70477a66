"""Signatures made with an ECDSA key.

Source: OMS v1.0 section 4. The curves are P-256, P-384 and P-521, the hash is SHA-256, SHA-384 or SHA-512 by the curve.
The bundle's own hint about the key is never trusted: only the signature decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aiverify.signatures.dsse import Envelope
from aiverify.signatures.interface import InvalidSignatureError, KeySigner, SignatureError

_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


def load_public_key(signer: KeySigner) -> ec.EllipticCurvePublicKey:
    """The key of a signer. Raises SignatureError when it is not a PEM public key on a known curve."""
    try:
        key = serialization.load_pem_public_key(signer.pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{signer} is not a public key in PEM form", hint="Give the file that begins with BEGIN PUBLIC KEY."
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise SignatureError(
            f"{signer} is not an ECDSA key on P-256, P-384 or P-521, and models are signed with no other"
        )
    return key


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo in DER, as hex."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def verify(key: ec.EllipticCurvePublicKey, envelope: Envelope) -> None:
    """Check that ``key`` signed the envelope. Raises InvalidSignatureError."""
    try:
        key.verify(envelope.signature, envelope.pae(), ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature as error:
        raise InvalidSignatureError("the signature was not made with this key") from error
