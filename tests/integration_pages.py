"""The pages on integrations, and what runs their examples: a process with an empty home, and a Hub on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from end_to_end import Machine

PAGES = Path(__file__).parents[1] / "docs" / "integrations"
PATIENCE = 300.0  # seconds: some libraries take long to import where much else is going on
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: What a script may use after an example: ``say`` prints what is found, ``attempt`` says what became of a load.
TOLD = """
import json as _json, os as _os
import aiverify as _aiverify

def say(**found):
    print("found: " + _json.dumps(found))

def attempt(load):
    try:
        load()
    except BaseException as error:
        while error is not None:
            if isinstance(error, _aiverify.LoadRefused):
                return "refused"
            error, last = error.__cause__ or error.__context__, error
        return f"{type(last).__name__}: {last}"
    return "loaded"
"""


def waive(place: Path, sources: Iterable[Path]) -> None:
    """Write a policy that says of source files that somebody has read them."""
    lines = (
        f'[[waivers]]\nrule = "AIV502"\nsha256 = "{hashlib.sha256(source.read_bytes()).hexdigest()}"\n'
        'reason = "read"\nexpires = 2999-01-01\n'
        for source in sources
    )
    place.write_text("".join(lines))


def examples(page: str) -> list[str]:
    """The Python examples of a page, from top to bottom."""
    return _PYTHON.findall((PAGES / page).read_text("utf-8"))


def ran(machine: Machine, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, in the machine's folder. What is refused there does not count in its status."""
    place = machine.home / "script.py"
    place.write_text(script)
    return subprocess.run(
        [sys.executable, str(place)],
        cwd=machine.here,
        env=machine.environ(
            AIVERIFY_STORE=str(machine.home / "store"),
            HF_HUB_DISABLE_TELEMETRY="1",
            KERAS_BACKEND="torch",
            TOKENIZERS_PARALLELISM="false",
            **environment,
        ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def found(machine: Machine, example: str, more: str, **environment: str) -> dict[str, Any]:
    """Run an example as it stands on its page and then ``more``, and return what that said."""
    end = ran(machine, f"{example}\n{TOLD}\n{more}", **environment)
    said = [json.loads(line[7:]) for line in end.stdout.splitlines() if line.startswith("found: ")]
    assert said, end.stderr
    return {name: value for part in said for name, value in part.items()}
