from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from local_authority import Holder, Traits, authority, sign_with_certificate
from local_sigstore import ISSUER, LocalSigstore
from signed_models import artifact_files, payload_of, pem, sign_keyless, sign_with_key, statement, write_bundle

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.errors import UsageError
from aiverify.report import SignatureResult
from aiverify.signatures.bundle import MAX_BUNDLE_BYTES
from aiverify.signatures.interface import Authentication, SignatureError
from aiverify.signatures.stage import authenticate
from aiverify.signers import KeylessSigner, KeySigner, Signer

IDENTITY = "release@example.test"
SIGNER = KeylessSigner(IDENTITY, ISSUER)
STRANGER = KeylessSigner("mallory@example.test", ISSUER)

Check = Callable[..., Authentication]


@pytest.fixture
def check(model: Path, trusted_root: Path) -> Check:
    def run(*signers: Signer, **options: Any) -> Authentication:
        options.setdefault("files", artifact_files(model))
        options.setdefault("trusted_root", trusted_root)
        return authenticate(root=model, signers=signers, **options)

    return run


@pytest.fixture
def keyless_model(model: Path, sigstore: LocalSigstore) -> Path:
    write_bundle(sign_keyless(payload_of(model), sigstore, IDENTITY), model / "model.sig")
    return model


@pytest.fixture
def key_model(model: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    write_bundle(sign_with_key(payload_of(model), key), model / "model.sig")
    return model


@pytest.fixture
def key_signer(key_pem: bytes) -> KeySigner:
    return KeySigner(key_pem, "acme.pub")


@pytest.fixture
def other_key() -> KeySigner:
    return KeySigner(pem(ec.generate_private_key(ec.SECP256R1())), "other.pub")


def summary(done: Authentication) -> tuple[str, str, list[tuple[str, str]]]:
    (result,) = done.results
    return result.kind, result.outcome, [(one.rule, one.severity.value) for one in done.findings]


def result_of(done: Authentication) -> SignatureResult:
    (result,) = done.results
    return result


ALL = ("README.md", "config.json", "model.safetensors", "sub/tokenizer.json")


def test_an_unsigned_artifact_is_said_to_be_unsigned(model: Path, check: Check) -> None:
    assert summary(check()) == ("none", "absent", [("AIV201", "info")])


def test_an_expected_signature_that_is_missing_is_critical(model: Path, check: Check, key_signer: KeySigner) -> None:
    done = check(SIGNER, key_signer)
    assert summary(done) == ("none", "absent", [("AIV202", "critical")])
    assert str(SIGNER) in done.findings[0].message
    assert "acme.pub" in done.findings[0].message


def test_a_required_signature_that_is_missing_is_critical(model: Path, check: Check) -> None:
    assert summary(check(required=True)) == ("none", "absent", [("AIV202", "critical")])


@pytest.mark.parametrize("options", [{}, {"required": True}, {"signers": [SIGNER]}])
def test_a_signature_that_the_selection_left_out_is_absent_and_said_to_be(model: Path, options: dict[str, Any]) -> None:
    done = authenticate(files=artifact_files(model), root=model, left_out=["a.bin", "model.sig"], **options)
    assert result_of(done).outcome == "absent"
    assert "the selection left model.sig out" in done.findings[0].message


def test_a_keyless_signature_by_the_expected_signer_is_verified(keyless_model: Path, check: Check) -> None:
    done = check(SIGNER)
    assert summary(done) == ("keyless", "verified", [])
    assert result_of(done).covers == ALL
    assert result_of(done).signer == f"{IDENTITY} (issuer {ISSUER})"


def test_a_keyless_signature_by_one_of_several_expected_signers_is_verified(
    keyless_model: Path, check: Check, other_key: KeySigner
) -> None:
    assert summary(check(STRANGER, other_key, SIGNER, required=True)) == ("keyless", "verified", [])


@pytest.mark.parametrize("signer", [STRANGER, KeylessSigner(IDENTITY, "https://issuer.evil.test")])
def test_a_keyless_signature_by_somebody_else_is_critical(
    keyless_model: Path, check: Check, signer: KeylessSigner
) -> None:
    done = check(signer)
    assert summary(done) == ("keyless", "failed", [("AIV204", "critical")])
    assert result_of(done).covers == ()
    assert str(SIGNER) in done.findings[0].message
    assert str(signer) in done.findings[0].message
    assert done.findings[0].evidence == {"identity": IDENTITY, "issuer": ISSUER}


def test_a_keyless_signature_where_a_key_is_expected_is_by_somebody_else(
    keyless_model: Path, check: Check, key_signer: KeySigner
) -> None:
    assert summary(check(key_signer)) == ("keyless", "failed", [("AIV204", "critical")])


def test_a_keyless_signature_that_nobody_expected_is_unpinned(keyless_model: Path, check: Check) -> None:
    done = check()
    assert summary(done) == ("keyless", "unpinned", [("AIV209", "low")])
    assert result_of(done).covers == ALL
    assert done.findings[0].message.endswith(f"--cert-identity {IDENTITY} --cert-oidc-issuer {ISSUER}")
    assert done.findings[0].file == "model.sig"


def test_the_flags_that_are_suggested_survive_a_shell(model: Path, sigstore: LocalSigstore, check: Check) -> None:
    identity = "https://example.test/a?b&c;$(touch x)"
    write_bundle(sign_keyless(payload_of(model), sigstore, identity), model / "model.sig")
    assert f"--cert-identity '{identity}' --cert" in check().findings[0].message


def test_a_required_signature_needs_a_name(keyless_model: Path, check: Check) -> None:
    done = check(required=True)
    assert summary(done) == ("keyless", "unpinned", [("AIV209", "low"), ("AIV202", "critical")])


def test_a_keyless_signature_under_another_root_is_not_valid(keyless_model: Path, check: Check) -> None:
    assert summary(check(SIGNER, trusted_root=None)) == ("keyless", "failed", [("AIV203", "critical")])
    assert summary(check(trusted_root=None)) == ("keyless", "failed", [("AIV203", "critical")])


def test_a_signature_with_the_expected_key_is_verified(
    key_model: Path, check: Check, key_signer: KeySigner, other_key: KeySigner
) -> None:
    done = check(other_key, key_signer)
    assert summary(done) == ("key", "verified", [])
    assert result_of(done).covers == ALL
    assert "acme.pub" in str(result_of(done).signer)


def test_a_signature_with_another_key_is_critical(key_model: Path, check: Check, other_key: KeySigner) -> None:
    done = check(other_key, SIGNER)
    assert summary(done) == ("key", "failed", [("AIV203", "critical")])
    assert result_of(done).covers == ()


@pytest.mark.parametrize("hint", ["0" * 64, "", None, "\x1b[2J"])
def test_what_a_bundle_says_about_its_key_decides_nothing(
    key_model: Path, check: Check, key_signer: KeySigner, other_key: KeySigner, hint: str | None
) -> None:
    bundle = json.loads((key_model / "model.sig").read_text())
    bundle["verificationMaterial"]["publicKey"]["hint"] = hint
    write_bundle(bundle, key_model / "model.sig")
    assert summary(check(key_signer)) == ("key", "verified", [])
    refused = check(other_key)
    assert summary(refused) == ("key", "failed", [("AIV203", "critical")])
    assert "\x1b" not in refused.findings[0].message + check().findings[0].message


def test_a_key_signature_without_a_key_is_unchecked(key_model: Path, check: Check) -> None:
    done = check()
    assert summary(done) == ("key", "unchecked", [("AIV210", "low")])
    assert result_of(done).covers == ()


def test_a_key_signature_where_an_identity_is_expected_is_critical(key_model: Path, check: Check) -> None:
    assert summary(check(SIGNER)) == ("key", "failed", [("AIV210", "critical")])


def test_a_certificate_chain_is_unchecked_and_critical_where_a_signer_is_expected(
    model: Path, check: Check, key_signer: KeySigner
) -> None:
    write_bundle(sign_with_certificate(payload_of(model), Holder(Traits(), authority())), model / "model.sig")
    assert summary(check()) == ("certificate", "unchecked", [("AIV210", "low")])
    assert summary(check(SIGNER)) == ("certificate", "failed", [("AIV210", "critical")])
    assert summary(check(key_signer)) == ("certificate", "failed", [("AIV210", "critical")])
    assert summary(check(required=True))[2] == [("AIV210", "low"), ("AIV202", "critical")]


@pytest.mark.parametrize("signers", [[], [SIGNER], [STRANGER]])
def test_files_are_compared_whatever_the_signature_is_worth(
    keyless_model: Path, check: Check, signers: Sequence[Signer]
) -> None:
    (keyless_model / "model.safetensors").write_bytes(b"evil")
    done = check(*signers)
    assert ("AIV205", "model.safetensors") in [(one.rule, one.file) for one in done.findings]
    assert "model.safetensors" not in result_of(done).covers


def test_files_are_compared_when_the_signature_was_not_checked(key_model: Path, check: Check) -> None:
    (key_model / "evil.py").write_bytes(b"")
    (key_model / "config.json").unlink()
    assert summary(check())[2] == [("AIV210", "low"), ("AIV207", "high"), ("AIV206", "high")]


def test_a_file_that_the_selection_left_out_is_only_mentioned(
    key_model: Path, check: Check, key_signer: KeySigner
) -> None:
    files = [file for file in artifact_files(key_model) if file.path != "config.json"]
    done = check(key_signer, files=files, left_out=["config.json"])
    assert summary(done) == ("key", "verified", [("AIV211", "info")])
    assert "config.json" not in result_of(done).covers


def test_a_signature_about_something_else_is_not_valid(
    model: Path, check: Check, key: ec.EllipticCurvePrivateKey, key_signer: KeySigner
) -> None:
    content = {**statement({"a": "00" * 32}), "predicateType": "https://slsa.dev/provenance/v1"}
    write_bundle(sign_with_key(json.dumps(content).encode(), key), model / "model.sig")
    done = check(key_signer)
    assert summary(done) == ("key", "failed", [("AIV203", "critical")])
    assert result_of(done).covers == ()


def test_a_manifest_that_cannot_be_read_fails_only_where_a_signer_is_expected(
    model: Path, check: Check, key: ec.EllipticCurvePrivateKey, key_signer: KeySigner
) -> None:
    content = statement({"a": "00" * 32})
    content["predicate"]["serialization"]["method"] = "trees"
    write_bundle(sign_with_key(json.dumps(content).encode(), key), model / "model.sig")
    assert summary(check(key_signer)) == ("key", "failed", [("AIV210", "critical")])
    assert summary(check()) == ("key", "unchecked", [("AIV210", "low"), ("AIV210", "low")])


def test_a_valid_signature_without_a_readable_manifest_is_not_unpinned(
    model: Path, check: Check, sigstore: LocalSigstore
) -> None:
    content = statement({"a": "00" * 32})
    content["predicate"]["serialization"]["method"] = "trees"
    write_bundle(sign_keyless(json.dumps(content).encode(), sigstore, IDENTITY), model / "model.sig")
    assert summary(check()) == ("keyless", "unchecked", [("AIV209", "low"), ("AIV210", "low")])
    assert summary(check(STRANGER)) == ("keyless", "failed", [("AIV204", "critical"), ("AIV210", "critical")])
    assert summary(check(trusted_root=None)) == ("keyless", "failed", [("AIV203", "critical"), ("AIV210", "low")])


@pytest.mark.parametrize("content", [b"", b"not json", b"{}", b"\x80\x04.", b"MEUCIQDbase64signature=="])
def test_a_signature_of_the_artifact_that_cannot_be_read_is_critical(model: Path, check: Check, content: bytes) -> None:
    (model / "model.sig").write_bytes(content)
    for done in (check(), check(SIGNER), check(required=True)):
        assert summary(done) == ("none", "failed", [("AIV203", "critical")])
        assert done.findings[0].file == "model.sig"


def test_a_signature_of_the_artifact_over_the_budget_is_critical(model: Path, check: Check) -> None:
    with (model / "model.sig").open("wb") as stream:
        stream.truncate(MAX_BUNDLE_BYTES + 1)
    files = [ArtifactFile(path="model.sig", size=1, sha256="0" * 64, format="x", file_class=FileClass.INERT)]
    assert summary(check(files=files)) == ("none", "failed", [("AIV203", "critical")])


@pytest.mark.parametrize("content", [b"", b"not json", b"{}"])
def test_a_named_bundle_that_cannot_be_read_is_an_error(
    model: Path, tmp_path: Path, check: Check, content: bytes
) -> None:
    (tmp_path / "named.sig").write_bytes(content)
    with pytest.raises(SignatureError, match=r"named\.sig"):
        check(bundles=[tmp_path / "named.sig"])


@pytest.mark.parametrize("name", ["nowhere.sig", "model", "nul\0.sig"])
def test_a_named_bundle_that_is_no_file_is_an_error(model: Path, tmp_path: Path, check: Check, name: str) -> None:
    with pytest.raises(SignatureError, match="cannot be read"):
        check(bundles=[tmp_path / name])


def test_a_named_bundle_outside_of_the_artifact_is_used_instead_of_its_own(
    key_model: Path, tmp_path: Path, check: Check, key_signer: KeySigner
) -> None:
    outside = tmp_path / "acme.sig"
    (key_model / "model.sig").rename(outside)
    (key_model / "model.sig").write_bytes(b"broken")
    done = check(key_signer, bundles=[outside])
    assert summary(done) == ("key", "verified", [("AIV207", "low")])
    assert done.findings[0].file == "model.sig"


def test_a_named_bundle_inside_of_the_artifact_is_not_compared_with_itself(
    key_model: Path, tmp_path: Path, check: Check, key_signer: KeySigner
) -> None:
    (key_model / "sub" / "acme.sig").write_bytes((key_model / "model.sig").read_bytes())
    (key_model / "model.sig").unlink()
    link = tmp_path / "link"
    link.symlink_to(key_model)
    for path in (key_model / "sub/acme.sig", key_model / "sub/../sub/acme.sig", link / "sub/acme.sig"):
        assert summary(check(key_signer, bundles=[path])) == ("key", "verified", [])


def test_only_a_signature_at_the_top_is_found(key_model: Path, check: Check) -> None:
    (key_model / "model.sig").rename(key_model / "sub" / "model.sig")
    assert summary(check()) == ("none", "absent", [("AIV201", "info")])


def test_the_signature_beside_a_single_file_is_found(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey, key_signer: KeySigner
) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    for name in (".", "weights.bin"):
        listed = {name: artifact_files(folder)[0].sha256}
        write_bundle(sign_with_key(json.dumps(statement(listed)).encode(), key), folder / "weights.bin.sig")
        done = authenticate(files=artifact_files(folder), root=folder, signers=[key_signer])
        assert summary(done) == ("key", "verified", [])
        assert result_of(done).covers == ("weights.bin",)


def test_a_signature_that_changes_after_its_digest_was_taken_is_noticed(
    key_model: Path, check: Check, key_signer: KeySigner
) -> None:
    files = artifact_files(key_model)
    with (key_model / "model.sig").open("a") as stream:
        stream.write(" ")
    assert summary(check(key_signer, files=files)) == ("key", "verified", [("AIV103", "critical")])


def test_a_signature_that_vanished_is_an_error(key_model: Path, check: Check) -> None:
    files = artifact_files(key_model)
    (key_model / "model.sig").unlink()
    with pytest.raises(SignatureError, match=r"model\.sig"):
        check(files=files)


def test_a_key_that_is_none_is_an_error_even_where_nothing_is_signed(model: Path, check: Check) -> None:
    with pytest.raises(SignatureError, match=r"broken\.pub"):
        check(KeySigner(b"no key", "broken.pub"))


def test_a_trusted_root_that_is_not_there_is_an_error_even_where_nothing_is_signed(model: Path, check: Check) -> None:
    with pytest.raises(SignatureError, match="nowhere"):
        check(trusted_root=model / "nowhere")


def test_a_trusted_root_that_is_none_is_an_error(keyless_model: Path, check: Check) -> None:
    with pytest.raises(SignatureError, match=r"config\.json"):
        check(trusted_root=keyless_model / "config.json")


@pytest.mark.parametrize(("identity", "issuer"), [("", ISSUER), (IDENTITY, ""), ("", ""), (" ", ISSUER)])
def test_an_identity_without_an_issuer_is_no_signer(identity: str, issuer: str) -> None:
    with pytest.raises(UsageError, match="identity and an issuer"):
        KeylessSigner(identity, issuer)


def test_one_call_does_not_change_the_next(
    keyless_model: Path, check: Check, sigstore: LocalSigstore, tmp_path: Path
) -> None:
    ignoring = statement({"a": "00" * 32}, ignore=["evil.py"])
    first = write_bundle(sign_keyless(json.dumps(ignoring).encode(), sigstore, IDENTITY), tmp_path / "first.sig")
    (keyless_model / "evil.py").write_bytes(b"")
    before = check(SIGNER)
    check(SIGNER, bundles=[first])
    assert check(SIGNER) == before
    assert summary(before) == ("keyless", "verified", [("AIV207", "high")])


def test_nothing_slow_is_imported_before_a_signature_needs_it(model: Path) -> None:
    program = """
import sys
from pathlib import Path
from aiverify.signatures.stage import authenticate
authenticate(files=[], root=Path(sys.argv[1]))
print([name for name in ("sigstore", "pydantic", "cryptography") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_bundle_is_not_taken_for_another_kind(keyless_model: Path, check: Check, key_signer: KeySigner) -> None:
    honest = json.loads((keyless_model / "model.sig").read_text())
    both = copy.deepcopy(honest)
    both["verificationMaterial"]["publicKey"] = {"hint": "x"}
    write_bundle(both, keyless_model / "model.sig")
    assert summary(check(SIGNER, key_signer)) == ("none", "failed", [("AIV203", "critical")])
