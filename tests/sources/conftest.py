from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import _tree_cache, constants
from lying_hub import LyingHub

from aiverify.sources.hubclient import patience
from aiverify.sources.interface import HubOptions

WEIGHTS = bytes(range(256)) * 40
FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": WEIGHTS,
    "unet/weights.bin": b"\0" * 3000,
    "unet/note to self+100%.txt": b"hello",
}


@pytest.fixture(autouse=True)
def no_traces_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token of the person who runs the tests, no listing remembered from another test, no telemetry."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(patience, "PAUSES", (0.0, 0.0))
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What the hub serves: one repository, ``org/model``."""
    for path, content in FILES.items():
        file = tmp_path / "served" / "org" / "model" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "served"


@pytest.fixture
def hub(root: Path) -> Iterator[LyingHub]:
    """An honest hub."""
    with LyingHub(root) as hub:
        yield hub


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., HubOptions]:
    """Options for a hub, with a cache of this test's own."""

    def make(hub: LyingHub, **more: object) -> HubOptions:
        return HubOptions(**{"cache_dir": tmp_path / "cache", "endpoint": hub.endpoint, **more})

    return make
