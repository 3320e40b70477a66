from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from signed_models import pem, sign_with_key

from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.dsse import Envelope
from aiverify.signatures.interface import InvalidSignatureError, SignatureError
from aiverify.signatures.key import load_public_key, verify
from aiverify.signers import KeySigner

CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


def envelope(key: ec.EllipticCurvePrivateKey, payload: bytes = b"payload") -> Envelope:
    return parse_bundle(json.dumps(sign_with_key(payload, key)).encode()).envelope


def public(pem_bytes: bytes) -> ec.EllipticCurvePublicKey:
    return load_public_key(KeySigner(pem_bytes, "test.pub"))


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: str(curve.name))
def test_a_signature_on_each_curve_verifies(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    verify(public(pem(key)), envelope(key))


def test_a_signature_by_another_key_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(public(pem(ec.generate_private_key(ec.SECP256R1()))), envelope(key))


def test_a_flipped_bit_is_refused_wherever_it_is(key: ec.EllipticCurvePrivateKey) -> None:
    honest = envelope(key)
    flipped = [
        *(Envelope(flip(honest.payload, bit), honest.signature) for bit in range(len(honest.payload) * 8)),
        *(Envelope(honest.payload, flip(honest.signature, bit)) for bit in range(len(honest.signature) * 8)),
    ]
    for one in flipped:
        with pytest.raises(InvalidSignatureError):
            verify(public(pem(key)), one)


@pytest.mark.parametrize("signature", [b"\0", b"\x30\0", b"\x30\x06\x02\x01\0\x02\x01\0", b"\xff" * 200])
def test_a_signature_that_is_no_der_is_refused(key: ec.EllipticCurvePrivateKey, signature: bytes) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(public(pem(key)), Envelope(b"payload", signature))


def subject_public_key(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP224R1()),
    ],
    ids=["rsa", "ed25519", "secp256k1", "secp224r1"],
)
def test_keys_that_models_are_not_signed_with_are_refused(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    with pytest.raises(SignatureError, match=r"test\.pub"):
        public(subject_public_key(key))


@pytest.mark.parametrize("data", [b"", b"key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError, match=r"test\.pub"):
        public(data)


def test_a_private_key_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(SignatureError, match="public key"):
        public(private)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
