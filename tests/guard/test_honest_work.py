"""What the guard must not change: real libraries, workers and pools give equal results with it and without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import guarded_files
import pytest
from end_to_end import Machine

WORK = Path(guarded_files.__file__).with_name("guarded_work.py")


def work(machine: Machine, *arguments: str) -> Any:
    ran = subprocess.run(
        [sys.executable, str(WORK), *arguments],
        cwd=machine.here,
        env=machine.environ(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) if ran.stdout else None


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    models = machine.here / "models"
    work(machine, "make", str(models))
    return tuple(work(machine, how, str(models), str(machine.home / "store")) for how in ("plain", "guarded"))


PARTS = ["transformers_models", "loaders", "pools", "threads_and_tasks", "training", "caches", "estimators"]


@pytest.mark.parametrize("part", PARTS)
def test_results_are_equal(results: tuple[Any, Any], part: str) -> None:
    plain, guarded = results
    assert plain[part]
    assert guarded[part] == plain[part]


def test_nothing_is_left_out(results: tuple[Any, Any]) -> None:
    assert set(results[0]) == set(PARTS)


def test_children_are_guarded_where_the_script_guards_them(results: tuple[Any, Any]) -> None:
    assert {method: found[-1] for method, found in results[1]["pools"].items()} == {
        "fork": True,
        "spawn": True,
        "forkserver": True,
    }
