"""Imports ahead of time: what a signature needs, and nothing where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from signed_models import payload_of, sign_with_key, write_bundle

CODE = """
import sys
from pathlib import Path
from aiverify.signatures.ahead import import_ahead

thread = import_ahead(Path(name) for name in sys.argv[1:])
if thread is not None:
    thread.join()
print(sorted({"sigstore", "cryptography", "requests"} & set(sys.modules)))
"""
VECTORS = Path(__file__).parent / "vectors"


def imported(*places: Path) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", CODE, *places], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(ran.stdout.replace("'", '"'))
    return found


def test_only_a_keyless_signature_needs_sigstore(model: Path, tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    keyed = write_bundle(sign_with_key(payload_of(model), key), tmp_path / "model.sig")
    assert imported(keyed) == ["cryptography"]
    assert imported(VECTORS / "certificate.bundle.json") == ["cryptography"]
    assert "sigstore" in imported(keyed, VECTORS / "sigstore.bundle.json")


@pytest.mark.parametrize("content", ["", "{}", "nonsense"])
def test_what_is_no_signature_needs_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.sig").write_text(content)
    assert imported(tmp_path / "model.sig", tmp_path / "nowhere") == []
