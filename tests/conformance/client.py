#!/usr/bin/env python3
"""An entry point that speaks the client protocol of sigstore-conformance (docs/cli_protocol.md there).

    client.py sign-bundle [--staging] [--in-toto] --identity-token TOKEN --bundle FILE
              [--trusted-root FILE] [--signing-config FILE] ARTIFACT
    client.py verify-bundle [--staging] --bundle FILE
              (--certificate-identity IDENTITY --certificate-oidc-issuer URL | --key FILE)
              [--trusted-root FILE] ARTIFACT_OR_DIGEST

The exit code is 0 for success, 1 for a refusal, 2 for arguments that are wrong. aiverify signs and verifies statements
about models and verdicts only; what the protocol asks for besides (signatures over the bytes of any file, log entries
of managed keys) is put together here from aiverify's parts and sigstore-python's. Nothing is fetched to verify.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiverify.errors import AiverifyError
from aiverify.signatures.bundle import MEDIA_TYPES, parse_bundle
from aiverify.signatures.dsse import Envelope, parse_envelope
from aiverify.signatures.interface import InvalidSignatureError
from aiverify.signatures.key import load_public_key, verify
from aiverify.signatures.keyless import identity_of, quiet, require_in_use
from aiverify.signatures.keyless import verify as verify_keyless
from aiverify.signatures.keyless_signing import KeylessSigning, client_config
from aiverify.signatures.manifest import STATEMENT_TYPE
from aiverify.signatures.strict_json import parse_object, required
from aiverify.signatures.tokens import GivenToken
from aiverify.signatures.trust import Instance, Trust, TrustSource
from aiverify.signers import KeylessSigner, KeySigner

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from sigstore.verify import Verifier


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        (_sign if options.command == "sign-bundle" else _verify)(options)
    except AiverifyError as error:
        print(error.diagnostics(), file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - whatever a hostile bundle makes of a library
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="client.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    sign, check = commands.add_parser("sign-bundle"), commands.add_parser("verify-bundle")
    for command in (sign, check):
        command.add_argument("--staging", action="store_true")
        command.add_argument("--bundle", type=Path, required=True)
        command.add_argument("--trusted-root", type=Path)
    sign.add_argument("--in-toto", action="store_true")
    sign.add_argument("--identity-token", required=True)
    sign.add_argument("--signing-config", type=Path)
    sign.add_argument("artifact", type=Path)
    check.add_argument("--certificate-identity")
    check.add_argument("--certificate-oidc-issuer")
    check.add_argument("--key", type=Path)
    check.add_argument("artifact")
    return parser


def _trust(options: argparse.Namespace) -> TrustSource:
    root: Path | None = options.trusted_root
    return root if root is not None else Instance.STAGING if options.staging else Instance.PRODUCTION


def _sign(options: argparse.Namespace) -> None:
    tokens = GivenToken(options.identity_token)
    content = options.artifact.read_bytes()
    if options.in_toto:
        made = KeylessSigning(tokens, _trust(options), options.signing_config).sign(content)
        options.bundle.write_bytes(made.bundle)
        return
    from sigstore.sign import SigningContext

    with client_config(_trust(options), options.signing_config) as (config, _), quiet():
        context = SigningContext.from_trust_config(config)
        with context.signer(tokens.token("")) as signer:
            options.bundle.write_text(signer.sign_artifact(content).to_json())


def _verify(options: argparse.Namespace) -> None:
    digest = _digest(options.artifact)
    raw = options.bundle.read_bytes()
    trust = Trust(_trust(options))
    identity = (options.certificate_identity, options.certificate_oidc_issuer)
    if options.key is not None:
        if any(identity):
            raise InvalidSignatureError("a key and an identity are both expected")
        _verify_managed(raw, digest, load_public_key(KeySigner(options.key.read_bytes(), str(options.key))), trust)
        return
    signer = KeylessSigner(*(part or "" for part in identity))
    table = parse_object(raw)
    if "dsseEnvelope" in table:
        bundle = parse_bundle(raw)
        proven = verify_keyless(bundle, trust)
        _require_subject(bundle.envelope.payload, digest)
    else:
        from sigstore.hashes import Hashed
        from sigstore.models import Bundle
        from sigstore.verify.policy import UnsafeNoOp
        from sigstore_models.common.v1 import HashAlgorithm

        signed = Bundle.from_json(raw)
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)

        def check(verifier: Verifier) -> None:
            verifier.verify_artifact(hashed, signed, UnsafeNoOp())

        with quiet():
            check(trust.verifier())
            require_in_use(signed, trust, check)
        proven = identity_of(signed.signing_certificate)
    if not signer.is_met_by(proven):
        raise InvalidSignatureError(f"signed by {proven}, not by {signer}")


def _digest(artifact: str) -> bytes:
    name, _, text = artifact.partition(":")
    if name == "sha256" and len(text) == 64 and not Path(artifact).exists():
        return bytes.fromhex(text)
    with Path(artifact).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _require_subject(payload: bytes, digest: bytes) -> None:
    statement = parse_object(payload)
    if statement.get("_type") != STATEMENT_TYPE:
        raise InvalidSignatureError("the payload is not an in-toto Statement v1")
    subjects = required(statement, "subject", list)
    if digest.hex() not in [subject.get("digest", {}).get("sha256") for subject in subjects]:
        raise InvalidSignatureError("the statement is about something else")


# managed keys


def _verify_managed(raw: bytes, digest: bytes, key: ec.EllipticCurvePublicKey, trust: Trust) -> None:
    """A signature with a key of one's own, and its entry in the log, which must be about nothing else."""
    table = parse_object(raw)
    if table.get("mediaType") not in MEDIA_TYPES:
        raise InvalidSignatureError("the bundle is of a kind that is not known")
    material = required(table, "verificationMaterial", dict)
    required(material, "publicKey", dict)
    if "dsseEnvelope" in table:
        envelope = parse_envelope(required(table, "dsseEnvelope", dict))
        verify(key, envelope)
        _require_subject(envelope.payload, digest)
        signature, logged = envelope.signature, _logged_envelope(envelope)
    else:
        message = required(table, "messageSignature", dict)
        signature = base64.b64decode(required(message, "signature", str), validate=True)
        stated = message.get("messageDigest", {}).get("digest")
        if stated is not None and base64.b64decode(stated) != digest:
            raise InvalidSignatureError("the bundle states another digest")
        _require_signed(key, signature, digest)
        logged = digest
    _require_logged(material, key, signature, logged, trust)


def _logged_envelope(envelope: Envelope) -> bytes:
    """What a hashedrekord entry for an envelope is about."""
    return hashlib.sha256(envelope.pae()).digest()


def _require_signed(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(SHA256())))
    except InvalidSignature as error:
        raise InvalidSignatureError("the signature was not made with this key") from error


def _require_logged(
    material: dict[str, Any], key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes, trust: Trust
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from sigstore._internal.trust import KeyringPurpose
    from sigstore.models import TransparencyLogEntry
    from sigstore_models.rekor.v1 import TransparencyLogEntry as Entry

    entries = required(material, "tlogEntries", list)
    if len(entries) != 1:
        raise InvalidSignatureError("there must be exactly one log entry")
    with quiet():
        entry = TransparencyLogEntry(Entry.from_json(json.dumps(entries[0])))
        entry._verify(trust.root().rekor_keyring(KeyringPurpose.VERIFY))  # there is no public way
    body = json.loads(base64.b64decode(entries[0]["canonicalizedBody"]))
    spec = body["spec"]
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if body["apiVersion"] == "0.0.2":
        spec = spec["hashedRekordV002"]
        said = (spec["data"]["digest"], spec["signature"]["content"], spec["signature"]["verifier"]["publicKey"])
        expected = (_text(digest), _text(signature), {"rawBytes": _text(spki)})
    elif body["kind"] == "hashedrekord":
        content = base64.b64decode(spec["signature"]["publicKey"]["content"]).strip()
        said = (spec["data"]["hash"], spec["signature"]["content"], content)
        expected = ({"algorithm": "sha256", "value": digest.hex()}, _text(signature), pem.strip())
    else:
        (one,) = spec["signatures"]
        said = (one["signature"], base64.b64decode(one["verifier"]).strip())
        expected = (_text(signature), pem.strip())
    if said != expected:
        raise InvalidSignatureError("the log entry is about something else")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
