"""Signatures with a certificate chain: what a private authority may vouch for, and what it may not."""

from __future__ import annotations

import base64
import copy
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_authority import CODE_SIGNING, YEAR, Holder, Traits, authority, sign_with_certificate
from local_sigstore import LocalSigstore, key_usage
from signed_models import artifact_files, digests, legacy_statement, payload_of, statement, write_bundle

from aiverify.signatures.bundle import MAX_CERTIFICATES
from aiverify.signatures.interface import Authentication, SignatureError
from aiverify.signatures.stage import authenticate
from aiverify.signers import CertificateSigner, KeySigner

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def root() -> Holder:
    return authority()


@pytest.fixture(scope="module")
def middle(root: Holder) -> Holder:
    return authority("CN=Middle", root)


def trusted(root: Holder, subject: str | None = None) -> CertificateSigner:
    return CertificateSigner(root.pem, subject, "ca.pem")


def check(
    model: Path,
    holder: Holder,
    *signers: CertificateSigner | KeySigner,
    trusted_root: Path | None = None,
    **how: Any,
) -> Authentication:
    write_bundle(sign_with_certificate(payload_of(model), holder, **how), model / "model.sig")
    return authenticate(files=artifact_files(model), root=model, signers=signers, trusted_root=trusted_root)


def outcome(done: Authentication) -> tuple[str, list[tuple[str, str]]]:
    return done.results[0].outcome, [(one.rule, one.severity.value) for one in done.findings]


VERIFIED: tuple[str, list[tuple[str, str]]] = ("verified", [])
REFUSED = ("failed", [("AIV203", "critical")])


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_chain_that_leads_to_the_authority_verifies(
    model: Path, root: Holder, middle: Holder, curve: ec.EllipticCurve
) -> None:
    done = check(model, Holder(Traits(), middle, curve), trusted(root))
    assert outcome(done) == VERIFIED
    assert done.results[0].kind == "certificate"
    assert str(done.results[0].signer).startswith("CN=Release,O=Acme (certificate SHA-256 ")
    assert done.results[0].covers


def test_the_authority_may_be_the_one_in_the_middle(model: Path, middle: Holder) -> None:
    assert outcome(check(model, Holder(Traits(), middle), trusted(middle))) == VERIFIED


def test_several_authorities_may_lie_in_one_file(model: Path, root: Holder) -> None:
    both = CertificateSigner(authority("CN=Other").pem + root.pem, name="both.pem")
    assert outcome(check(model, Holder(Traits(), root), both)) == VERIFIED


def test_an_authority_that_comes_with_the_bundle_is_not_trusted(model: Path, root: Holder) -> None:
    evil = authority()
    holder = Holder(Traits(), evil)
    done = check(model, holder, trusted(root), chain=[holder.certificate, evil.certificate])
    assert outcome(done) == REFUSED


def test_without_an_authority_nothing_is_trusted(model: Path, root: Holder) -> None:
    done = check(model, Holder(Traits(), root))
    assert outcome(done) == ("unchecked", [("AIV210", "low")])
    assert "CN=Release,O=Acme" in done.findings[0].message


def test_a_certificate_where_a_key_is_expected_is_critical(model: Path, root: Holder, key_pem: bytes) -> None:
    done = check(model, Holder(Traits(), root), KeySigner(key_pem, "k.pub"))
    assert outcome(done) == ("failed", [("AIV210", "critical")])


@pytest.mark.parametrize(
    ("traits", "verifies"),
    [
        (Traits(purposes=None), True),
        (Traits(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (Traits(purposes=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (Traits(purposes=[ExtendedKeyUsageOID.SERVER_AUTH, CODE_SIGNING]), True),
        (Traits(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), True),
        (Traits(usage=None), True),
        (Traits(usage=None, purposes=None), True),
        (Traits(usage=key_usage(signs_certificates=True)), False),
        (Traits(left=-HOUR), False),
        (Traits(age=-HOUR), False),
        (Traits(left=-1000 * timedelta(days=1), age=4 * YEAR), False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else None,
)
def test_a_certificate_signs_only_what_it_is_for_and_while_it_is_valid(
    model: Path, root: Holder, traits: Traits, verifies: bool
) -> None:
    assert outcome(check(model, Holder(traits, root), trusted(root))) == (VERIFIED if verifies else REFUSED)


@pytest.mark.parametrize(
    "between",
    [
        {"is_authority": False},
        {"usage": key_usage(signs_certificates=False)},
        {"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]},
        {"left": -HOUR},
        {"age": -HOUR},
    ],
)
def test_only_a_valid_authority_issues_certificates(model: Path, root: Holder, between: dict[str, Any]) -> None:
    middle = authority("CN=Middle", root, **between)
    assert outcome(check(model, Holder(Traits(), middle), trusted(root))) == REFUSED


def test_an_authority_that_has_expired_vouches_for_nothing(model: Path) -> None:
    old = authority(left=-HOUR)
    assert outcome(check(model, Holder(Traits(), old), trusted(old))) == REFUSED


def test_an_authority_keeps_to_its_path_length(model: Path) -> None:
    short = authority(path_length=0)
    assert outcome(check(model, Holder(Traits(), short), trusted(short))) == VERIFIED
    middle = authority("CN=Middle", short)
    assert outcome(check(model, Holder(Traits(), middle), trusted(short))) == REFUSED


def test_a_chain_with_a_link_missing_is_refused(model: Path, root: Holder, middle: Holder) -> None:
    holder = Holder(Traits(), middle)
    assert outcome(check(model, holder, trusted(root), chain=[holder.certificate])) == REFUSED


def test_the_order_of_the_certificates_above_the_signers_does_not_matter(
    model: Path, root: Holder, middle: Holder
) -> None:
    lower = authority("CN=Lower", middle)
    holder = Holder(Traits(), lower)
    chain = [holder.certificate, middle.certificate, lower.certificate]
    assert outcome(check(model, holder, trusted(root), chain=chain)) == VERIFIED


@pytest.mark.parametrize(
    ("subject", "verifies"),
    [
        ("CN=Release,O=Acme", True),
        ("O=Acme,CN=Release", True),
        ("CN=Release", True),
        ("O=Acme", True),
        ("CN=release", False),
        ("CN=Release,O=Evil", False),
        ("CN=Release,O=Acme,C=DE", False),
        ("OU=Release", False),
    ],
)
def test_every_part_of_a_pinned_subject_must_be_there(model: Path, root: Holder, subject: str, verifies: bool) -> None:
    done = check(model, Holder(Traits(), root), trusted(root, subject))
    assert outcome(done) == (VERIFIED if verifies else ("failed", [("AIV204", "critical")]))
    if not verifies:
        assert done.results[0].covers == ()


@pytest.mark.parametrize("subject", ["", "nobody", "CN=", "CN"])
def test_a_pin_that_is_no_name_is_an_error(model: Path, root: Holder, subject: str) -> None:
    with pytest.raises(SignatureError, match="subject"):
        authenticate(files=artifact_files(model), root=model, signers=[trusted(root, subject)])


@pytest.mark.parametrize(
    "pem", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_an_authority_that_is_none_is_an_error_even_where_nothing_is_signed(model: Path, pem: bytes) -> None:
    with pytest.raises(SignatureError, match=r"ca\.pem"):
        authenticate(files=artifact_files(model), root=model, signers=[CertificateSigner(pem, name="ca.pem")])


def test_a_certificate_that_expired_after_the_proven_time_verifies(
    model: Path, root: Holder, sigstore: LocalSigstore, trusted_root: Path
) -> None:
    holder = Holder(Traits(age=3 * HOUR, left=-HOUR), root)
    when = datetime.now(UTC) - 2 * HOUR
    done = check(model, holder, trusted(root), trusted_root=trusted_root, timestamps=[(sigstore, when)])
    assert outcome(done) == VERIFIED
    assert f"on {when:%Y-%m-%d}, as a timestamp proves" in done.results[0].detail


def test_a_timestamp_outside_the_certificates_validity_is_refused(
    model: Path, root: Holder, sigstore: LocalSigstore, trusted_root: Path
) -> None:
    holder = Holder(Traits(age=HOUR), root)
    early = [(sigstore, datetime.now(UTC) - 2 * HOUR)]
    assert outcome(check(model, holder, trusted(root), trusted_root=trusted_root, timestamps=early)) == REFUSED
    late = Holder(Traits(age=3 * HOUR, left=-HOUR), root)
    done = check(model, late, trusted(root), trusted_root=trusted_root, timestamps=[(sigstore, None)])
    assert outcome(done) == REFUSED
    assert "signed on" in done.findings[0].message


def test_a_timestamp_by_nobody_who_is_trusted_proves_no_time(model: Path, root: Holder, trusted_root: Path) -> None:
    when = datetime.now(UTC) - 2 * HOUR
    with LocalSigstore() as stranger:
        expired = Holder(Traits(age=3 * HOUR, left=-HOUR), root)
        done = check(model, expired, trusted(root), trusted_root=trusted_root, timestamps=[(stranger, when)])
        assert outcome(done) == REFUSED
        assert "no proof of when" in done.findings[0].message
        current = check(
            model, Holder(Traits(), root), trusted(root), trusted_root=trusted_root, timestamps=[(stranger, when)]
        )
        assert outcome(current) == VERIFIED


def test_a_timestamp_over_another_signature_proves_no_time(
    model: Path, root: Holder, sigstore: LocalSigstore, trusted_root: Path
) -> None:
    holder = Holder(Traits(age=3 * HOUR, left=-HOUR), root)
    when = [(sigstore, datetime.now(UTC) - 2 * HOUR)]
    other = sign_with_certificate(b"{}", holder, timestamps=when)
    bundle = sign_with_certificate(payload_of(model), holder)
    stolen = other["verificationMaterial"]["timestampVerificationData"]
    bundle["verificationMaterial"]["timestampVerificationData"] = stolen
    write_bundle(bundle, model / "model.sig")
    done = authenticate(files=artifact_files(model), root=model, signers=[trusted(root)], trusted_root=trusted_root)
    assert outcome(done) == REFUSED


def test_a_signature_by_another_key_than_the_certificates_is_refused(model: Path, root: Holder) -> None:
    honest, other = Holder(Traits(), root), Holder(Traits(), root)
    assert outcome(check(model, other, trusted(root), chain=honest.chain())) == REFUSED
    assert outcome(check(model, other, chain=honest.chain())) == REFUSED


def test_a_flipped_payload_is_refused(model: Path, root: Holder) -> None:
    bundle = sign_with_certificate(payload_of(model), Holder(Traits(), root))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload_of(model) + b" ").decode()
    write_bundle(bundle, model / "model.sig")
    done = authenticate(files=artifact_files(model), root=model, signers=[trusted(root)])
    assert outcome(done) == REFUSED


def test_a_certificate_signature_of_version_0_2_verifies(model: Path, root: Holder) -> None:
    holder = Holder(Traits(), root, ec.SECP384R1())
    payload = json.dumps(legacy_statement(digests(model))).encode()
    write_bundle(sign_with_certificate(payload, holder, legacy=True), model / "model.sig")
    done = authenticate(files=artifact_files(model), root=model, signers=[trusted(root)])
    assert outcome(done) == VERIFIED
    assert "before version 1.0" in done.results[0].detail


def test_the_old_encoding_is_not_accepted_for_a_new_manifest(model: Path, root: Holder) -> None:
    assert outcome(check(model, Holder(Traits(), root), trusted(root), legacy=True)) == REFUSED


def test_the_specifications_vector_verifies_under_its_authority(vectors: Path) -> None:
    path = vectors / "certificate.bundle.json"
    chain = json.loads(path.read_text())["verificationMaterial"]["x509CertificateChain"]["certificates"]
    above = x509.load_der_x509_certificate(base64.b64decode(chain[1]["rawBytes"]))
    from cryptography.hazmat.primitives.serialization import Encoding

    signer = CertificateSigner(above.public_bytes(Encoding.PEM), name="intermediate.pem")
    done = authenticate(files=[], root=vectors / "nowhere", bundles=[path], signers=[signer])
    assert done.results[0].outcome == "verified"


HONEST = authority()
HOLDER = Holder(Traits(), HONEST)
SIGNED = HOLDER.certificate.tbs_certificate_bytes
BUNDLE = sign_with_certificate(json.dumps(statement({"a": "00" * 32})).encode(), HOLDER)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_no_changed_certificate_verifies_or_crashes(tmp_path: Path, place: int, flip: int) -> None:
    bundle = copy.deepcopy(BUNDLE)
    entry = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][0]
    der = bytearray(base64.b64decode(entry["rawBytes"]))
    der[place % len(der)] ^= flip
    entry["rawBytes"] = base64.b64encode(der).decode()
    path = write_bundle(bundle, tmp_path / "model.sig")
    done = authenticate(files=[], root=tmp_path, bundles=[path], signers=[trusted(HONEST)])
    if done.results[0].outcome == "verified":  # what the authority signed is still the same
        assert x509.load_der_x509_certificate(bytes(der)).tbs_certificate_bytes == SIGNED
    else:
        assert done.results[0].outcome == "failed"


@pytest.mark.parametrize("place", [0, 1])
def test_a_certificate_of_no_known_version_is_refused(tmp_path: Path, place: int) -> None:
    bundle = copy.deepcopy(BUNDLE)
    (entry,) = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    der = base64.b64decode(entry["rawBytes"])
    version = bytes.fromhex("a003020102")
    assert der.count(version) == 1
    unknown = base64.b64encode(der.replace(version, bytes.fromhex("a003020107"))).decode()
    chain = bundle["verificationMaterial"]["x509CertificateChain"]
    chain["certificates"] = [*[entry][:place], {"rawBytes": unknown}]
    path = write_bundle(bundle, tmp_path / "model.sig")
    done = authenticate(files=[], root=tmp_path, bundles=[path], signers=[trusted(HONEST)])
    assert done.results[0].outcome == "failed"
    assert "cannot be read" in done.results[0].detail


def test_an_authority_of_no_known_version_is_an_error(tmp_path: Path) -> None:
    der = base64.b64decode(b"".join(HONEST.pem.splitlines()[1:-1])).replace(
        bytes.fromhex("a003020102"), bytes.fromhex("a003020107")
    )
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(SignatureError, match="not a certificate"):
        authenticate(files=[], root=tmp_path, signers=[CertificateSigner(pem, None, "ca.pem")])


def test_certificates_that_all_could_issue_each_other_do_not_keep_anybody_busy(model: Path, root: Holder) -> None:
    evil = authority("CN=Maze")
    name, start = evil.certificate.subject, evil.certificate.not_valid_before_utc
    maze = [
        x509.CertificateBuilder(name, name, evil.key.public_key(), number, start, start + 4 * YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(evil.key, SHA256())
        for number in range(1, MAX_CERTIFICATES)
    ]
    holder = Holder(Traits(), evil)
    begin = time.process_time()
    assert outcome(check(model, holder, trusted(root), chain=[holder.certificate, *maze])) == REFUSED
    assert time.process_time() - begin < 20
