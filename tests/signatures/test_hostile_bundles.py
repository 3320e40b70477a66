"""Whatever is done to a bundle, it ends in a result or a typed error, and only what was signed verifies."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from local_sigstore import ISSUER, LocalSigstore
from signed_models import artifact_files, payload_of, pem, sign_keyless, sign_with_key, write_model

from aiverify.errors import AiverifyError
from aiverify.signatures.stage import authenticate
from aiverify.signers import KeylessSigner, KeySigner, Signer

IDENTITY = "release@example.test"
JUNK: list[Any] = [None, True, 0, -1, 1.5, 2**70, "", "A", "AAAA", "-1", "9" * 30, "\ud800", "\0", "é", [], [[]], {}]
JUNK += [{"": ""}, "x" * 3000, [None] * 40, "https://in-toto.io/Statement/v1", base64.b64encode(b"0" * 64).decode()]


class Target:
    """A folder, an honest bundle for it, and whom to expect."""

    def __init__(self, root: Path, honest: dict[str, Any], signer: Signer, trusted_root: Path | None) -> None:
        self.root, self.honest, self.signer, self.trusted_root = root, honest, signer, trusted_root
        self.payload = base64.b64decode(honest["dsseEnvelope"]["payload"])
        self.files = artifact_files(root)

    def verifies(self, raw: bytes) -> bool:
        """Whether the expected signer's word is taken; also runs the way on which nobody is expected."""
        path = self.root.parent / "attack.sig"
        path.write_bytes(raw)
        try:
            authenticate(files=self.files, root=self.root, bundles=[path], trusted_root=self.trusted_root)
            done = authenticate(
                files=self.files, root=self.root, bundles=[path], signers=[self.signer], trusted_root=self.trusted_root
            )
        except AiverifyError:
            return False
        assert done.results[0].outcome == "verified" or {one.severity.value for one in done.findings} & {"critical"}
        return done.results[0].outcome == "verified"


@pytest.fixture(scope="module", params=["key", "v1", "v2"])
def target(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    sigstore: LocalSigstore,
    trusted_root: Path,
    key: ec.EllipticCurvePrivateKey,
) -> Target:
    root = write_model(tmp_path_factory.mktemp("hostile") / "model")
    if request.param == "key":
        return Target(root, sign_with_key(payload_of(root), key), KeySigner(pem(key), "k"), None)
    rekor = int(request.param[1:])
    bundle = sign_keyless(payload_of(root), sigstore, IDENTITY, rekor=rekor)
    return Target(root, bundle, KeylessSigner(IDENTITY, ISSUER), trusted_root)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    place = changed
    for part in path[:-1]:
        place = place[part]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


def payload_in(raw: bytes) -> bytes:
    return base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"])


def test_the_honest_bundle_verifies(target: Target) -> None:
    assert target.verifies(json.dumps(target.honest).encode())


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_value_that_was_exchanged_never_makes_something_else_verify(target: Target, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(places(target.honest))))
    raw = json.dumps(replaced(target.honest, path, data.draw(st.sampled_from([..., *JUNK])))).encode()
    if target.verifies(raw):
        assert payload_in(raw) == target.payload


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_bytes_that_were_exchanged_never_make_something_else_verify(target: Target, data: st.DataObject) -> None:
    raw = bytearray(json.dumps(target.honest).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    if target.verifies(bytes(raw)):
        assert payload_in(bytes(raw)) == target.payload


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_flipped_bit_in_anything_that_is_signed_is_refused(target: Target, data: st.DataObject) -> None:
    parts = [("dsseEnvelope", "payload"), ("dsseEnvelope", "signatures", 0, "sig")]
    if "certificate" in target.honest["verificationMaterial"]:
        parts += [("verificationMaterial", "certificate", "rawBytes")]
        parts += [("verificationMaterial", "tlogEntries", 0, "canonicalizedBody")]
    path = data.draw(st.sampled_from(parts))
    value: Any = target.honest
    for part in path:
        value = value[part]
    content = bytearray(base64.b64decode(value))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not target.verifies(json.dumps(replaced(target.honest, path, base64.b64encode(content).decode())).encode())


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_never_verify(target: Target, content: bytes) -> None:
    assert not target.verifies(content)
