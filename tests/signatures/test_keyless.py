from __future__ import annotations

import base64
import copy
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from local_sigstore import FULCIO_ISSUER_V2, ISSUER, LocalSigstore
from rfc3161_client import decode_timestamp_response
from signed_models import sign_keyless, sign_with_key, statement

from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.interface import InvalidSignatureError, SignatureError
from aiverify.signatures.keyless import identity_of, verify
from aiverify.signatures.trust import Instance, Trust
from aiverify.signers import KeylessIdentity, KeylessSigner

IDENTITY = "https://github.com/acme/models/.github/workflows/release.yml@refs/tags/v1"
SIGNER = KeylessSigner(IDENTITY, ISSUER)
WHO = KeylessIdentity(IDENTITY, ISSUER)
PAYLOAD = json.dumps(statement({"a.bin": "00" * 32})).encode()
OTHER = json.dumps(statement({"a.bin": "11" * 32})).encode()

INSTANCES = pytest.mark.parametrize(
    ("rekor", "timestamps"), [(1, False), (1, True), (2, True)], ids=["v1", "v1+tsa", "v2+tsa"]
)


@dataclass(frozen=True)
class KeylessCheck:
    signer: KeylessIdentity
    expected: bool


def check(bundle: dict[str, Any], trusted_root: Path | None, *expected: KeylessSigner) -> KeylessCheck:
    trust = Trust(trusted_root or Instance.PRODUCTION)
    identity = verify(parse_bundle(json.dumps(bundle).encode()), trust)
    return KeylessCheck(identity, any(signer.is_met_by(identity) for signer in expected))


@pytest.fixture(scope="module")
def honest(sigstore: LocalSigstore) -> dict[str, Any]:
    return sign_keyless(PAYLOAD, sigstore, IDENTITY)


@INSTANCES
def test_what_sigstore_signs_verifies(
    sigstore: LocalSigstore, trusted_root: Path, rekor: int, timestamps: bool
) -> None:
    bundle = sign_keyless(PAYLOAD, sigstore, IDENTITY, rekor=rekor, timestamps=timestamps)
    assert check(bundle, trusted_root, SIGNER) == KeylessCheck(WHO, expected=True)


@INSTANCES
def test_a_payload_that_was_exchanged_is_refused(
    sigstore: LocalSigstore, trusted_root: Path, rekor: int, timestamps: bool
) -> None:
    bundle = sign_keyless(PAYLOAD, sigstore, IDENTITY, rekor=rekor, timestamps=timestamps)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(OTHER).decode()
    with pytest.raises(InvalidSignatureError):
        check(bundle, trusted_root)


@pytest.mark.parametrize("identity", ["dev@example.test", IDENTITY])
def test_the_signer_is_told_when_nobody_is_expected(sigstore: LocalSigstore, trusted_root: Path, identity: str) -> None:
    bundle = sign_keyless(PAYLOAD, sigstore, identity)
    assert check(bundle, trusted_root) == KeylessCheck(KeylessIdentity(identity, ISSUER), expected=False)


@pytest.mark.parametrize(
    "other",
    [
        KeylessSigner(IDENTITY, "https://issuer.evil.test"),
        KeylessSigner(IDENTITY, ISSUER + "/"),
        KeylessSigner("https://github.com/acme/models/*", ISSUER),
        KeylessSigner(IDENTITY[:-1], ISSUER),
        KeylessSigner(IDENTITY.upper(), ISSUER),
        KeylessSigner(ISSUER, IDENTITY),
    ],
)
def test_identity_and_issuer_are_compared_exactly(
    honest: dict[str, Any], trusted_root: Path, other: KeylessSigner
) -> None:
    assert check(honest, trusted_root, other) == KeylessCheck(WHO, expected=False)
    assert check(honest, trusted_root, other, SIGNER).expected


def test_an_identity_of_one_expected_signer_and_the_issuer_of_another_do_not_add_up(
    honest: dict[str, Any], trusted_root: Path
) -> None:
    mixed = [KeylessSigner(IDENTITY, "https://a.test"), KeylessSigner("dev@example.test", ISSUER)]
    assert not check(honest, trusted_root, *mixed).expected


def certified(*names: x509.GeneralName) -> x509.Certificate:
    """A certificate for these names, by the usual issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(minutes=10))
    issuer = x509.UnrecognizedExtension(FULCIO_ISSUER_V2, core.UTF8String(ISSUER).dump())
    alternatives = x509.SubjectAlternativeName(names)
    return builder.add_extension(alternatives, critical=True).add_extension(issuer, critical=False).sign(key, SHA256())


def user_name(text: str, kind: str = "1.3.6.1.4.1.57264.1.7") -> x509.OtherName:
    return x509.OtherName(x509.ObjectIdentifier(kind), core.UTF8String(text).dump())


def test_a_user_is_known_by_the_name_that_fulcio_writes() -> None:
    assert identity_of(certified(user_name("dev!acme.test"))) == KeylessIdentity("dev!acme.test", ISSUER)


@pytest.mark.parametrize(
    "names",
    [
        [user_name("dev!acme.test", "1.3.6.1.4.1.311.20.2.3")],
        [user_name("dev!acme.test"), x509.RFC822Name("dev@acme.test")],
        [user_name("dev!acme.test"), user_name("root!acme.test")],
        [x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), core.Integer(7).dump())],
        [x509.DNSName("acme.test")],
    ],
)
def test_a_certificate_that_names_nobody_or_several_is_refused(names: list[x509.GeneralName]) -> None:
    with pytest.raises(InvalidSignatureError):
        identity_of(certified(*names))


@pytest.mark.parametrize("keyid", [{}, {"keyid": ""}, {"keyid": None}])
def test_the_key_id_does_not_matter(honest: dict[str, Any], trusted_root: Path, keyid: dict[str, object]) -> None:
    bundle = copy.deepcopy(honest)
    bundle["dsseEnvelope"]["signatures"] = [{"sig": bundle["dsseEnvelope"]["signatures"][0]["sig"], **keyid}]
    assert check(bundle, trusted_root, SIGNER).expected


def test_a_bundle_in_the_older_form_with_a_chain_verifies(honest: dict[str, Any], trusted_root: Path) -> None:
    bundle = copy.deepcopy(honest)
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    leaf = bundle["verificationMaterial"].pop("certificate")
    bundle["verificationMaterial"]["x509CertificateChain"] = {"certificates": [leaf]}
    assert check(bundle, trusted_root, SIGNER).expected


@pytest.mark.parametrize("delay", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_certificate_that_was_not_valid_when_the_log_saw_it_is_refused(tmp_path: Path, delay: timedelta) -> None:
    with LocalSigstore(log_delay=delay) as late:
        bundle = sign_keyless(PAYLOAD, late, IDENTITY, timestamps=False)
    root = tmp_path / "root.json"
    root.write_text(json.dumps(late.trusted_root()))
    with pytest.raises(InvalidSignatureError):
        check(bundle, root, SIGNER)


def test_another_sigstore_instance_is_not_trusted(honest: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    with LocalSigstore() as other:
        root.write_text(json.dumps(other.trusted_root()))
    with pytest.raises(InvalidSignatureError):
        check(honest, root, SIGNER)


def test_the_public_instance_does_not_vouch_for_a_local_signature(honest: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignatureError):
        check(honest, None, SIGNER)


@pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_a_trusted_root_with_a_part_missing_is_an_error(
    honest: dict[str, Any], sigstore: LocalSigstore, tmp_path: Path, part: str
) -> None:
    path = tmp_path / "root.json"
    path.write_text(json.dumps({**sigstore.trusted_root(), part: []}))
    with pytest.raises(SignatureError, match="trusted root") as refusal:
        check(honest, path, SIGNER)
    assert not isinstance(refusal.value, InvalidSignatureError)


@pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"])
def test_every_part_of_the_trusted_root_is_checked_against(
    honest: dict[str, Any], sigstore: LocalSigstore, tmp_path: Path, part: str
) -> None:
    path = tmp_path / "root.json"
    with LocalSigstore() as other:
        path.write_text(json.dumps({**sigstore.trusted_root(), part: other.trusted_root()[part]}))
    if part == "timestampAuthorities":
        # The log's own time stands in for a timestamp that nobody trusted has made.
        assert check(honest, path, SIGNER).expected
    else:
        with pytest.raises(InvalidSignatureError):
            check(honest, path, SIGNER)


def out_of_use(root: dict[str, Any], part: str, spelling: str, **period: str) -> dict[str, Any]:
    """The root with another period for the services of a part."""
    changed = copy.deepcopy(root)
    for service in changed[part]:
        place = service.get("publicKey", service)
        del place["validFor"]
        place[spelling] = {"start": "2020-01-01T00:00:00Z", **period}
    return changed


@INSTANCES
@pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
@pytest.mark.parametrize("spelling", ["validFor", "valid_for"])
def test_what_the_root_has_taken_out_of_use_vouches_for_nothing_afterwards(
    sigstore: LocalSigstore, tmp_path: Path, part: str, spelling: str, rekor: int, timestamps: bool
) -> None:
    bundle = sign_keyless(PAYLOAD, sigstore, IDENTITY, rekor=rekor, timestamps=timestamps)
    path = tmp_path / "root.json"
    path.write_text(json.dumps(out_of_use(sigstore.trusted_root(), part, spelling, end="2025-01-01T00:00:00Z")))
    with pytest.raises(InvalidSignatureError, match="not in use"):
        check(bundle, path, SIGNER)
    path.write_text(json.dumps(out_of_use(sigstore.trusted_root(), part, spelling, end="2999-01-01T00:00:00Z")))
    assert check(bundle, path, SIGNER).expected


@pytest.mark.parametrize("part", ["tlogs", "certificateAuthorities", "timestampAuthorities"])
@pytest.mark.parametrize(
    ("bound", "after", "verifies"), [("end", 0, True), ("end", -1, False), ("start", 0, True), ("start", 1, False)]
)
def test_both_ends_belong_to_a_period(
    sigstore: LocalSigstore, tmp_path: Path, part: str, bound: str, after: int, verifies: bool
) -> None:
    bundle = sign_keyless(PAYLOAD, sigstore, IDENTITY, rekor=2)
    (stamp,) = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    time = decode_timestamp_response(base64.b64decode(stamp["signedTimestamp"])).tst_info.gen_time
    path = tmp_path / "root.json"
    period = {bound: (time + timedelta(microseconds=after)).isoformat()}
    path.write_text(json.dumps(out_of_use(sigstore.trusted_root(), part, "validFor", **period)))
    if verifies:
        assert check(bundle, path, SIGNER).expected
    else:
        with pytest.raises(InvalidSignatureError):
            check(bundle, path, SIGNER)


@pytest.mark.parametrize("content", ["", "{}", "[]", "\x00", '{"mediaType": "x"}', "{" * 100])
def test_a_file_that_is_no_trusted_root_is_an_error(honest: dict[str, Any], tmp_path: Path, content: str) -> None:
    path = tmp_path / "root.json"
    path.write_text(content)
    with pytest.raises(SignatureError, match=r"root\.json") as refusal:
        check(honest, path, SIGNER)
    assert not isinstance(refusal.value, InvalidSignatureError)


def test_a_trusted_root_that_is_not_there_is_an_error(honest: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="nowhere"):
        check(honest, tmp_path / "nowhere", SIGNER)


def test_an_envelope_under_a_second_spelling_of_its_name_is_not_verified_instead(
    honest: dict[str, Any], trusted_root: Path
) -> None:
    forged = sign_with_key(OTHER, ec.generate_private_key(ec.SECP256R1()))["dsseEnvelope"]
    for bundle in (
        {**honest, "dsseEnvelope": forged, "dsse_envelope": honest["dsseEnvelope"]},
        {"dsse_envelope": honest["dsseEnvelope"], **honest, "dsseEnvelope": forged},
    ):
        with pytest.raises(InvalidSignatureError):
            check(bundle, trusted_root, SIGNER)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("integratedTime", str(2**63)),
        ("integratedTime", "-1"),
        ("logIndex", str(2**64)),
        ("canonicalizedBody", ""),
        ("canonicalizedBody", base64.b64encode(b"[" * 5000).decode()),
        ("inclusionProof", None),
        ("inclusionPromise", None),
        ("kindVersion", {"kind": "intoto", "version": "0.0.2"}),
        ("kindVersion", {}),
        ("logId", {"keyId": ""}),
    ],
)
def test_a_hostile_log_entry_is_refused(sigstore: LocalSigstore, trusted_root: Path, field: str, value: object) -> None:
    bundle = sign_keyless(PAYLOAD, sigstore, IDENTITY, timestamps=False)
    bundle["verificationMaterial"]["tlogEntries"][0][field] = value
    with pytest.raises(InvalidSignatureError):
        check(bundle, trusted_root, SIGNER)


@pytest.mark.parametrize("entries", [[], "twice", None])
def test_there_must_be_exactly_one_log_entry(honest: dict[str, Any], trusted_root: Path, entries: object) -> None:
    bundle = copy.deepcopy(honest)
    material = bundle["verificationMaterial"]
    material["tlogEntries"] = material["tlogEntries"] * 2 if entries == "twice" else entries
    with pytest.raises(InvalidSignatureError):
        check(bundle, trusted_root, SIGNER)


def test_the_log_entry_of_another_signature_is_refused(sigstore: LocalSigstore, trusted_root: Path) -> None:
    bundle, other = (sign_keyless(payload, sigstore, IDENTITY) for payload in (PAYLOAD, OTHER))
    bundle["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    with pytest.raises(InvalidSignatureError):
        check(bundle, trusted_root, SIGNER)


def test_the_certificate_of_another_signature_is_refused(sigstore: LocalSigstore, trusted_root: Path) -> None:
    bundle, other = (sign_keyless(PAYLOAD, sigstore, name) for name in ("mallory@example.test", IDENTITY))
    bundle["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]
    with pytest.raises(InvalidSignatureError):
        check(bundle, trusted_root, SIGNER)


def test_one_verification_leaves_nothing_behind_for_the_next(
    honest: dict[str, Any], trusted_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sigstore")
    assert check(honest, trusted_root, SIGNER).expected
    assert not check(honest, trusted_root).expected
    with pytest.raises(InvalidSignatureError):
        check(honest, None, SIGNER)
    assert caplog.records == []
    assert logging.getLogger("sigstore").level == logging.INFO
