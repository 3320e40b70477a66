"""Several signatures of one artifact: k of n, path by path, and what strangers can and cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from local_authority import Holder, Traits, authority, sign_with_certificate
from local_sigstore import ISSUER, LocalSigstore
from signed_models import (
    artifact_files,
    digests,
    payload_of,
    pem,
    sharded,
    sign_keyless,
    sign_with_key,
    statement,
    write_bundle,
)

from aiverify.report import FileState
from aiverify.signatures.comparison import Measured
from aiverify.signatures.contents import measure
from aiverify.signatures.interface import Authentication
from aiverify.signatures.resources import Resource
from aiverify.signatures.stage import authenticate
from aiverify.signers import AllOf, AnyOf, CertificateSigner, Expectation, KeylessSigner, KeySigner, Threshold

KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("alice", "bob", "carol", "mallory")}
ALICE, BOB, CAROL, MALLORY = (KeySigner(pem(key), name) for name, key in KEYS.items())
TWO_OF_THREE = Threshold(2, (ALICE, BOB, CAROL))

Check = Callable[..., Authentication]


@pytest.fixture
def check(model: Path) -> Check:
    def run(*signers: Expectation, bundles: Sequence[Path] = (), **options: object) -> Authentication:
        return authenticate(files=artifact_files(model), root=model, signers=signers, bundles=bundles, **options)

    return run


def sign(model: Path, *names: str, listed: dict[str, str] | None = None) -> None:
    """The first signature is ``model.sig``, the others have the name of their signer as label."""
    payload = json.dumps(statement(listed if listed is not None else honest(model))).encode()
    for name in names:
        path = model / ("model.sig" if not (model / "model.sig").exists() else f"model.{name}.sig")
        write_bundle(sign_with_key(payload, KEYS[name]), path)


def honest(model: Path) -> dict[str, str]:
    return {path: digest for path, digest in digests(model).items() if not path.endswith(".sig")}


def said(done: Authentication) -> list[tuple[str, str | None, str]]:
    return [(one.rule, one.file, one.severity.value) for one in done.findings]


def outcomes(done: Authentication) -> list[str]:
    return [result.outcome for result in done.results]


@pytest.mark.parametrize("pair", [("alice", "bob"), ("carol", "alice"), ("bob", "carol")])
def test_two_of_three_signers_are_enough(model: Path, check: Check, pair: tuple[str, str]) -> None:
    sign(model, *pair)
    done = check(TWO_OF_THREE, required=True)
    assert (outcomes(done), said(done)) == (["verified", "verified"], [])
    assert all("model.safetensors" in result.covers for result in done.results)


def test_one_of_two_signers_is_not_enough(model: Path, check: Check) -> None:
    sign(model, "alice")
    done = check(TWO_OF_THREE)
    assert said(done) == [("AIV212", None, "critical")]
    assert "key alice" in done.findings[0].message
    assert str(TWO_OF_THREE) in done.findings[0].message


def test_one_signer_who_signs_twice_is_not_enough(model: Path, check: Check) -> None:
    sign(model, "alice", "alice")
    assert [one[0] for one in said(check(TWO_OF_THREE))] == ["AIV212"]


def test_a_stranger_does_not_make_up_the_number(model: Path, check: Check) -> None:
    sign(model, "alice", "mallory")
    assert [one[0] for one in said(check(TWO_OF_THREE))] == ["AIV203", "AIV212"]


def test_a_stranger_who_signs_as_well_is_only_mentioned(model: Path, check: Check) -> None:
    sign(model, "alice", "bob", "mallory")
    done = check(TWO_OF_THREE)
    assert said(done) == [("AIV210", "model.mallory.sig", "low")]


def test_the_first_signature_may_be_a_strangers(model: Path, check: Check) -> None:
    sign(model, "mallory", "bob", "carol")
    assert said(check(TWO_OF_THREE)) == [("AIV210", "model.sig", "low")]


def test_a_file_needs_as_many_signers_as_the_model(model: Path, check: Check) -> None:
    sign(model, "alice")
    without = {path: digest for path, digest in honest(model).items() if path != "model.safetensors"}
    sign(model, "bob", listed=without)
    done = check(TWO_OF_THREE)
    assert said(done) == [("AIV212", "model.safetensors", "critical")]


def test_a_file_that_one_of_the_signers_has_otherwise_is_changed(model: Path, check: Check) -> None:
    sign(model, "alice")
    sign(model, "bob", listed={**honest(model), "config.json": "00" * 32})
    done = check(TWO_OF_THREE)
    assert said(done) == [("AIV205", "config.json", "critical")]
    assert outcomes(done) == ["verified", "failed"]


def test_a_file_that_nobody_signed_is_said_once(model: Path, check: Check) -> None:
    sign(model, "alice", "bob")
    (model / "evil.py").write_bytes(b"")
    assert said(check(TWO_OF_THREE)) == [("AIV207", "evil.py", "high")]


@pytest.mark.parametrize("order", [("alice", "bob"), ("bob", "alice")])
@pytest.mark.parametrize(
    ("signers", "expected"),
    [
        ([AllOf((ALICE, BOB))], ("AIV207", "high")),
        ([AnyOf((ALICE, BOB))], ("AIV208", "medium")),
        ([BOB], ("AIV207", "high")),
        ([], ("AIV207", "high")),
    ],
    ids=["both", "either", "one", "nobody"],
)
def test_what_one_signer_ignores_is_not_excused_for_another_who_must_have_signed(
    model: Path, check: Check, order: tuple[str, str], signers: list[Expectation], expected: tuple[str, str]
) -> None:
    listed = honest(model)
    payloads = {"alice": statement(listed, ignore=["evil.py"]), "bob": statement(listed)}
    for number, name in enumerate(order):
        bundle = sign_with_key(json.dumps(payloads[name]).encode(), KEYS[name])
        write_bundle(bundle, model / ("model.sig" if number == 0 else f"model.{name}.sig"))
    (model / "evil.py").write_bytes(b"import os")
    assert [(one[0], one[2]) for one in said(check(*signers)) if one[1] == "evil.py"] == [expected]


def test_what_a_stranger_has_against_a_file_does_not_count_beside_enough_signers(model: Path, check: Check) -> None:
    sign(model, "alice", "bob")
    sign(model, "mallory", listed={**honest(model), "config.json": "00" * 32})
    assert [one[0] for one in said(check(TWO_OF_THREE))] == ["AIV210"]


def test_what_two_signatures_need_alike_is_hashed_once(model: Path, check: Check) -> None:
    shards = json.dumps(statement(sharded(model, 7), shard_size=7)).encode()
    others = json.dumps(statement(sharded(model, 9), shard_size=9)).encode()
    hashed: list[int] = []

    def counted(root: Path, resources: Mapping[str, Resource]) -> Measured:
        hashed.append(len(resources))
        return measure(root, resources)

    for name, payload in (("alice", shards), ("bob", shards), ("carol", others)):
        path = model / ("model.sig" if name == "alice" else f"model.{name}.sig")
        write_bundle(sign_with_key(payload, KEYS[name]), path)
    done = check(Threshold(3, (ALICE, BOB, CAROL)), measured_by=counted)
    assert (outcomes(done), said(done)) == (["verified"] * 3, [])
    first, again, other = hashed
    assert (again, first > 0, other > 0) == (0, True, True)


def test_where_any_signer_is_enough_each_may_sign_a_part(model: Path, check: Check) -> None:
    listed = honest(model)
    sign(model, "alice", listed={"model.safetensors": listed.pop("model.safetensors")})
    sign(model, "bob", listed=listed)
    assert said(check(AnyOf((ALICE, BOB)))) == []
    assert [one[0] for one in said(check(AllOf((ALICE, BOB))))] == ["AIV212"] * 4


def test_a_key_and_a_certificate_and_an_identity_can_be_asked_for_together(
    model: Path, check: Check, sigstore: LocalSigstore, trusted_root: Path
) -> None:
    root = authority()
    payload = payload_of(model)
    write_bundle(sign_with_key(payload, KEYS["alice"]), model / "model.sig")
    write_bundle(sign_with_certificate(payload, Holder(Traits(), root)), model / "model.acme.sig")
    write_bundle(sign_keyless(payload, sigstore, "ci@example.test"), model / "model.ci.sig")
    everybody = (ALICE, CertificateSigner(root.pem), KeylessSigner("ci@example.test", ISSUER))
    done = check(Threshold(3, everybody), trusted_root=trusted_root)
    assert (outcomes(done), said(done)) == (["verified"] * 3, [])


def test_a_certificate_for_a_key_does_not_make_two_signers_of_one(model: Path, check: Check) -> None:
    root = authority()
    holder = Holder(Traits(), root)
    write_bundle(sign_with_key(payload_of(model), holder.key), model / "model.sig")
    write_bundle(sign_with_certificate(payload_of(model), holder), model / "model.acme.sig")
    both = (KeySigner(pem(holder.key), "k"), CertificateSigner(root.pem))
    assert [one[0] for one in said(check(Threshold(2, both)))] == ["AIV212"]
    assert said(check(AllOf(both))) == []


def test_a_renewed_certificate_does_not_make_two_signers_of_one(model: Path, check: Check) -> None:
    root = authority()
    alice, renewed, bob = (Holder(Traits(subject=f"CN={name},O=Acme"), root) for name in ("Alice", "Alice", "Bob"))
    members = (CertificateSigner(root.pem, "O=Acme"), CertificateSigner(root.pem, "CN=Alice"))
    payload = payload_of(model)
    write_bundle(sign_with_certificate(payload, alice), model / "model.sig")
    write_bundle(sign_with_certificate(payload, renewed), model / "model.renewed.sig")
    assert [one[0] for one in said(check(Threshold(2, members)))] == ["AIV212"]
    write_bundle(sign_with_certificate(payload, bob), model / "model.renewed.sig")
    assert said(check(Threshold(2, members))) == []


def test_named_bundles_may_lie_anywhere(model: Path, check: Check, tmp_path: Path) -> None:
    paths = [
        write_bundle(sign_with_key(payload_of(model), KEYS[name]), tmp_path / f"{name}.json")
        for name in ("alice", "bob")
    ]
    assert said(check(TWO_OF_THREE, bundles=paths)) == []
    assert [one[0] for one in said(check(TWO_OF_THREE, bundles=paths[:1]))] == ["AIV212"]
    assert [one[0] for one in said(check(TWO_OF_THREE, bundles=paths[:1] * 2))] == ["AIV212"]


def test_without_anybody_named_every_signature_is_unchecked(model: Path, check: Check) -> None:
    sign(model, "alice", "bob")
    done = check()
    assert outcomes(done) == ["unchecked", "unchecked"]
    assert {one[0] for one in said(done)} == {"AIV210"}


@pytest.mark.parametrize("name", ["model.txt.sig", "model.alice.sig", "model..sig", "other.alice.sig"])
def test_a_file_that_is_named_like_a_signature_and_is_none_is_an_extra(model: Path, check: Check, name: str) -> None:
    sign(model, "alice")
    (model / name).write_bytes(b"-----BEGIN PGP SIGNATURE-----")
    assert said(check(ALICE)) == [("AIV207", name, "low")]


def test_the_signature_of_one_file_is_not_one_of_the_model(model: Path, check: Check) -> None:
    sign(model, "alice")
    listed = {".": honest(model)["model.safetensors"]}
    payload = json.dumps(statement(listed)).encode()
    write_bundle(sign_with_key(payload, KEYS["bob"]), model / "model.safetensors.sig")
    assert said(check(ALICE)) == [("AIV207", "model.safetensors.sig", "low")]


def test_every_path_has_a_state_in_every_signature(model: Path, check: Check) -> None:
    listed = {**honest(model), "gone.txt": "00" * 32, "config.json": "00" * 32, "later.bin": "00" * 32}
    sign(model, "alice", listed=listed)
    (model / "evil.py").write_bytes(b"")
    (model / ".gitattributes").write_bytes(b"")
    done = check(ALICE, left_out=["later.bin"])
    assert dict(done.results[0].files) == {
        "README.md": FileState.MATCHING,
        "model.safetensors": FileState.MATCHING,
        "sub/tokenizer.json": FileState.MATCHING,
        "config.json": FileState.MISMATCHING,
        "gone.txt": FileState.MISSING,
        "later.bin": FileState.NOT_COMPARED,
        "evil.py": FileState.UNSIGNED,
        ".gitattributes": FileState.IGNORED,
    }
    assert done.results[0].partial
    assert "partial: 1 of the 6 signed files" in done.results[0].detail
