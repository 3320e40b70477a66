"""What is built to be signed is what every verifier reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_models import artifact_files, pem, sign_with_key, write_bundle, write_model

from aiverify.signatures.building import build_payload, signed_paths
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.manifest import parse_manifest
from aiverify.signatures.names import fault

DIGESTS = st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest())
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: not fault(name))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, DIGESTS, min_size=1, max_size=6), st.lists(NAMES, max_size=3))
def test_what_is_built_reads_as_what_it_was_built_from(digests: dict[str, str], ignore: list[str]) -> None:
    manifest = parse_manifest(build_payload(digests, name="model", ignore=ignore))
    assert {path: resource.sha256 for path, resource in manifest.resources.items()} == digests
    assert manifest.ignore_paths >= set(ignore)
    reordered = dict(sorted(digests.items(), reverse=True))
    assert build_payload(reordered, name="model", ignore=ignore[::-1]) == build_payload(
        digests, name="model", ignore=ignore
    )


@pytest.mark.parametrize(
    "digests",
    [
        {},
        {"../a": "00" * 32},
        {"/a": "00" * 32},
        {"a": "0"},
        {"a": "xy" * 32},
        {"a": "00" * 31},
        {"\ud800": "00" * 32},
    ],
)
def test_what_no_verifier_would_read_is_not_built(digests: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        build_payload(digests, name="model")


def test_signatures_housekeeping_and_ignored_paths_are_left_out() -> None:
    paths = ["b", "a/c", "model.sig", ".gitattributes", ".github/x", "sub/.gitattributes", "notes/a/b", "notes2"]
    assert signed_paths(paths, signatures=["model.sig"], ignore=["notes"]) == [
        "a/c",
        "b",
        "notes2",
        "sub/.gitattributes",
    ]


def test_the_reference_implementation_accepts_what_is_built(
    model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    write_model(model, {"a/b": b"1", "a-b": b"2", ".gitattributes": b""})
    files = {file.path: file.sha256 for file in artifact_files(model)}
    listed = {path: files[path] for path in signed_paths(files, signatures=["model.sig"], ignore=())}
    # 1.1.1 checks the root digest in the order of the list, whatever the order is.
    signature = write_bundle(sign_with_key(build_payload(listed, name="model"), key), tmp_path / "model.sig")
    public = tmp_path / "key.pub"
    public.write_bytes(pem(key))
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)


def test_the_payload_follows_the_specifications_schema(vectors: Path) -> None:
    payload = json.loads(build_payload({"a": "00" * 32}, name="model"))
    real = json.loads(parse_payload(vectors / "key.bundle.json"))
    assert set(payload) == set(real)
    assert set(payload["predicate"]) == set(real["predicate"])
    assert set(payload["predicate"]["resources"][0]) == set(real["predicate"]["resources"][0])


def parse_payload(path: Path) -> bytes:
    from aiverify.signatures.bundle import parse_bundle

    return parse_bundle(path.read_bytes()).envelope.payload
