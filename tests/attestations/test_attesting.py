"""Attesting a report or a receipt: what is signed, and what others make of it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from end_to_end import Machine, sample
from local_sigstore import ISSUER, LocalSigstore
from signed_models import pem
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier, policy

from aiverify import api
from aiverify.attestations.interface import AttestationError
from aiverify.attesting import attest
from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.key import verify
from aiverify.signatures.making import KeySigning


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def machine(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> Machine:
    machine = Machine(tmp_path)
    sample("signed", machine.here)
    (machine.here / "signed" / "model.sig").unlink()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (machine.here / "key.pem").write_bytes(private)
    (machine.here / "key.pub").write_bytes(pem(key))
    return machine


def payload(bundle: Path) -> bytes:
    return base64.b64decode(json.loads(bundle.read_text())["dsseEnvelope"]["payload"])


def test_a_cluster_trusts_the_verdict_of_a_pipeline(machine: Machine) -> None:
    assert machine.run("verify", "signed", "--format", "json", "-o", "report.json").code == 0
    ran = machine.run("attest", "report.json", "--key", "key.pem")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("ATTESTED  report.json.sigstore.json: the verdict pass on ")
    accept = ["verify", "signed", "--accept-attestation", "report.json.sigstore.json"]
    ran = machine.run(*accept, "--attestor-key", "key.pub")
    assert ran.code == 0
    assert "by attestation" in ran.out
    for options in (
        [],
        ["--key", "key.pub"],
        ["--attestor-key", "key.pub", "--max-age", "0"],
        ["--attestor-key", "key.pub", "--attestor-identity", "a", "--attestor-oidc-issuer", "b"],
        ["--attestor-identity", "a"],
        ["--attestor-key", "key.pub", "--attestor-ca-subject", "CN=a"],
        ["--attestor-key", "nowhere"],
        ["--attestor-key", "key.pub", "--attested-policy", "x"],
        ["--attestor-key", "key.pub", "--require-signature"],
    ):
        ran = machine.run(*accept, *options)
        assert ran.code == 2
        assert ran.err.startswith("error: ")
    (machine.here / "signed" / "new.py").write_text("")
    ran = machine.run(*accept, "--attestor-key", "key.pub", "--format", "json")
    assert ran.code == 1
    assert ran.report["verdict"]["outcome"] == "block"
    assert ran.report["attestations"][0]["outcome"] == "refused"


def test_terms_without_an_attestation_are_a_slip(machine: Machine) -> None:
    for options in (["--attestor-key", "key.pub"], ["--attested-version", "1.0"], ["--attested-policy", "0" * 64]):
        ran = machine.run("verify", "signed", *options)
        assert (ran.code, "--accept-attestation" in ran.err) == (2, True)


def test_a_keyless_attestation_is_one_that_sigstore_verifies(machine: Machine) -> None:
    with LocalSigstore() as sigstore:
        (machine.here / "root.json").write_text(json.dumps(sigstore.trusted_root()))
        (machine.here / "config.json").write_text(json.dumps(sigstore.signing_config()))
        machine.run("verify", "signed", "--format", "json", "-o", "report.json")
        token = sigstore.token("ci@example.test")
        instance = ["--trusted-root", "root.json", "--signing-config", "config.json"]
        ran = machine.run("attest", "report.json", *instance, "--bundle", "a.json", SIGSTORE_IDENTITY_TOKEN=token)
        assert (ran.code, token in ran.out + ran.err) == (0, False)
        bundle = Bundle.from_json((machine.here / "a.json").read_text())
        verifier = Verifier(trusted_root=ClientTrustConfig.from_json(sigstore.client_trust_config()).trusted_root)
        kind, signed = verifier.verify_dsse(bundle, policy.Identity(identity="ci@example.test", issuer=ISSUER))
    assert kind == "application/vnd.in-toto+json"
    statement = json.loads(signed)
    assert statement["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert statement["predicate"]["verificationResult"] == "PASSED"
    digests = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    folder = machine.here / "signed"
    assert digests == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_receipt_is_signed_byte_for_byte(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    api.convert(sample("checkpoint", tmp_path), tmp_path / "out")
    receipts = sorted((tmp_path / "out").glob("*.receipt.json"))
    assert len(receipts) == 3  # two shards and their index
    for receipt in receipts:
        attested = attest(receipt, KeySigning(key))
        assert attested.bundle.name == f"{receipt.name}.sigstore.json"
        assert payload(attested.bundle) == receipt.read_bytes()
        verify(key.public_key(), parse_bundle(attested.bundle.read_bytes()).envelope)


def test_a_report_in_memory_can_be_attested(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    report = api.verify(sample("checkpoint", tmp_path))
    attested = attest(report, KeySigning(key), output=tmp_path / "a.json")
    assert "the verdict pass" in attested.about
    with pytest.raises(AttestationError):
        attest(report, KeySigning(key))


def _receipt(**changes: Any) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://aiverify-weights.readthedocs.io/conversion-receipt/v1",
        "predicate": {},
        **changes,
    }


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"_type": 1}',
        json.dumps(_receipt(subject=[])),
        json.dumps(_receipt(subject=[{"name": "x", "digest": {}}])),
        json.dumps(_receipt(subject=[{"name": "x", "digest": {"sha256": "0"}}])),
        json.dumps(_receipt(predicateType="https://slsa.dev/provenance/v1")),
        json.dumps(_receipt(_type="https://in-toto.io/Statement/v0.1")),
        '{"schema_version": "1.0"}',
    ],
)
def test_what_is_neither_a_report_nor_a_receipt_is_not_signed(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey, content: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(AttestationError, match=r"not a receipt|neither"):
        attest(path, KeySigning(key))
    with pytest.raises(AttestationError, match="cannot be read"):
        attest(tmp_path / "nowhere.json", KeySigning(key))
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_nothing_but_a_bundle_is_replaced(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(_receipt()))
    (tmp_path / "keep").write_text("mine")
    for _ in range(2):
        attest(path, KeySigning(key))
    with pytest.raises(AttestationError, match="is no attestation"):
        attest(path, KeySigning(key), output=tmp_path / "keep")
    with pytest.raises(AttestationError, match="no such folder"):
        attest(path, KeySigning(key), output=tmp_path / "nowhere" / "a")
