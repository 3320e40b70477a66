"""Sigstore bundles, as far as all kinds of OpenSSF Model Signing signatures share them.

Rules: the media type of a known version of Sigstore's bundles, a DSSE envelope and nothing else that is signed, and
verification material of exactly one kind, so that a bundle cannot be of one kind here and of another elsewhere. A chain
has at most ``MAX_CERTIFICATES`` certificates, there are at most ``MAX_TIMESTAMPS`` timestamps, and ``MAX_VALUES``
values in all. Whether the material holds is for the kind's own module.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiverify.signatures.dsse import Envelope, decoded, parse_envelope
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.strict_json import optional, parse_object, required

MAX_BUNDLE_BYTES = 32 * 1024 * 1024
MAX_CERTIFICATES = 8
MAX_TIMESTAMPS = 32
MAX_VALUES = 10_000

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle"
# Until bundle version 0.2 a keyless certificate came as a chain.
_CHAINED_KEYLESS = {f"{_MEDIA_TYPE}+json;version=0.1", f"{_MEDIA_TYPE}+json;version=0.2"}
MEDIA_TYPES = frozenset({*_CHAINED_KEYLESS, f"{_MEDIA_TYPE}+json;version=0.3", f"{_MEDIA_TYPE}.v0.3+json"})


class BundleKind(enum.StrEnum):
    """How the signer proves who they are."""

    KEYLESS = "keyless"
    KEY = "key"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A well-formed bundle. ``raw`` is the file; ``hint`` is what it says about its key, and proves nothing.

    ``chain`` are the certificates of a bundle of kind ``certificate`` in DER, the signer's own first; ``timestamps``
    are answers of timestamp authorities (RFC 3161) in DER, and those of a keyless bundle are left to sigstore-python.
    """

    kind: BundleKind
    envelope: Envelope
    raw: bytes
    hint: str = ""
    chain: tuple[bytes, ...] = ()
    timestamps: tuple[bytes, ...] = ()


def parse_bundle(raw: bytes) -> Bundle:
    """The bundle in the file's bytes. Raises MalformedError."""
    if len(raw) > MAX_BUNDLE_BYTES:
        raise MalformedError(f"larger than {MAX_BUNDLE_BYTES} bytes")
    if not raw.strip():
        raise MalformedError("the file is empty")
    table = parse_object(raw, MAX_VALUES)
    media_type = required(table, "mediaType", str)
    if media_type not in MEDIA_TYPES:
        raise MalformedError(f"{media_type[:80]!r} is not the media type of a Sigstore bundle of a known version")
    if table.get("messageSignature") is not None:
        raise MalformedError("it holds a signature over a message, and models are signed in an envelope")
    material = required(table, "verificationMaterial", dict)
    kind = _kind(media_type, material)
    envelope = parse_envelope(required(table, "dsseEnvelope", dict))
    match kind:
        case BundleKind.KEY:
            return Bundle(kind=kind, envelope=envelope, raw=raw, hint=optional(material["publicKey"], "hint", str, ""))
        case BundleKind.CERTIFICATE:
            chain, timestamps = _chain(material), _timestamps(material)
            return Bundle(kind=kind, envelope=envelope, raw=raw, chain=chain, timestamps=timestamps)
        case BundleKind.KEYLESS:
            return Bundle(kind=kind, envelope=envelope, raw=raw)


def _chain(material: Mapping[str, Any]) -> tuple[bytes, ...]:
    chain = _all_decoded(material["x509CertificateChain"], "certificates", "rawBytes", MAX_CERTIFICATES)
    if not chain:
        raise MalformedError("the certificate chain is empty")
    return chain


def _timestamps(material: Mapping[str, Any]) -> tuple[bytes, ...]:
    data = optional(material, "timestampVerificationData", dict, {})
    return _all_decoded(data, "rfc3161Timestamps", "signedTimestamp", MAX_TIMESTAMPS)


def _all_decoded(table: Mapping[str, Any], key: str, field: str, limit: int) -> tuple[bytes, ...]:
    entries = optional(table, key, list, [])
    if len(entries) > limit:
        raise MalformedError(f"{key!r} has more than {limit} entries")
    if not all(isinstance(entry, dict) for entry in entries):
        raise MalformedError(f"{key!r} holds something that is not an object")
    return tuple(decoded(entry, field) for entry in entries)


def _kind(media_type: str, material: Mapping[str, Any]) -> BundleKind:
    fields = {
        "certificate": BundleKind.KEYLESS,
        "publicKey": BundleKind.KEY,
        "x509CertificateChain": BundleKind.CERTIFICATE,
    }
    present = [field for field in fields if material.get(field) is not None]
    if len(present) != 1:
        raise MalformedError(f"'verificationMaterial' must have exactly one of {', '.join(fields)}")
    required(material, present[0], dict)
    if present[0] == "x509CertificateChain" and media_type in _CHAINED_KEYLESS and material.get("tlogEntries"):
        return BundleKind.KEYLESS
    return fields[present[0]]
