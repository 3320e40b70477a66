"""Signatures made with an ECDSA key.

Source: OMS v1.0 section 4. The curves are P-256, P-384 and P-521, the hash is SHA-256, SHA-384 or SHA-512 by the curve.
The bundle's own hint about the key is never trusted: only the signature decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aiverify.signatures.dsse import Envelope
from aiverify.signatures.interface import InvalidSignatureError, SignatureError
from aiverify.signers import KeySigner

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
    if not is_usable(key):
        raise SignatureError(
            f"{signer} is not an ECDSA key on P-256, P-384 or P-521, and models are signed with no other"
        )
    return key


def is_usable(key: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether models are signed with keys of this kind."""
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo in DER, as hex."""
    return hashlib.sha256(_spki(key, serialization.Encoding.DER)).hexdigest()


def pem_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo in PEM, as hex: the hint that model_signing writes."""
    return hashlib.sha256(_spki(key, serialization.Encoding.PEM)).hexdigest()


def signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """The signature of ``key`` over ``data``, with the hash of its curve."""
    return key.sign(data, ec.ECDSA(_HASHES[key.curve.name]()))


def is_hint_of(hint: str, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether a bundle's hint names ``key``: the hex SHA-256 of its SubjectPublicKeyInfo, in PEM or in DER form.

    model_signing writes the first, other tools of Sigstore the second.
    """
    return hint.lower() in (pem_fingerprint(key), fingerprint(key))


def verify(key: ec.EllipticCurvePublicKey, envelope: Envelope, *, legacy: bool = False) -> None:
    """Check that ``key`` signed the envelope. Raises InvalidSignatureError.

    ``legacy``: as model_signing 0.2 did it, with an encoding of its own and SHA-256 for every curve.
    """
    signed = envelope.legacy_pae() if legacy else envelope.pae()
    algorithm = hashes.SHA256() if legacy else _HASHES[key.curve.name]()
    try:
        key.verify(envelope.signature, signed, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise InvalidSignatureError("the signature was not made with this key") from error


def _spki(key: ec.EllipticCurvePublicKey, encoding: serialization.Encoding) -> bytes:
    return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
