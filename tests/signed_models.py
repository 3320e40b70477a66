"""Signed model folders, for tests: builders that write OpenSSF Model Signing v1.0 signatures.

The payload is built here, so that a test can write what an honest signer would not; the signatures are real ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from local_sigstore import ISSUER, LocalSigstore

from aiverify.artifact import ArtifactFile, FileClass

PAYLOAD_TYPE = "application/vnd.in-toto+json"
GIT_PATHS = [".git", ".gitattributes", ".github", ".gitignore"]

_HEADER = b'{"w":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}}   '
WEIGHTS = len(_HEADER).to_bytes(8, "little") + _HEADER + b"weights"
"""A valid safetensors file."""

_CLASSES = {
    ".bin": FileClass.WEIGHTS,
    ".safetensors": FileClass.WEIGHTS,
    ".py": FileClass.CODE,
    ".json": FileClass.CONFIG,
}


def write_model(folder: Path, extra: Mapping[str, bytes] | None = None) -> Path:
    """A small model folder: weights, a configuration, a text, and what else is wanted."""
    content = {
        "model.safetensors": WEIGHTS,
        "config.json": b'{"model_type": "test"}',
        "README.md": b"# A model\n",
        "sub/tokenizer.json": b"{}",
        **(extra or {}),
    }
    for path, data in content.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def artifact_files(root: Path) -> list[ArtifactFile]:
    """Every file below ``root`` as the digest stage hands it over, with a class by its suffix."""
    return [artifact_file(path.relative_to(root).as_posix(), path.read_bytes()) for path in _below(root)]


def artifact_file(path: str, data: bytes, file_class: FileClass | None = None) -> ArtifactFile:
    by_name = _CLASSES.get(Path(path).suffix, FileClass.INERT)
    digest = hashlib.sha256(data).hexdigest()
    return ArtifactFile(path=path, size=len(data), sha256=digest, format="test", file_class=file_class or by_name)


def digests(root: Path, ignore: Collection[str] = ()) -> dict[str, str]:
    """What an honest signer lists: every file but the signature, git's housekeeping and what is ignored."""
    left_out = {"model.sig", *GIT_PATHS, *ignore}
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _below(root)
        if not left_out & {path.relative_to(root).parts[0], path.relative_to(root).as_posix()}
    }


def statement(
    listed: Mapping[str, str],
    *,
    ignore: Collection[str] = (),
    algorithm: str = "sha256",
    shard_size: float | None = None,
) -> dict[str, Any]:
    """The in-toto statement about resources with these digests; over shards if there is a size for them."""
    names = sorted(listed)
    root = hashlib.sha256(b"".join(bytes.fromhex(listed[name]) for name in names)).hexdigest()
    shards = {} if shard_size is None else {"shard_size": shard_size}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"name": name, "algorithm": algorithm, "digest": listed[name]} for name in names],
            "serialization": {
                **shards,
                "method": "shards" if shards else "files",
                "hash_type": algorithm,
                "allow_symlinks": False,
                "ignore_paths": [*GIT_PATHS, *ignore],
            },
        },
    }


def sharded(root: Path, size: int) -> dict[str, str]:
    """What an honest signer lists over shards of ``size`` bytes: no empty files."""
    listed = {}
    for path in digests(root):
        data = (root / path).read_bytes()
        for start in range(0, len(data), size):
            end = min(start + size, len(data))
            listed[f"{path}:{start}:{end}"] = hashlib.sha256(data[start:end]).hexdigest()
    return listed


def legacy_statement(listed: Mapping[str, str]) -> dict[str, Any]:
    """The statement of model_signing 0.2: a subject for each file."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": listed[name]}} for name in sorted(listed)],
        "predicateType": "https://model_signing/Digests/v0.1",
        "predicate": {"unused": "Unused, just passed due to API requirements"},
    }


def payload_of(root: Path, *, ignore: Collection[str] = ()) -> bytes:
    """The payload of an honest signature over a folder."""
    return json.dumps(statement(digests(root, ignore), ignore=ignore)).encode()


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half of a key, in PEM form."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign_with_key(
    payload: bytes, key: ec.EllipticCurvePrivateKey, *, payload_type: str = PAYLOAD_TYPE, legacy: bool = False
) -> dict[str, Any]:
    """A key bundle; ``legacy`` as model_signing 0.2 made it."""
    pae = b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)
    algorithm = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    if legacy:
        pae = f"DSSEV1 {len(payload_type)} {payload_type} {len(payload)} {payload!r}".encode()
        algorithm = hashes.SHA256()
    signature = key.sign(pae, ec.ECDSA(algorithm))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(pem(key)).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def sign_keyless(
    payload: bytes,
    sigstore: LocalSigstore,
    identity: str,
    *,
    issuer: str = ISSUER,
    rekor: int = 1,
    timestamps: bool = True,
    run: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A keyless bundle, made by sigstore-python. ``run`` are claims about the run of a workflow."""
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    config = ClientTrustConfig.from_json(sigstore.client_trust_config(rekor=rekor, timestamps=timestamps))
    token = IdentityToken(sigstore.token(identity, issuer=issuer, run=run))
    with SigningContext.from_trust_config(config).signer(token) as signer:
        bundle: dict[str, Any] = json.loads(signer.sign_dsse(Statement(payload)).to_json())
    return bundle


def write_bundle(bundle: Mapping[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(bundle), encoding="utf-8")
    return path


def _below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())
