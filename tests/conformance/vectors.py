"""The vectors of the OpenSSF Model Signing specification: what must come of each, and what does."""

from __future__ import annotations

from pathlib import Path

from aiverify.signatures.bundle import BundleKind, parse_bundle
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.keyless import verify
from aiverify.signatures.manifest import parse_manifest
from aiverify.signatures.trust import Instance, Trust

VECTORS = Path(__file__).parents[1] / "signatures" / "vectors"
VALID = ("certificate", "key", "sigstore")


def vectors() -> list[tuple[str, str, str]]:
    """Of each vector its name, what must come of it, and what does.

    A bundle is accepted that is well-formed, whose manifest is valid and, if it is keyless, whose signature verifies
    under the root of the public instance. The keys of the others are not part of the vectors.
    """
    rows = []
    for path in sorted(VECTORS.glob("*.bundle.json")):
        name = path.name.partition(".")[0]
        must = "accepted" if name in VALID else "refused"
        rows.append((f"vector {name}", must, "accepted" if _accepted(path) else "refused"))
    return rows


def _accepted(path: Path) -> bool:
    try:
        bundle = parse_bundle(path.read_bytes())
        parse_manifest(bundle.envelope.payload)
        if bundle.kind is BundleKind.KEYLESS:
            verify(bundle, Trust(Instance.PRODUCTION))
    except SignatureError:
        return False
    return True
