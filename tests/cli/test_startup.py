"""What a command pays for before it does anything: no slow import that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import Machine, save_with_torch, weights

# What the scan of one checkpoint has no use for. Each of them takes from one millisecond to some tens.
UNUSED = (
    *("aiverify.signatures", "aiverify.signers", "aiverify.store", "aiverify.convert", "aiverify.twins"),
    *("aiverify.policy.reading", "aiverify.policy.remote", "aiverify.known_bad", "aiverify.sources.hub"),
    *("aiverify.repository.code", "aiverify.repository.instructions", "aiverify.repository.secrets"),
    *("aiverify.repository.shards", "aiverify.formats.crew", "aiverify.formats.config", "aiverify.formats.gguf"),
    *("aiverify.formats.hdf5", "aiverify.formats.keras", "aiverify.formats.numpy", "aiverify.formats.onnx"),
    *("aiverify.formats.safetensors", "aiverify.formats.tensorflow", "aiverify.formats.torch_pt2"),
    *("asyncio", "concurrent", "csv", "email", "http", "importlib.metadata", "logging", "multiprocessing", "rich"),
    *("socket", "sqlite3", "ssl", "urllib.request", "xml", "zipfile"),
)
SLOW = ("sigstore", "huggingface_hub", "fickling", "torch", "numpy", "cryptography", "safetensors", "httpx", "httpx2")
SHELL = """
import json, sys
from aiverify.cli import main
try:
    sys.argv = ["aiverify", *json.loads(sys.argv[1])]
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded(machine: Machine, code: str, *arguments: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=machine.here,
        env=machine.environ(measured=False),  # what measures imports modules, too
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["verify", "--help"],
        ["scan", "--help"],
        ["explain", "--help"],
        ["demo", "--help"],
        ["explain", "AIV301"],
        ["verify", "--no-such-option"],
    ],
    ids=" ".join,
)
def test_what_examines_nothing_imports_nothing_slow(machine: Machine, arguments: list[str]) -> None:
    modules = loaded(machine, SHELL, *arguments)
    assert "aiverify" in modules
    assert not modules & set(SLOW)
    assert not list(machine.home.rglob("*"))


def test_a_scan_imports_neither_signatures_nor_the_hub(machine: Machine) -> None:
    weights(machine.here / "model")
    assert not loaded(machine, SHELL, "scan", "model") & {
        "sigstore",
        "huggingface_hub",
        "cryptography",
        "torch",
        "httpx2",
    }


def test_a_scan_of_one_checkpoint_imports_only_what_it_uses(machine: Machine) -> None:
    path = save_with_torch({"weight": [1.0]}, machine.here / "model.pt")
    modules = loaded(machine, SHELL, "scan", "-q", "--engine", "machine", str(path))
    assert "aiverify.formats.torch" in modules
    assert not {name for name in modules for unused in UNUSED if f"{name}.".startswith(f"{unused}.")}


def test_verifying_an_unsigned_folder_imports_neither_sigstore_nor_the_hub(machine: Machine) -> None:
    weights(machine.here / "model")
    assert not loaded(machine, SHELL, "verify", "model") & {"sigstore", "huggingface_hub", "torch", "httpx2"}


def test_importing_the_package_costs_nothing(machine: Machine) -> None:
    code = "import sys; before = set(sys.modules); import aiverify, json; new = set(sys.modules) - before"
    modules = loaded(machine, f"{code}; print(json.dumps(sorted(new)), file=sys.stderr)")
    assert {name for name in modules if name.startswith("aiverify")} == {"aiverify"}
    assert not modules & {*SLOW, "typer", "rich", "tomllib", "asyncio", "dataclasses"}


def test_every_name_of_the_package_can_be_had(machine: Machine) -> None:
    import aiverify

    for name in dir(aiverify):
        assert getattr(aiverify, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'verity'"):
        aiverify.verity  # noqa: B018 - the access is what is tested
