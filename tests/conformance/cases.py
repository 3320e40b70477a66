"""Cases in the form of sigstore-conformance, made with the local Sigstore: a name that ends in ``_fail`` must fail.

Each is a folder with a bundle and what to verify it by, as in that suite's ``bundle-verify``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate
from local_authority import stamp
from local_sigstore import ISSUER, Authority, LocalSigstore, authority_description
from rfc3161_client import decode_timestamp_response
from signed_models import pem, sign_with_key

from tests.conformance import client

IDENTITY = "conformance@example.test"
OLD_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle+json;version="
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
        self.chains()
        self.timestamps()
        self.roots()
        self.cosigned()
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

    def chains(self) -> None:
        """Bundles of the older form, with a chain in the place of the certificate."""
        bundle = self.signed(self.sigstore, 1)
        leaf = bundle["verificationMaterial"]["certificate"]
        root = {"rawBytes": _text(self.sigstore.fulcio.root.public_bytes(Encoding.DER))}
        for name, version, chain in (
            ("certificate-chain", "0.2", [leaf]),
            ("empty-chain_fail", "0.2", []),
            ("chain-with-root_fail", "0.3", [leaf, root]),
        ):
            older = _edited(bundle, lambda one: one["verificationMaterial"].pop("certificate"))
            older["verificationMaterial"]["x509CertificateChain"] = {"certificates": chain}
            self.add(name, {**older, "mediaType": f"{OLD_MEDIA_TYPE}{version}"})
        other = self.signed(self.sigstore, 1)
        swapped = _edited(bundle, lambda one: None)
        swapped["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
        self.add("swapped-log-entry_fail", swapped)
        swapped = _edited(bundle, lambda one: None)
        swapped["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]
        self.add("swapped-certificate_fail", swapped)

    def timestamps(self) -> None:
        """The times that a signature in Rekor 2 is proven by."""
        bundle = self.signed(self.sigstore, 2)
        signature = base64.b64decode(bundle["messageSignature"]["signature"])
        at = _time(bundle)

        def stamped(*stamps: bytes, keep: bool = False) -> Bundle:
            copy = _edited(bundle, lambda one: None)
            data = copy["verificationMaterial"].setdefault("timestampVerificationData", {})
            old = data["rfc3161Timestamps"] if keep else []
            data["rfc3161Timestamps"] = [*old, *({"signedTimestamp": _text(one)} for one in stamps)]
            return copy

        late, before = (at + timedelta(hours=1), at - timedelta(days=60))
        self.add("timestamp-none_fail", stamped())
        self.add("timestamp-twice_fail", stamped(*[stamp(self.sigstore, signature, None)] * 2))
        self.add("timestamps-two", stamped(stamp(self.sigstore, signature, at + timedelta(seconds=1)), keep=True))
        self.add("timestamp-over-another-signature_fail", stamped(stamp(self.sigstore, b"another", None)))
        self.add("timestamp-by-an-unknown-authority_fail", stamped(stamp(self.other, signature, None)))
        self.add("timestamp-outside-certificate-validity_fail", stamped(stamp(self.sigstore, signature, late)))
        self.add("timestamps-one-outside-validity_fail", stamped(stamp(self.sigstore, signature, late), keep=True))
        self.add("timestamp-outside-authority-certificate_fail", stamped(stamp(self.sigstore, signature, before)))

    def roots(self) -> None:
        """Trusted roots whose services were in use for a time, or are not those that signed."""
        for rekor in (1, 2):
            bundle = self.signed(self.sigstore, rekor)
            at = _time(bundle)
            for part in ("tlogs", "certificateAuthorities", *(("timestampAuthorities",) if rekor == 2 else ())):
                for name, end in {"ended_fail": at - timedelta(days=1), "ends-inclusive": at}.items():
                    root = self.until(part, end.isoformat())
                    self.add(f"root-rekor{rekor}-{part}-{name}", bundle, root=root)
        ended = self.until("timestampAuthorities", (at - timedelta(days=1)).isoformat())
        borrowed = authority_description("https://other.test", *_certificates(self.other))
        ended["timestampAuthorities"].append(borrowed)
        self.add("root-validity-of-another-authority_fail", bundle, root=ended)
        startless = self.until("tlogs", None)
        self.add("root-log-without-a-start_fail", bundle, root=startless)
        root = self.sigstore.trusted_root()
        self.add("root-other-ct-log_fail", bundle, root={**root, "ctlogs": self.other.trusted_root()["ctlogs"]})
        decoy = authority_description("https://decoy.test", Authority(self.sigstore.fulcio.name).root)
        authorities = [decoy, *root["certificateAuthorities"]]
        self.add("root-authorities-of-one-name", bundle, root={**root, "certificateAuthorities": authorities})

    def until(self, part: str, end: str | None) -> Bundle:
        """The trusted root with an end for the services of one part; without a start where there is no end."""
        root: Bundle = json.loads(json.dumps(self.sigstore.trusted_root()))
        for service in root[part]:
            place = service.get("publicKey", service)
            place["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": end} if end else {}
        return root

    def cosigned(self) -> None:
        """Checkpoints that somebody else has signed, too."""
        bundle = self.signed(self.sigstore, 2)
        for name, place in {"cosigned": -1, "cosigned-before": 4}.items():
            copy = _edited(bundle, lambda one: None)
            lines = _checkpoint(copy).split("\n")
            lines.insert(place, f"\u2014 witness.test {_text(b'k' * 76)}")
            _set_checkpoint(copy, "\n".join(lines))
            self.add(f"checkpoint-{name}", copy)

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
        add(f"{name}-unknown-version_fail", {**bundle, "mediaType": f"{OLD_MEDIA_TYPE}99.9"})
        for what, spoil in SPOILED_ENTRIES.items():
            add(f"{name}-{what}_fail", _edited(bundle, spoil))
        if "inclusionPromise" in _entry(bundle):
            add(f"{name}-invalid-set_fail", _edited(bundle, _spoil_promise))
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
        root: LocalSigstore | Bundle | None = None,
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
        given = root if isinstance(root, dict) else (root or self.sigstore).trusted_root()
        trusted = self.write(f"{number}.root.json", given)
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


def _entry(bundle: Bundle) -> dict[str, Any]:
    entry: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


def _checkpoint(bundle: Bundle) -> str:
    text: str = _entry(bundle)["inclusionProof"]["checkpoint"]["envelope"]
    return text


def _set_checkpoint(bundle: Bundle, text: str) -> None:
    _entry(bundle)["inclusionProof"]["checkpoint"]["envelope"] = text


def _without_line(number: int) -> Callable[[Bundle], None]:
    """Take a line out of the checkpoint: its origin, its size, its root hash, and after a blank one a signature."""

    def edit(bundle: Bundle) -> None:
        lines = _checkpoint(bundle).split("\n")
        del lines[number]
        _set_checkpoint(bundle, "\n".join(lines))

    return edit


def _spoil_key_hint(bundle: Bundle) -> None:
    before, _, signature = _checkpoint(bundle).rstrip("\n").rpartition(" ")
    data = bytearray(base64.b64decode(signature))
    data[0] ^= 1
    _set_checkpoint(bundle, f"{before} {_text(bytes(data))}\n")


def _spoil_base64(bundle: Bundle) -> None:
    place = bundle.get("messageSignature") or bundle["dsseEnvelope"]["signatures"][0]
    place["signature" if "messageSignature" in bundle else "sig"] = "not base64"


def _spoil_promise(bundle: Bundle) -> None:
    promise = _entry(bundle)["inclusionPromise"]
    promise["signedEntryTimestamp"] = _flipped(promise["signedEntryTimestamp"])


def _spoil_body(bundle: Bundle) -> None:
    entry = _entry(bundle)
    entry["canonicalizedBody"] = _text(base64.b64decode(entry["canonicalizedBody"]) + b" ")


SPOILED_ENTRIES: dict[str, Callable[[Bundle], None]] = {
    "invalid-base64-signature": _spoil_base64,
    "changed-log-entry": _spoil_body,
    "negative-log-index": lambda bundle: _entry(bundle).update(logIndex="-1"),
    "no-inclusion-proof": lambda bundle: _entry(bundle).pop("inclusionProof"),
    "checkpoint-bad-keyhint": _spoil_key_hint,
    "checkpoint-missing-origin": _without_line(0),
    "checkpoint-missing-size": _without_line(1),
    "checkpoint-missing-root-hash": _without_line(2),
    "checkpoint-missing-signature": _without_line(4),
}


def _certificates(sigstore: LocalSigstore) -> tuple[Certificate, Certificate]:
    return sigstore.tsa_certificate, sigstore.tsa_root.root


def _time(bundle: Bundle) -> datetime:
    """When a timestamp or, for Rekor 1, the log says that the bundle was signed."""
    if "inclusionPromise" in _entry(bundle):
        return datetime.fromtimestamp(int(_entry(bundle)["integratedTime"]), UTC)
    (one,) = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    return decode_timestamp_response(base64.b64decode(one["signedTimestamp"])).tst_info.gen_time


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
