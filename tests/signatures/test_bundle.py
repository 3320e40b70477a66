from __future__ import annotations

import base64
import copy
import json
import tracemalloc
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_models import sign_with_key

from aiverify.signatures.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_CERTIFICATES,
    MAX_TIMESTAMPS,
    Bundle,
    BundleKind,
    parse_bundle,
)
from aiverify.signatures.interface import MalformedError

HONEST = sign_with_key(b"payload", ec.generate_private_key(ec.SECP256R1()))


def parse(content: object) -> Bundle:
    return parse_bundle(json.dumps(content).encode())


def changed(**changes: object) -> dict[str, Any]:
    """The honest bundle with parts of its envelope replaced; ``...`` removes one."""
    content = copy.deepcopy(HONEST)
    envelope = {**content["dsseEnvelope"], **changes}
    content["dsseEnvelope"] = {key: value for key, value in envelope.items() if value is not ...}
    return content


def with_material(**material: object) -> dict[str, Any]:
    return {**HONEST, "verificationMaterial": material}


def test_an_honest_bundle_is_read() -> None:
    bundle = parse(HONEST)
    assert (bundle.kind, bundle.envelope.payload) == (BundleKind.KEY, b"payload")
    assert bundle.hint == HONEST["verificationMaterial"]["publicKey"]["hint"]


def test_the_signed_bytes_are_the_pre_authentication_encoding() -> None:
    assert parse(HONEST).envelope.pae() == b"DSSEv1 28 application/vnd.in-toto+json 7 payload"


@pytest.mark.parametrize("signature", [{}, {"keyid": ""}, {"keyid": None}, {"keyid": "anything"}])
def test_the_key_id_of_an_envelope_is_not_looked_at(signature: dict[str, object]) -> None:
    parse(changed(signatures=[{"sig": "AAAA", **signature}]))


@pytest.mark.parametrize(
    ("material", "kind"),
    [
        ({"certificate": {"rawBytes": ""}}, BundleKind.KEYLESS),
        ({"publicKey": {"rawBytes": ""}, "certificate": None}, BundleKind.KEY),
        ({"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}}, BundleKind.CERTIFICATE),
        (
            {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}, "tlogEntries": [{}]},
            BundleKind.CERTIFICATE,
        ),
    ],
)
def test_the_kind_is_told_by_the_material(material: dict[str, object], kind: BundleKind) -> None:
    assert parse(with_material(**material)).kind is kind


@pytest.mark.parametrize(("entries", "kind"), [([{}], BundleKind.KEYLESS), ([], BundleKind.CERTIFICATE)])
def test_in_the_older_form_a_chain_is_keyless_if_a_log_saw_it(entries: list[object], kind: BundleKind) -> None:
    bundle = with_material(x509CertificateChain={"certificates": [{"rawBytes": "AAAA"}]}, tlogEntries=entries)
    assert parse({**bundle, "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2"}).kind is kind


CHAIN = {"certificates": [{"rawBytes": "AAAA"}]}
STAMPS = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}] * (MAX_TIMESTAMPS + 1)}


@pytest.mark.parametrize(
    "content",
    [
        {**HONEST, "mediaType": "application/json"},
        {**HONEST, "mediaType": None},
        {key: value for key, value in HONEST.items() if key != "mediaType"},
        {key: value for key, value in HONEST.items() if key != "dsseEnvelope"},
        {key: value for key, value in HONEST.items() if key != "verificationMaterial"},
        {**HONEST, "dsseEnvelope": []},
        with_material(),
        with_material(publicKey="hint"),
        with_material(publicKey={"hint": 1}),
        with_material(publicKey={}, certificate={}),
        with_material(certificate={}, x509CertificateChain={}),
        with_material(x509CertificateChain={}),
        with_material(x509CertificateChain={"certificates": []}),
        with_material(x509CertificateChain={"certificates": ["AAAA"]}),
        with_material(x509CertificateChain={"certificates": [{}]}),
        with_material(x509CertificateChain={"certificates": [{"rawBytes": ""}]}),
        with_material(x509CertificateChain={"certificates": [{"rawBytes": "AAAA"}] * (MAX_CERTIFICATES + 1)}),
        with_material(x509CertificateChain=CHAIN, timestampVerificationData=[]),
        with_material(x509CertificateChain=CHAIN, timestampVerificationData={"rfc3161Timestamps": {}}),
        with_material(x509CertificateChain=CHAIN, timestampVerificationData={"rfc3161Timestamps": [{}]}),
        with_material(x509CertificateChain=CHAIN, timestampVerificationData=STAMPS),
        changed(payload=...),
        changed(payload=""),
        changed(payload="?"),
        changed(payload="AAA"),
        changed(payload="AAAA\n"),
        changed(payload="\u00e9"),
        changed(payloadType=...),
        changed(payloadType="text/plain"),
        changed(signatures=...),
        changed(signatures=[]),
        changed(signatures=["AAAA"]),
        changed(signatures=[{}]),
        changed(signatures=[{"sig": ""}]),
        changed(signatures=[{"sig": "AAAA"}, {"sig": "AAAA"}]),
    ],
)
def test_a_bundle_with_a_wrong_or_missing_part_is_refused(content: object) -> None:
    with pytest.raises(MalformedError):
        parse(content)


@pytest.mark.parametrize("raw", [b"", b" \n", b"{}", b"[]", b"\x80\x04.", b"-----BEGIN", b'{"a":1,"a":1}', b"\xff"])
def test_files_that_are_no_bundle_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_bundle(raw)


def test_a_key_that_is_given_twice_deep_inside_is_refused() -> None:
    raw = json.dumps(HONEST).replace('"payload":', f'"payload": "{base64.b64encode(b"other").decode()}", "payload":')
    with pytest.raises(MalformedError, match="twice"):
        parse_bundle(raw.encode())


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.dev.sigstore.bundle",
        "application/vnd.dev.sigstore.bundle.v9+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.9",
        "application/vnd.dev.sigstore.bundle.v0.3+json; charset=utf-8",
        "application/vnd.dev.sigstore.bundles.v0.3+json",
    ],
)
def test_a_bundle_of_a_version_that_is_not_known_is_refused(media_type: str) -> None:
    with pytest.raises(MalformedError, match="known version"):
        parse({**HONEST, "mediaType": media_type})


def test_a_bundle_with_a_second_signature_over_something_else_is_refused() -> None:
    with pytest.raises(MalformedError, match="over a message"):
        parse({**HONEST, "messageSignature": {"signature": "AAAA"}})
    assert parse({**HONEST, "messageSignature": None})


@pytest.mark.parametrize("value", [b"[]", b"{}", b'{"a":1}', b"[[[[[]]]]]", b'""'])
def test_a_bundle_of_countless_values_is_refused_before_they_are_in_memory(value: bytes) -> None:
    raw = json.dumps(HONEST).encode()[:-1] + b', "x": [' + b",".join([value] * 400_000) + b"]}"
    assert len(raw) < MAX_BUNDLE_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="more than 10000 values"):
            parse_bundle(raw)
        assert tracemalloc.get_traced_memory()[1] < len(raw)
    finally:
        tracemalloc.stop()


def test_a_bundle_over_the_budget_is_refused_unread() -> None:
    with pytest.raises(MalformedError, match="larger"):
        parse_bundle(b" " * (MAX_BUNDLE_BYTES + 1))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_bundle_is_refused_or_well_formed(data: st.DataObject) -> None:
    raw = bytearray(json.dumps(HONEST).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        bundle = parse_bundle(bytes(raw))
    except MalformedError:
        return
    assert bundle.envelope.payload
    assert bundle.envelope.signature
