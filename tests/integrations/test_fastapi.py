"""A FastAPI service behind a real server: it starts with a model that passes, and with no other."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from end_to_end import Machine
from guarded_files import Payload
from integration_pages import PATIENCE, examples

(EXAMPLE,) = examples("fastapi.md")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    (made.here / "app.py").write_text(EXAMPLE)
    return made


def served(machine: Machine) -> subprocess.Popen[str]:
    """The service, on a port that is free."""
    return subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:service", "--port", "0", "--no-use-colors"],
        cwd=machine.here,
        env=machine.environ(AIVERIFY_STORE=str(machine.home / "store")),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_model_that_passes_is_served(machine: Machine) -> None:
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    inputs = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    model = LogisticRegression().fit(inputs, [0, 1, 0, 1])
    joblib.dump(model, machine.here / "model.joblib")
    service = served(machine)
    try:
        assert service.stderr is not None
        said = ""
        for line in service.stderr:
            said += line
            address = re.search(r"running on (http://127\.0\.0\.1:\d+)", line)
            if address:
                break
        else:
            raise AssertionError(said)
        body = json.dumps(inputs.tolist()).encode()
        request = urllib.request.Request(f"{address[1]}/classes", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert json.load(answer) == model.predict(inputs).tolist()
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=PATIENCE)
    finally:
        service.kill()
        service.communicate()


def test_a_service_does_not_start_with_a_model_that_is_refused(machine: Machine) -> None:
    import joblib

    joblib.dump(Payload(machine.here / "marker"), machine.here / "model.joblib")
    service = served(machine)
    _, said = service.communicate(timeout=PATIENCE)
    assert service.returncode not in (0, None), said
    assert "LoadRefused: model.joblib: not loaded, block" in said
    assert "running on" not in said
    assert not (machine.here / "marker").exists()
