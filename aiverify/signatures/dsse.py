"""DSSE envelopes: signed bytes together with the type that they were signed as.

Source: https://github.com/secure-systems-lab/dsse, v1.0.0, with the OpenSSF Model Signing profile: the payload is an
in-toto statement and there is exactly one signature. ``keyid`` may be absent, empty or null, and is never looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiverify.signatures.interface import MalformedError
from aiverify.signatures.strict_json import required

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload of type ``PAYLOAD_TYPE`` and one signature over it, both decoded. Nothing is verified yet."""

    payload: bytes
    signature: bytes

    def pae(self) -> bytes:
        """The bytes that were signed: DSSE's pre-authentication encoding, version 1."""
        return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(self.payload), self.payload)

    def legacy_pae(self) -> bytes:
        """The bytes that model_signing 0.2 signed with keys and certificates instead: how Python shows the payload.

        No two payloads look the same, so a signature over this binds its payload as well.
        """
        return f"DSSEV1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(self.payload)} {self.payload!r}".encode()


def parse_envelope(table: Mapping[str, Any]) -> Envelope:
    """The envelope in a decoded JSON object. Raises MalformedError."""
    payload_type = required(table, "payloadType", str)
    if payload_type != PAYLOAD_TYPE:
        raise MalformedError(f"the envelope holds {payload_type[:80]!r}, not {PAYLOAD_TYPE!r}")
    signatures = required(table, "signatures", list)
    if len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise MalformedError(f"the envelope has {len(signatures)} signatures; there must be exactly one")
    return Envelope(decoded(table, "payload"), decoded(signatures[0], "sig"))


def decoded(table: Mapping[str, Any], key: str) -> bytes:
    """The bytes that stand under ``key`` in base64. Raises MalformedError, also when there are none."""
    text = required(table, key, str)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{key!r} is not base64") from error
    if not data:
        raise MalformedError(f"{key!r} is empty")
    return data
