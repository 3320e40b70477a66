"""model_signing 1.1.1, the signer that publishers use today, as the other side: both ways, keyless and with a key."""

from __future__ import annotations

from pathlib import Path

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from local_sigstore import ISSUER, LocalSigstore
from signed_models import artifact_files, payload_of, pem, sign_keyless, sign_with_key, write_bundle, write_model

from aiverify.report import SignatureResult
from aiverify.signatures.interface import Authentication, KeylessSigner, KeySigner, Signer
from aiverify.signatures.stage import authenticate

IDENTITY = "release@example.test"
SIGNER = KeylessSigner(IDENTITY, ISSUER)
CURVES = pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)


def their_signature(
    model: Path, key: ec.EllipticCurvePrivateKey, hashing: model_signing.hashing.Config, keys: Path
) -> None:
    private = keys / "key.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=private)
    # The signature lies beside the files, but 1.1.1 leaves it out only when told to.
    signing.set_hashing_config(hashing).sign(model, model / "model.sig" if model.is_dir() else Path(f"{model}.sig"))


def verdict(model: Path, signer: Signer, trusted_root: Path | None = None) -> tuple[SignatureResult, Authentication]:
    done = authenticate(files=artifact_files(model), root=model, signers=[signer], trusted_root=trusted_root)
    return done.results[0], done


@CURVES
def test_their_key_signature_verifies_here(model: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    write_model(model, {"a/b": b"1", "a-b": b"2", "a/é.txt": b"3", "x:y": b"4", ".gitattributes": b""})
    key = ec.generate_private_key(curve)
    their_signature(model, key, model_signing.hashing.Config(), tmp_path)
    result, done = verdict(model, KeySigner(pem(key), "key.pub"))
    assert result.outcome == "verified"
    assert [(one.rule, one.file) for one in done.findings] == [("AIV208", ".gitattributes")]
    assert set(result.covers) == {f.path for f in artifact_files(model)} - {"model.sig", ".gitattributes"}


def test_their_ignored_paths_are_ignored_here(model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_model(model, {"notes/a.txt": b""})
    paths = ["notes", "README.md", "model.sig"]
    their_signature(model, key, model_signing.hashing.Config().set_ignored_paths(paths=paths), tmp_path)
    result, done = verdict(model, KeySigner(pem(key), "key.pub"))
    assert result.outcome == "verified"
    assert {(one.rule, one.file) for one in done.findings} == {("AIV208", "notes/a.txt"), ("AIV208", "README.md")}


def test_their_signature_of_a_single_file_verifies_here(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    their_signature(folder / "weights.bin", key, model_signing.hashing.Config(), tmp_path)
    result, done = verdict(folder, KeySigner(pem(key), "key.pub"))
    assert (result.outcome, result.covers, done.findings) == ("verified", ("weights.bin",), ())


@pytest.mark.parametrize("kind", ["shards", "blake2", "blake3"])
def test_what_they_can_sign_and_we_cannot_read_fails_closed(
    model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey, kind: str
) -> None:
    hashing = model_signing.hashing.Config()
    if kind == "shards":
        hashing.use_shard_serialization()
    else:
        hashing.use_file_serialization(hashing_algorithm=kind)
    their_signature(model, key, hashing, tmp_path)
    result, done = verdict(model, KeySigner(pem(key), "key.pub"))
    assert (result.outcome, result.covers) == ("failed", ())
    assert [(one.rule, one.severity.value) for one in done.findings] == [("AIV210", "critical")]


@pytest.mark.parametrize("rekor", [1, 2])
def test_their_keyless_signature_verifies_here(
    model: Path, tmp_path: Path, sigstore: LocalSigstore, trusted_root: Path, rekor: int
) -> None:
    config = tmp_path / "trust_config.json"
    config.write_text(sigstore.client_trust_config(rekor=rekor))
    model_signing.signing.Config().use_sigstore_signer(
        identity_token=sigstore.token(IDENTITY), trust_config=config
    ).sign(model, model / "model.sig")
    result, done = verdict(model, SIGNER, trusted_root)
    assert (result.outcome, done.findings) == ("verified", ())


@CURVES
def test_our_key_signature_verifies_there(model: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    public = tmp_path / "key.pub"
    public.write_bytes(pem(key))
    signature = write_bundle(sign_with_key(payload_of(model), key), tmp_path / "model.sig")
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)
    (model / "config.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match="mismatch"):
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)


@pytest.mark.parametrize("rekor", [1, 2])
def test_our_keyless_signature_verifies_there(model: Path, tmp_path: Path, sigstore: LocalSigstore, rekor: int) -> None:
    config = tmp_path / "trust_config.json"
    config.write_text(sigstore.client_trust_config())
    signature = write_bundle(sign_keyless(payload_of(model), sigstore, IDENTITY, rekor=rekor), tmp_path / "model.sig")
    model_signing.verifying.Config().use_sigstore_verifier(
        identity=IDENTITY, oidc_issuer=ISSUER, trust_config=config
    ).verify(model, signature)
