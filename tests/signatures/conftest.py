"""What the tests of the signatures room share: one local Sigstore, a key, and a model folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from local_sigstore import LocalSigstore
from signed_models import pem, write_model


@pytest.fixture(scope="session")
def sigstore() -> Iterator[LocalSigstore]:
    with LocalSigstore() as running:
        yield running


@pytest.fixture(scope="session")
def trusted_root(sigstore: LocalSigstore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "trusted_root.json"
    path.write_text(json.dumps(sigstore.trusted_root()))
    return path


@pytest.fixture(scope="session")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture(scope="session")
def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return pem(key)


@pytest.fixture(scope="session")
def vectors() -> Path:
    return Path(__file__).parent / "vectors"
