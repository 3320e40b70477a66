"""model_signing 1.1.1, the signer that publishers use today, as the other side: both ways, keyless and with a key."""

from __future__ import annotations

import json
from pathlib import Path

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from local_authority import Holder, Traits, authority, sign_with_certificate
from local_sigstore import ISSUER, LocalSigstore
from signed_models import (
    artifact_files,
    digests,
    legacy_statement,
    payload_of,
    pem,
    sign_keyless,
    sign_with_key,
    write_bundle,
    write_model,
)

from aiverify.report import SignatureResult
from aiverify.signatures.interface import Authentication
from aiverify.signatures.stage import authenticate
from aiverify.signers import CertificateSigner, KeylessSigner, KeySigner, Signer

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


@pytest.mark.parametrize("kind", ["shards of 4", "shards", "blake2", "blake3"])
def test_their_other_digests_are_read_here(
    model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey, kind: str
) -> None:
    write_model(model, {"a/b": b"123456789", "a-b": b"12345678", "a:b": b"1"})
    hashing = model_signing.hashing.Config()
    if kind == "shards of 4":
        hashing.use_shard_serialization(shard_size=4)
    elif kind == "shards":
        hashing.use_shard_serialization()
        (model / "a:b").unlink()  # 1.1.1 cannot read its own name for a shard of such a file
    else:
        hashing.use_file_serialization(hashing_algorithm=kind)
    their_signature(model, key, hashing, tmp_path)
    result, done = verdict(model, KeySigner(pem(key), "key.pub"))
    assert (result.outcome, done.findings) == ("verified", ())
    assert len(result.covers) == len(artifact_files(model)) - 1
    (model / "a/b").write_bytes(b"123456780")
    result, done = verdict(model, KeySigner(pem(key), "key.pub"))
    assert (result.outcome, [(one.rule, one.file) for one in done.findings]) == ("failed", [("AIV205", "a/b")])


def test_their_signature_over_shards_of_a_single_file_is_read_here(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    hashing = model_signing.hashing.Config().use_shard_serialization(shard_size=3)
    their_signature(folder / "weights.bin", key, hashing, tmp_path)
    result, done = verdict(folder, KeySigner(pem(key), "key.pub"))
    assert (result.outcome, result.covers, done.findings) == ("verified", ("weights.bin",), ())


@CURVES
def test_their_certificate_signature_verifies_here(model: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    root = authority()
    middle = authority("CN=Middle", root)
    holder = Holder(Traits(), middle, curve)
    private, leaf, chain = tmp_path / "key.pem", tmp_path / "leaf.pem", tmp_path / "chain.pem"
    private.write_bytes(holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    leaf.write_bytes(holder.pem)
    chain.write_bytes(middle.pem)
    model_signing.signing.Config().use_certificate_signer(
        private_key=private, signing_certificate=leaf, certificate_chain=[chain]
    ).sign(model, model / "model.sig")
    result, done = verdict(model, CertificateSigner(root.pem, "CN=Release"))
    assert (result.outcome, done.findings) == ("verified", ())


@CURVES
@pytest.mark.parametrize("legacy", [False, True])
def test_our_certificate_signature_verifies_there(
    model: Path, tmp_path: Path, curve: ec.EllipticCurve, legacy: bool
) -> None:
    root = authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(root.pem)
    payload = json.dumps(legacy_statement(digests(model))).encode() if legacy else payload_of(model)
    bundle = sign_with_certificate(payload, Holder(Traits(), root, curve), legacy=legacy)
    signature = write_bundle(bundle, tmp_path / "model.sig")
    model_signing.verifying.Config().use_certificate_verifier(certificate_chain=[ca]).verify(model, signature)


def test_what_counts_as_version_0_2_here_does_so_there(
    model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    public = tmp_path / "key.pub"
    public.write_bytes(pem(key))
    payload = json.dumps(legacy_statement(digests(model))).encode()
    signature = write_bundle(sign_with_key(payload, key, legacy=True), model / "model.sig")
    result, done = verdict(model, KeySigner(pem(key), "key.pub"))
    assert (result.outcome, done.findings) == ("verified", ())
    elsewhere = signature.rename(tmp_path / "model.sig")
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, elsewhere)


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
