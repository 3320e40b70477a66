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


@pytest.mark.parametrize("part", ["transformers_models", "loaders", "pools", "estimators"])
def test_results_are_equal(results: tuple[Any, Any], part: str) -> None:
    plain, guarded = results
    assert plain[part]
    assert guarded[part] == plain[part]
