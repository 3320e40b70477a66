"""Loader x attack x activation: live payloads, each in a guarded process of its own kind. None may run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import guarded_files
import pytest
from end_to_end import Machine

CHILD = Path(guarded_files.__file__).with_name("guarded_loads.py")
BENIGN = {
    *("torch.load good", "torch.load early good", "joblib.load good", "joblib.load compressed", "np.load good"),
    *("np.load objects", "safetensors good", "safetensors bytes", "pickle good", "bytes that are called like a model"),
    *("own functions", "own results while another thread loads", "the load itself", "a load that reads another pickle"),
    *("before the swap: rename", "before the swap: in place", "before the swap: link"),
    *("EXT of a harmless name, first", "EXT of a harmless name, second"),
}

# A load function that was stored away, and a file that is not called like a model: PyTorch refuses, by the environment.
HARDENED = "held torch.load evil-renamed.dat"


@dataclass(frozen=True)
class Run:
    results: dict[str, str]
    code: int
    messages: str
    folder: Path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    guarded_files.benign(folder)
    return folder


@pytest.fixture(scope="module", params=["before", "after", "scope"])
def run(request: pytest.FixtureRequest, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    machine = Machine(tmp_path_factory.mktemp(request.param))
    shutil.copytree(samples, machine.here, dirs_exist_ok=True)
    guarded_files.attacks(machine.here)
    command = [sys.executable, str(CHILD), request.param, str(machine.here), str(machine.home / "store")]
    ran = subprocess.run(command, env=machine.environ(), capture_output=True, text=True, timeout=120)
    assert ran.stdout, ran.stderr
    return Run(json.loads(ran.stdout), ran.returncode, ran.stderr, machine.here)


def test_no_payload_runs(run: Run) -> None:
    assert not list(run.folder.glob("marker*"))


def test_every_attack_is_refused_by_the_guard(run: Run) -> None:
    others = {name: said for name, said in run.results.items() if name not in BENIGN | {"no such file", HARDENED}}
    assert len(others) > 60
    assert {name: said for name, said in others.items() if said != "refused"} == {}


def test_what_no_layer_sees_meets_a_hardened_environment(run: Run) -> None:
    assert run.results[HARDENED].startswith(("refused", "UnpicklingError: Weights only load failed"))


def test_what_people_really_load_is_loaded(run: Run) -> None:
    assert {name: run.results[name] for name in BENIGN} == dict.fromkeys(BENIGN, "loaded")


def test_a_file_that_is_not_there_is_missed_as_ever(run: Run) -> None:
    assert run.results["no such file"].startswith("FileNotFoundError")


def test_a_refusal_that_the_program_swallowed_ends_it_with_126(run: Run) -> None:
    assert run.code == 126
    assert "a load was refused, and the program went on" in run.messages


def test_the_payloads_are_live(samples: Path, tmp_path: Path) -> None:
    """Without the guard, each of them runs: otherwise nothing above could fail."""
    guarded_files.attacks(tmp_path)
    code = (
        "import sys, pickle, joblib, torch, numpy as np\nfrom pathlib import Path\nhere = Path(sys.argv[1])\n"
        "torch.load(here / 'evil.pt', weights_only=False)\ntorch.load(here / 'evil-legacy.pt', weights_only=False)\n"
        "joblib.load(here / 'evil.joblib')\njoblib.load(here / 'evil-compressed.joblib')\n"
        "np.load(here / 'evil.npy', allow_pickle=True)\n"
        "for name in ('evil.pkl', 'evil-inst.dat', 'evil-old.dat', 'evil-dotted.dat', 'evil-alias.dat'):\n"
        "    for marker in here.glob('marker of pickle'): marker.unlink()\n"
        "    pickle.load((here / name).open('rb'))\n    assert (here / 'marker of pickle').exists(), name\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    kinds = ("evil.pt", "legacy", "joblib", "compressed joblib", "npy", "pickle")
    assert {path.name for path in tmp_path.glob("marker*")} == {f"marker of {kind}" for kind in kinds}
