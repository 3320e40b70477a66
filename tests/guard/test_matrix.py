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
from guarded_swaps import SWAPPED, SWAPS

CHILD = Path(guarded_files.__file__).with_name("guarded_loads.py")
BENIGN = {
    *("torch.load good", "torch.load early good", "joblib.load good", "joblib.load compressed", "np.load good"),
    *("a package", "a package of a file", "a distributed checkpoint"),
    *("np.load objects", "safetensors good", "safetensors bytes", "pickle good", "bytes that are called like a model"),
    *("pd.read_pickle good", "joblib.load good while another thread loads"),
    *("own functions", "own results while another thread loads", "the load itself", "a load that reads another pickle"),
    "a load of a stream that reads another pickle",
    *(f"before a swap {how}: {kind}" for how in SWAPS for kind in SWAPPED),
    *("a swap while it is loaded, mmap False", "a swap while it is loaded, mmap True"),
    *(f"{where} good.joblib" for where in ("asyncio", "a pool of threads", "a pool of processes")),
    *("a file that is exchanged all the time", "EXT of a harmless name, first", "EXT of a harmless name, second"),
}

# A load function that was stored away, and a file that is not called like a model: PyTorch refuses, by the environment.
HARDENED = "held torch.load evil-renamed.dat"

# Somebody else's line of Python, before the script and unknown to it, as a site hook or a wrapper would run it.
STARTED = """
import aiverify, os, runpy, sys
aiverify.protect()
sys.argv[:1] = []
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
#: How the guard comes into the child: what it is told, and the words before its script.
ACTIVATIONS = {
    "protect, then import": ("before", ()),
    "import, then protect": ("after", ()),
    "guard, then import": ("scope-before", ()),
    "import, then guard": ("scope-after", ()),
    "from outside": ("outside", ("-c", STARTED)),
    "aiverify run": ("outside", ("-m", "aiverify", "run", "--", sys.executable)),
}


@dataclass(frozen=True)
class Run:
    results: dict[str, str]
    code: int
    messages: str


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is loaded, the same in each run: so most of it is examined only once. Here payloads leave their markers."""
    folder = tmp_path_factory.mktemp("samples")
    guarded_files.benign(folder)
    guarded_files.attacks(folder)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("shared") / "store")


@pytest.fixture(scope="module", params=ACTIVATIONS)
def run(request: pytest.FixtureRequest, samples: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    told, words = ACTIVATIONS[request.param]
    machine = Machine(tmp_path_factory.mktemp("machine"))
    shutil.copytree(samples, machine.here, symlinks=True, dirs_exist_ok=True)
    command = [sys.executable, *words, str(CHILD), told, str(machine.here), store]
    ran = subprocess.run(
        command, env=machine.environ(AIVERIFY_STORE=store), capture_output=True, text=True, timeout=120
    )
    assert ran.stdout, ran.stderr
    return Run(json.loads(ran.stdout), ran.returncode, ran.stderr)


def test_no_payload_runs(run: Run, samples: Path) -> None:
    assert not list(samples.glob("marker*"))


def test_every_attack_is_refused_by_the_guard(run: Run) -> None:
    others = {name: said for name, said in run.results.items() if name not in BENIGN | {"no such file", HARDENED}}
    assert len(others) > 120
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
        "np.load(here / 'evil.npy', allow_pickle=True)\npickle.load((here / 'detour.sav').open('rb'))\n"
        "torch.package.PackageImporter(here / 'evil-package.pt').import_module('evil')\n"
        "for name in ('evil.pkl', 'evil-inst.dat', 'evil-old.dat', 'evil-dotted.dat', 'evil-alias.dat'):\n"
        "    for marker in here.glob('marker of pickle'): marker.unlink()\n"
        "    pickle.load((here / name).open('rb'))\n    assert (here / 'marker of pickle').exists(), name\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    kinds = ("evil.pt", "legacy", "joblib", "compressed joblib", "npy", "pickle", "a detour", "a package")
    assert {path.name for path in tmp_path.glob("marker*")} == {f"marker of {kind}" for kind in kinds}
