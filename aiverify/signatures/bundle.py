"""Sigstore bundles, as far as all kinds of OpenSSF Model Signing signatures share them.

Rules: a Sigstore bundle media type, a DSSE envelope, and verification material of exactly one kind, so that a
bundle cannot be of one kind here and of another elsewhere. Whether the material holds is for the kind's own module.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiverify.signatures.dsse import Envelope, parse_envelope
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.strict_json import optional, parse_object, required

MAX_BUNDLE_BYTES = 32 * 1024 * 1024

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle"
# Until bundle version 0.2 a keyless certificate came as a chain.
_CHAINED_KEYLESS = {f"{_MEDIA_TYPE}+json;version=0.1", f"{_MEDIA_TYPE}+json;version=0.2"}


class BundleKind(enum.StrEnum):
    """How the signer proves who they are."""

    KEYLESS = "keyless"
    KEY = "key"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A well-formed bundle. ``raw`` is the file; ``hint`` is what it says about its key, and proves nothing."""

    kind: BundleKind
    envelope: Envelope
    raw: bytes
    hint: str = ""


def parse_bundle(raw: bytes) -> Bundle:
    """The bundle in the file's bytes. Raises MalformedError."""
    if len(raw) > MAX_BUNDLE_BYTES:
        raise MalformedError(f"larger than {MAX_BUNDLE_BYTES} bytes")
    if not raw.strip():
        raise MalformedError("the file is empty")
    table = parse_object(raw)
    media_type = required(table, "mediaType", str)
    if not media_type.startswith(_MEDIA_TYPE):
        raise MalformedError(f"{media_type[:80]!r} is not the media type of a Sigstore bundle")
    material = required(table, "verificationMaterial", dict)
    kind = _kind(media_type, material)
    hint = optional(material["publicKey"], "hint", str, "") if kind is BundleKind.KEY else ""
    return Bundle(kind=kind, envelope=parse_envelope(required(table, "dsseEnvelope", dict)), raw=raw, hint=hint)


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
