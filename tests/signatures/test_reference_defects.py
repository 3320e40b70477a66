"""What the reference implementation, model_signing 1.1.1, does wrong, and is done right here: one test for each."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from local_authority import YEAR, Holder, Traits, authority, sign_with_certificate
from signed_models import (
    WEIGHTS,
    digests,
    payload_of,
    pem,
    sharded,
    sign_with_key,
    statement,
    write_bundle,
    write_model,
)

from aiverify.pipeline import Options, run
from aiverify.policy import Policy, SignerRule
from aiverify.report import FileState, Report
from aiverify.signatures.interface import SignatureError
from aiverify.signers import CertificateSigner, Expectation, KeySigner
from aiverify.sources.interface import Selection, SourceError

Verify = Callable[..., Report]


@pytest.fixture
def verify(key: ec.EllipticCurvePrivateKey) -> Verify:
    def run_it(target: Path, expected: Expectation | None = None, **options: Any) -> Report:
        policy = Policy(signers=(SignerRule(expected=expected or KeySigner(pem(key), "acme.pub")),))
        return run(str(target), Options(policy=policy, engines=(), convert=False, **options))

    return run_it


@pytest.fixture
def sign(model: Path, key: ec.EllipticCurvePrivateKey) -> Callable[..., Path]:
    def sign_it(content: dict[str, Any] | None = None, folder: Path = model, name: str = "model.sig") -> Path:
        payload = payload_of(folder) if content is None else json.dumps(content).encode()
        return write_bundle(sign_with_key(payload, key), folder / name)

    return sign_it


Sign = Callable[..., Path]


def said(report: Report) -> list[tuple[str, str | None, str]]:
    return [
        (one.rule, one.file, one.severity.value) for one in report.findings if one.rule.startswith(("AIV2", "AIV4"))
    ]


def test_1_it_can_be_imported_without_what_it_does_not_declare() -> None:
    program = (
        "import sys; sys.modules['OpenSSL'] = sys.modules['model_signing'] = None; import aiverify.signatures.stage"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_2_what_one_signer_ignores_is_not_ignored_for_the_next(
    model: Path, tmp_path: Path, sign: Sign, verify: Verify
) -> None:
    other = write_model(tmp_path / "other")
    sign(statement(digests(other, ["evil.py"]), ignore=["evil.py"]), folder=other)
    sign()
    for folder in (model, other):
        (folder / "evil.py").write_bytes(b"")
    assert said(verify(other)) == [("AIV208", "evil.py", "medium")]
    assert said(verify(model)) == [("AIV207", "evil.py", "high")]


@pytest.mark.parametrize(
    "traits",
    [
        Traits(age=4 * YEAR, left=-timedelta(days=1000)),
        Traits(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]),
    ],
    ids=["3 expired", "4 for web servers"],
)
def test_3_and_4_a_certificate_signs_while_it_is_valid_and_only_what_it_is_for(
    model: Path, verify: Verify, traits: Traits
) -> None:
    root = authority(age=5 * YEAR)
    write_bundle(sign_with_certificate(payload_of(model), Holder(traits, root)), model / "model.sig")
    assert said(verify(model, CertificateSigner(root.pem))) == [("AIV203", "model.sig", "critical")]


def test_5_a_manifest_cannot_speak_of_files_outside(model: Path, sign: Sign, verify: Verify) -> None:
    (model.parent / "outside.txt").write_bytes(b"")
    sign(statement({**digests(model), "../outside.txt": hashlib.sha256(b"").hexdigest()}))
    assert said(verify(model)) == [("AIV203", "model.sig", "critical")]


def test_6_a_linked_folder_is_part_of_the_model(model: Path, sign: Sign, verify: Verify) -> None:
    content = statement(digests(model))
    content["predicate"]["serialization"]["allow_symlinks"] = True
    sign(content)
    (model / "evil").mkdir()
    (model / "evil" / "payload.py").write_bytes(b"import os\n")
    (model / "linked").symlink_to(model / "evil")
    found = said(verify(model))
    assert ("AIV207", "linked/payload.py", "high") in found
    assert ("AIV207", "evil/payload.py", "high") in found


def test_6_a_linked_folder_outside_is_refused(model: Path, tmp_path: Path, sign: Sign, verify: Verify) -> None:
    sign()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "payload.py").write_bytes(b"")
    (model / "linked").symlink_to(tmp_path / "elsewhere")
    assert "AIV409" in {rule for rule, _, _ in said(verify(model))}


def test_7_an_empty_file_that_was_added_is_noticed(model: Path, sign: Sign, verify: Verify) -> None:
    sign(statement(sharded(model, 10), shard_size=10))
    (model / "__init__.py").write_bytes(b"")
    (model / "notes.txt").write_bytes(b"")
    report = verify(model)
    assert said(report) == [("AIV207", "__init__.py", "medium"), ("AIV207", "notes.txt", "low")]
    assert dict(report.signatures[0].files)["__init__.py"] is FileState.UNSIGNED


@pytest.mark.parametrize("size", [4, 4.0, 10**9, 1e9])
def test_8_shards_are_read_as_they_are_recorded(model: Path, sign: Sign, verify: Verify, size: float) -> None:
    content = statement(sharded(model, int(size)), shard_size=size)
    for resource in content["predicate"]["resources"]:
        resource["algorithm"] = f"sha256-sharded-{int(size)}"
    sign(content)
    report = verify(model)
    assert (report.signatures[0].outcome, said(report)) == ("verified", [])
    assert len(report.signatures[0].covers) == 4


def snapshot(tmp_path: Path, model: Path) -> Path:
    """The model as it lies in the Hub's cache: links to blobs."""
    repository = tmp_path / "hub" / "models--org--name"
    blobs = repository / "blobs"
    blobs.mkdir(parents=True)
    root = repository / "snapshots" / ("0" * 40)
    for path in sorted(model.rglob("*")):
        if path.is_file():
            blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
            blob.write_bytes(path.read_bytes())
            link = root / path.relative_to(model)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return root


def test_9_the_links_of_the_hubs_cache_are_followed(model: Path, tmp_path: Path, sign: Sign, verify: Verify) -> None:
    sign()
    report = verify(snapshot(tmp_path, model))
    assert (report.signatures[0].outcome, said(report)) == ("verified", [])


def test_9_links_to_anywhere_else_are_not(model: Path, tmp_path: Path, sign: Sign, verify: Verify) -> None:
    sign()
    root = snapshot(tmp_path, model)
    (tmp_path / "other").write_bytes((model / "config.json").read_bytes())
    (root / "config.json").unlink()
    (root / "config.json").symlink_to(tmp_path / "other")
    report = verify(root)
    assert {("AIV409", "config.json"), ("AIV206", "config.json")} <= {(rule, file) for rule, file, _ in said(report)}
    assert report.verdict.outcome.value == "block"


def test_10_git_files_that_were_signed_are_compared_and_missed(model: Path, sign: Sign, verify: Verify) -> None:
    (model / ".gitattributes").write_bytes(b"* text=auto\n")
    content = statement({**digests(model), ".gitattributes": hashlib.sha256(b"* text=auto\n").hexdigest()})
    content["predicate"]["serialization"]["ignore_paths"] = []
    sign(content)
    assert said(verify(model)) == []
    (model / ".gitignore").write_bytes(b"")
    (model / ".gitattributes").write_bytes(b"")
    assert [(rule, file) for rule, file, _ in said(verify(model))] == [
        ("AIV205", ".gitattributes"),
        ("AIV207", ".gitignore"),
    ]


def test_11_the_signature_inside_of_the_model_is_no_extra_file(model: Path, sign: Sign, verify: Verify) -> None:
    sign(name="signed.json")
    bundle = (model / "signed.json",)
    report = verify(model, bundles=bundle)
    assert (report.signatures[0].outcome, said(report)) == ("verified", [])
    assert "signed.json" not in dict(report.signatures[0].files)


def test_13_a_part_of_a_model_can_be_verified_and_is_said_to_be_one(model: Path, sign: Sign, verify: Verify) -> None:
    sign()
    report = verify(model, selection=Selection(include=["*.safetensors"]))
    (signature,) = report.signatures
    assert (signature.outcome, signature.partial) == ("verified", True)
    assert "partial: 3 of the 4 signed files were not compared" in signature.detail
    assert {rule for rule, _, _ in said(report)} == {"AIV211"}
    assert report.verdict.outcome.value == "pass"


def test_13_a_single_file_of_a_signed_folder_can_be_verified(model: Path, sign: Sign, verify: Verify) -> None:
    bundle = sign()
    for file in ("model.safetensors", "sub/tokenizer.json"):
        report = verify(model / file, bundles=(bundle,))
        (signature,) = report.signatures
        assert (signature.outcome, signature.partial) == ("verified", True)
        assert signature.covers == (Path(file).name,)
        assert {(rule, severity) for rule, _, severity in said(report)} == {("AIV211", "info")}
    (model / "model.safetensors").write_bytes(WEIGHTS[:-7] + b"Weights")
    report = verify(model / "model.safetensors", bundles=(bundle,))
    assert ("AIV205", "model.safetensors", "critical") in said(report)


def test_13_a_file_that_is_none_of_the_signed_ones_is_not_taken_for_one(
    model: Path, tmp_path: Path, sign: Sign, verify: Verify
) -> None:
    bundle = sign()
    other = tmp_path / "other.safetensors"
    other.write_bytes((model / "model.safetensors").read_bytes())
    report = verify(other, bundles=(bundle,))
    assert ("AIV207", "other.safetensors", "high") in said(report)
    assert report.signatures[0].covers == ()


def test_14_what_git_keeps_is_reported_and_vouched_for_by_nobody(model: Path, sign: Sign, verify: Verify) -> None:
    sign()
    (model / ".git" / "hooks").mkdir(parents=True)
    (model / ".git" / "hooks" / "post-checkout").write_bytes(b"#!/bin/sh\n")
    report = verify(model)
    assert said(report) == [("AIV208", ".git/", "info")]
    assert "hooks" in report.findings[0].message
    assert dict(report.signatures[0].files)[".git/"] is FileState.IGNORED
    assert not any(path.startswith(".git") for path in report.signatures[0].covers)


def test_17_an_empty_folder_is_no_model(tmp_path: Path, sign: Sign, verify: Verify) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no files"):
        verify(tmp_path / "empty")
    content = statement({})
    assert content["predicate"]["resources"] == []
    (tmp_path / "other").mkdir()
    sign(content, folder=tmp_path / "other")
    assert said(verify(tmp_path / "other"))[0][0] == "AIV203"


@pytest.mark.parametrize("name", [".", "weights.safetensors"])
def test_18_a_single_file_goes_by_either_name(tmp_path: Path, sign: Sign, verify: Verify, name: str) -> None:
    content = WEIGHTS
    (tmp_path / "weights.safetensors").write_bytes(content)
    listed = {name: hashlib.sha256(content).hexdigest()}
    sign(statement(listed), folder=tmp_path, name="weights.safetensors.sig")
    report = verify(tmp_path / "weights.safetensors")
    assert (report.signatures[0].outcome, report.signatures[0].covers, said(report)) == (
        "verified",
        ("weights.safetensors",),
        [],
    )


def test_19_a_name_that_is_listed_twice_is_refused(model: Path, sign: Sign, verify: Verify) -> None:
    content = statement(digests(model))
    content["predicate"]["resources"].append(content["predicate"]["resources"][-1])
    sign(content)
    assert said(verify(model)) == [("AIV203", "model.sig", "critical")]


def test_20_a_recorded_digest_algorithm_is_used(model: Path, sign: Sign, verify: Verify) -> None:
    from blake3 import blake3

    for algorithm, digest in {"blake2b": hashlib.blake2b, "blake3": blake3}.items():
        listed = {path: digest((model / path).read_bytes()).hexdigest() for path in digests(model)}
        sign(statement(listed, algorithm=algorithm))
        report = verify(model)
        assert (report.signatures[0].outcome, said(report)) == ("verified", [])
    (model / "config.json").write_bytes(b"{}")
    assert ("AIV205", "config.json", "critical") in said(verify(model))


def test_blake3_that_is_not_installed_is_said_with_the_way_out(
    model: Path, sign: Sign, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(statement(dict.fromkeys(digests(model), "00" * 32), algorithm="blake3"))
    monkeypatch.setitem(sys.modules, "blake3", None)
    with pytest.raises(SignatureError, match="BLAKE3") as refused:
        verify(model)
    assert "aiverify-weights[blake3]" in refused.value.hint


def test_a_key_that_models_are_not_signed_with_is_said_to_be_one(model: Path, sign: Sign, verify: Verify) -> None:
    sign()
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    signer = KeySigner(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "ed25519.pub")
    with pytest.raises(SignatureError, match=r"ed25519\.pub is not an ECDSA key"):
        verify(model, signer)


@pytest.mark.parametrize("form", ["pem", "der", "none"])
def test_a_hint_names_the_key_in_either_form_and_decides_nothing(
    model: Path, key: ec.EllipticCurvePrivateKey, verify: Verify, form: str
) -> None:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hint = {"pem": hashlib.sha256(pem(key)).hexdigest(), "der": hashlib.sha256(der).hexdigest(), "none": ""}[form]
    bundle = sign_with_key(payload_of(model), key)
    bundle["verificationMaterial"]["publicKey"]["hint"] = hint
    write_bundle(bundle, model / "model.sig")
    assert said(verify(model)) == []
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload_of(model) + b" ").decode()
    write_bundle(bundle, model / "model.sig")
    report = verify(model)
    assert [rule for rule, _, _ in said(report)] == ["AIV203"]
    assert ("it was made with key acme.pub, so it was changed" in report.findings[0].message) is (form != "none")
