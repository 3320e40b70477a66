"""Cases in the form of sigstore-conformance, made with the local Sigstore: a name that ends in ``_fail`` must fail.

Each is a folder with a bundle and what to verify it by, as in that suite's ``bundle-verify``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from local_sigstore import ISSUER, LocalSigstore
from signed_models import pem, sign_with_key

from tests.conformance import client

IDENTITY = "conformance@example.test"
ARTIFACT = b"the artifact\n"

Bundle = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One case: its name, and the arguments of ``verify-bundle`` but for the artifact."""

    name: str
    arguments: tuple[str, ...]
    artifact: Path

    @property
    def must_fail(self) -> bool:
        return self.name.endswith("_fail")

    def run(self, *, by_digest: bool) -> bool:
        """Whether the client accepts."""
        digest = hashlib.sha256(self.artifact.read_bytes()).hexdigest()
        return client.main([*self.arguments, f"sha256:{digest}" if by_digest else str(self.artifact)]) == 0


def make_cases(folder: Path) -> list[Case]:
    """Every case, with its files below ``folder``."""
    with LocalSigstore() as sigstore, LocalSigstore() as other, LocalSigstore(log_delay=timedelta(hours=1)) as late:
        return _Maker(folder, sigstore, other, late).cases()


class _Maker:
    def __init__(self, folder: Path, sigstore: LocalSigstore, other: LocalSigstore, late: LocalSigstore) -> None:
        self.folder = folder
        self.sigstore, self.other, self.late = sigstore, other, late
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.artifact = self.write("artifact", ARTIFACT)
        self.changed = self.write("other-artifact", b"another artifact\n")
        self.made: list[Case] = []

    def write(self, name: str, content: bytes | dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def cases(self) -> list[Case]:
        for rekor in (1, 2):
            self.keyless(f"rekor{rekor}", self.signed(self.sigstore, rekor))
            self.keyless(f"rekor{rekor}-dsse", self.attested(self.sigstore, rekor))
            self.managed(f"managed-key-rekor{rekor}", self.with_key(rekor))
        self.managed("managed-key-dsse", self.dsse_with_key())
        self.trouble()
        return self.made

    def trouble(self) -> None:
        good = self.signed(self.sigstore, 1)
        self.add("wrong-identity_fail", good, identity="somebody@example.test")
        self.add("wrong-issuer_fail", good, issuer="https://other.example.test")
        self.add("wrong-trusted-root_fail", good, root=self.other)
        self.add("log-entry-outside-certificate-validity_fail", self.signed(self.late, 1), root=self.late)
        keyed = self.with_key(1)
        self.add("managed-key-wrong-key_fail", keyed, key=ec.generate_private_key(ec.SECP256R1()))
        self.add("managed-key-and-client-identity_fail", keyed, key=self.key, identity=IDENTITY, issuer=ISSUER)
        self.add("managed-key-wrong-trusted-root_fail", keyed, key=self.key, root=self.other)
        self.add("identity-for-managed-key_fail", keyed)
        for kind, statement in {"missing": None, "unknown": "https://example.test/Statement/v1"}.items():
            self.add(f"dsse-statement-{kind}-type_fail", self.dsse_with_key(_type=statement), key=self.key)
        swapped = self.with_key(1)
        swapped["verificationMaterial"]["tlogEntries"] = self.with_key(1)["verificationMaterial"]["tlogEntries"]
        self.add("managed-key-swapped-log-entry_fail", swapped, key=self.key)

    def keyless(self, name: str, bundle: Bundle) -> None:
        self.add(name, bundle)
        self.spoiled(name, bundle, self.add)

    def managed(self, name: str, bundle: Bundle) -> None:
        def add(name: str, bundle: Bundle, **more: Any) -> None:
            self.add(name, bundle, key=self.key, **more)

        add(name, bundle)
        self.spoiled(name, bundle, add)

    def spoiled(self, name: str, bundle: Bundle, add: Callable[..., None]) -> None:
        add(f"{name}-other-artifact_fail", bundle, artifact=self.changed)
        add(f"{name}-invalid-signature_fail", _edited(bundle, _spoil_signature))
        add(
            f"{name}-no-log-entry_fail", _edited(bundle, lambda one: one["verificationMaterial"]["tlogEntries"].clear())
        )
        add(f"{name}-invalid-inclusion-proof_fail", _edited(bundle, _spoil_proof))
        add(f"{name}-invalid-checkpoint_fail", _edited(bundle, _spoil_checkpoint))
        add(f"{name}-no-material_fail", {**bundle, "verificationMaterial": {}})
        add(f"{name}-unknown-media-type_fail", {**bundle, "mediaType": "application/json"})
        if "messageSignature" in bundle:
            add(f"{name}-message-digest-mismatch_fail", _edited(bundle, _spoil_digest))
        else:
            add(f"{name}-mismatch-envelope_fail", _edited(bundle, _spoil_payload))

    def add(
        self,
        name: str,
        bundle: Bundle,
        *,
        identity: str | None = None,
        issuer: str | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        root: LocalSigstore | None = None,
        artifact: Path | None = None,
    ) -> None:
        number = len(self.made)
        arguments = ["verify-bundle", "--bundle", str(self.write(f"{number}.sigstore.json", bundle))]
        if key is not None:
            arguments += ["--key", str(self.write(f"{number}.pub", pem(key)))]
        else:
            identity, issuer = identity or IDENTITY, issuer or ISSUER
        if identity and issuer:
            arguments += ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer]
        trusted = self.write(f"{number}.root.json", (root or self.sigstore).trusted_root())
        arguments += ["--trusted-root", str(trusted)]
        self.made.append(Case(name, tuple(arguments), artifact or self.artifact))

    # bundles

    def signed(self, sigstore: LocalSigstore, rekor: int, *, in_toto: bool = False) -> Bundle:
        """What ``sign-bundle`` makes of the artifact, or of a statement about it."""
        source = self.artifact
        if in_toto:
            source = self.write("statement.json", self.statement())
        bundle = self.folder / "signed.json"
        arguments = ["sign-bundle", *(["--in-toto"] if in_toto else [])]
        arguments += ["--identity-token", sigstore.token(IDENTITY), "--bundle", str(bundle)]
        arguments += ["--trusted-root", str(self.write("root.json", sigstore.trusted_root()))]
        config = self.write("config.json", sigstore.signing_config(rekor=rekor))
        assert client.main([*arguments, "--signing-config", str(config), str(source)]) == 0 or sigstore is self.late
        made: Bundle = json.loads(bundle.read_text())
        return made

    def attested(self, sigstore: LocalSigstore, rekor: int) -> Bundle:
        return self.signed(sigstore, rekor, in_toto=True)

    def statement(self, **changes: str | None) -> dict[str, Any]:
        digest = hashlib.sha256(ARTIFACT).hexdigest()
        whole = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "artifact", "digest": {"sha256": digest}}],
            "predicateType": "https://example.test/predicate/v1",
            "predicate": {},
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def with_key(self, rekor: int) -> Bundle:
        digest, signature = hashlib.sha256(ARTIFACT).digest(), self.key.sign(ARTIFACT, ec.ECDSA(SHA256()))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": [self.logged(rekor, digest, signature)]},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": _text(digest)},
                "signature": _text(signature),
            },
        }

    def dsse_with_key(self, **changes: str | None) -> Bundle:
        bundle = sign_with_key(json.dumps(self.statement(**changes)).encode(), self.key)
        envelope = client.parse_envelope(bundle["dsseEnvelope"])
        entry = self.logged(2, hashlib.sha256(envelope.pae()).digest(), envelope.signature)
        bundle["verificationMaterial"]["tlogEntries"] = [entry]
        return bundle

    def logged(self, rekor: int, digest: bytes, signature: bytes) -> dict[str, Any]:
        """The entry of a Rekor for a signature with the key."""
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if rekor == 2:
            verifier = {"publicKey": {"rawBytes": _text(spki)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
            request = {"digest": _text(digest), "signature": {"content": _text(signature), "verifier": verifier}}
            return self.sigstore.log_v2(request)
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
            "signature": {"content": _text(signature), "publicKey": {"content": _text(pem(self.key))}},
        }
        (entry,) = self.sigstore.log_v1({"kind": "hashedrekord", "spec": spec}).values()
        proof = entry["verification"]["inclusionProof"]
        return {
            "logIndex": "0",
            "logId": {"keyId": _text(bytes.fromhex(entry["logID"]))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
            "integratedTime": str(entry["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _text(bytes.fromhex(proof["rootHash"])),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": entry["body"],
        }


def _edited(bundle: Bundle, edit: Callable[[Bundle], object]) -> Bundle:
    copy: Bundle = json.loads(json.dumps(bundle))
    edit(copy)
    return copy


def _flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return _text(bytes(data))


def _spoil_signature(bundle: Bundle) -> None:
    place = bundle.get("messageSignature") or bundle["dsseEnvelope"]["signatures"][0]
    name = "signature" if "messageSignature" in bundle else "sig"
    place[name] = _flipped(place[name])


def _spoil_digest(bundle: Bundle) -> None:
    digest = bundle["messageSignature"]["messageDigest"]
    digest["digest"] = _flipped(digest["digest"])


def _spoil_payload(bundle: Bundle) -> None:
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"] = {"changed": True}
    bundle["dsseEnvelope"]["payload"] = _text(json.dumps(payload).encode())


def _spoil_proof(bundle: Bundle) -> None:
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["rootHash"] = _flipped(proof["rootHash"])


def _spoil_checkpoint(bundle: Bundle) -> None:
    checkpoint = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].replace("log.test\n1\n", "log.test\n2\n", 1)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
