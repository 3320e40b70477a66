"""The table of limits in docs/guard.md is what a process with live payloads comes to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from end_to_end import Machine

ROOT = Path(__file__).parents[2]


def test_the_table_of_limits_is_what_happens(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    environment = machine.environ()
    environment["PYTHONPATH"] += f":{ROOT / 'tests'}"
    command = [
        sys.executable,
        str(ROOT / "tests" / "guarded_limits.py"),
        str(machine.here),
        str(machine.home / "store"),
    ]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.stdout, ran.stderr
    page = (ROOT / "docs" / "guard.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*\| (stopped|ran) \|$", page, re.MULTILINE))
    assert json.loads(ran.stdout) == rows
