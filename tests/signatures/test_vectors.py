"""The specification's own vectors, one of them a real keyless signature of the public Sigstore instance."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.manifest import parse_manifest
from aiverify.signatures.stage import authenticate
from aiverify.signers import KeylessSigner, KeySigner

VECTORS = Path(__file__).parent / "vectors"
REAL = VECTORS / "sigstore.bundle.json"
SIGNER = KeylessSigner("stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2")

OFFLINE_AND_READING = """
import sys
from pathlib import Path

def forbid(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.sendto")):
        raise SystemExit(f"network: {event} {arguments}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise SystemExit(f"writing: {arguments[0]}")
    if event in ("os.mkdir", "os.rename", "os.remove"):
        raise SystemExit(f"writing: {event} {arguments}")

sys.dont_write_bytecode = True
sys.addaudithook(forbid)
from aiverify.signers import KeylessSigner
from aiverify.signatures.stage import authenticate

signer = KeylessSigner(*sys.argv[2:])
result = authenticate(files=[], root=Path("/nowhere"), bundles=[Path(sys.argv[1])], signers=[signer])
print(result.results[0].outcome)
"""


def test_a_real_signature_verifies_under_the_embedded_root() -> None:
    result = authenticate(files=[], root=VECTORS / "nowhere", bundles=[REAL], signers=[SIGNER])
    assert (result.results[0].kind, result.results[0].outcome) == ("keyless", "verified")
    assert [(one.rule, one.file) for one in result.findings] == [("AIV206", "signme-1"), ("AIV206", "signme-2")]


def test_a_certificate_that_has_expired_since_it_was_used_is_no_obstacle() -> None:
    raw = json.loads(REAL.read_text())["verificationMaterial"]["certificate"]["rawBytes"]
    assert x509.load_der_x509_certificate(base64.b64decode(raw)).not_valid_after_utc < datetime.now(UTC)
    result = authenticate(files=[], root=VECTORS / "nowhere", bundles=[REAL], signers=[SIGNER])
    assert result.results[0].outcome == "verified"


@pytest.mark.parametrize("home", ["empty", "/dev/null/nobody"])
def test_neither_network_nor_a_writable_home_is_needed(tmp_path: Path, home: str) -> None:
    place = tmp_path if home == "empty" else Path(home)
    unwanted = ("XDG_", "HOME", "SIGSTORE_", "COV_", "COVERAGE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    command = [sys.executable, "-c", OFFLINE_AND_READING, str(REAL), SIGNER.identity, SIGNER.issuer]
    done = subprocess.run(command, env={**environment, "HOME": str(place)}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("verified\n", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_vector_without_a_log_entry_is_not_valid() -> None:
    bundle = VECTORS / "missing-tlog-entries.bundle.json"
    result = authenticate(files=[], root=VECTORS / "nowhere", bundles=[bundle], signers=[SIGNER])
    assert (result.results[0].outcome, result.findings[0].rule) == ("failed", "AIV203")


@pytest.mark.parametrize("name", ["empty", "missing-envelope", "missing-verification-material"])
def test_the_vectors_with_a_part_missing_cannot_be_read(name: str) -> None:
    with pytest.raises(SignatureError, match=name):
        authenticate(files=[], root=VECTORS / "nowhere", bundles=[VECTORS / f"{name}.bundle.json"])


def test_the_vector_about_something_else_is_not_valid() -> None:
    result = authenticate(files=[], root=VECTORS / "nowhere", bundles=[VECTORS / "wrong-predicate.bundle.json"])
    assert result.results[0].outcome == "failed"
    assert "AIV203" in {one.rule for one in result.findings}


@pytest.mark.parametrize("name", ["key", "certificate", "sigstore"])
def test_the_valid_vectors_have_a_valid_manifest(name: str) -> None:
    manifest = parse_manifest(parse_bundle((VECTORS / f"{name}.bundle.json").read_bytes()).envelope.payload)
    assert set(manifest.resources) == {"signme-1", "signme-2"}
    assert "ignore-me" in manifest.ignore_paths


@pytest.mark.parametrize("name", ["key", "certificate"])
def test_a_vector_of_a_kind_that_was_not_expected_fails(name: str) -> None:
    bundle = VECTORS / f"{name}.bundle.json"
    result = authenticate(files=[], root=VECTORS / "nowhere", bundles=[bundle], signers=[SIGNER])
    assert (result.results[0].outcome, result.findings[0].rule) == ("failed", "AIV210")
    assert result.findings[0].severity == "critical"


def test_the_key_vector_was_not_made_with_any_other_key(key_pem: bytes) -> None:
    bundle = VECTORS / "key.bundle.json"
    result = authenticate(files=[], root=VECTORS, bundles=[bundle], signers=[KeySigner(key_pem, "other.pub")])
    assert (result.results[0].outcome, result.findings[0].rule) == ("failed", "AIV203")
