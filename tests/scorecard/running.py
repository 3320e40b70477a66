"""Runs the scanners over the cases, and reads a judgement out of each exit code."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

AIVERIFY = "aiverify"
_CHILD = Path(__file__).with_name("peer_child.py")
_SAMPLE_OF_COMMANDS = 40


class Judgement(enum.Enum):
    """What a scanner said of one file."""

    ALARM = "alarm"
    UNABLE = "unable"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file or folder to judge; of a benign one, ``mechanism`` is the library that wrote it."""

    name: str
    path: Path
    mechanism: str
    container: str
    hostile: bool


# What the documented exit codes mean; every other code, a crash and a time-out mean that it could not examine the file.
PEERS: Mapping[str, Mapping[int, Judgement]] = {
    name: {0: Judgement.SILENT, 1: Judgement.ALARM} for name in ("picklescan", "modelscan", "modelaudit", "fickling")
}
_QUIET = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_COLOR": "1"}


def judgements(cases: Sequence[Case], peers: Path, jobs: int) -> dict[str, list[Judgement]]:
    """For each scanner, its judgement of each case. ``peers`` holds the Python of the peers' environment.

    ``jobs`` processes of peers run at a time, beside our own examination.
    """
    paths = [str(case.path) for case in cases]
    parts = [(name, turn) for name in ("modelaudit", "modelscan", "picklescan", "fickling") for turn in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        answers = [pool.submit(_ask, peers / "python", name, paths[turn::jobs]) for name, turn in parts]
        result: dict[str, list[Judgement]] = {AIVERIFY: _ours(cases)}
        result |= {name: [Judgement.UNABLE] * len(paths) for name in PEERS}
        for (name, turn), answer in zip(parts, answers, strict=True):
            result[name][turn::jobs] = [PEERS[name].get(code, Judgement.UNABLE) for code in answer.result()]
    return result


def _ask(python: Path, scanner: str, paths: list[str]) -> list[int | None]:
    with tempfile.TemporaryDirectory() as elsewhere:  # some write files where they are started
        done = subprocess.run(
            [python, _CHILD, scanner],
            input=json.dumps(paths),
            capture_output=True,
            text=True,
            check=True,
            cwd=elsewhere,
            env={**os.environ, **_QUIET, "HOME": elsewhere},
        )
    return json.loads(done.stdout)


def _ours(cases: Sequence[Case]) -> list[Judgement]:
    """In this process; a part of the cases once more by the command, which has to agree."""
    from aiverify.api import scan
    from aiverify.errors import AiverifyError
    from aiverify.report import Outcome

    meaning = {Outcome.PASS: Judgement.SILENT, Outcome.ERROR: Judgement.UNABLE}
    result = []
    for case in cases:
        try:
            outcome = scan(case.path).verdict.outcome
        except AiverifyError:
            outcome = Outcome.ERROR
        result.append(meaning.get(outcome, Judgement.ALARM))
        if sys.stderr.isatty():
            print(f"\r{len(result)} of {len(cases)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    for index in range(0, len(cases), max(1, len(cases) // _SAMPLE_OF_COMMANDS)):
        command = [sys.executable, "-m", "aiverify", "scan", str(cases[index].path)]
        code = subprocess.run(command, capture_output=True, check=False).returncode
        by_command = {0: Judgement.SILENT, 1: Judgement.ALARM}.get(code, Judgement.UNABLE)
        if by_command is not result[index]:
            raise RuntimeError(
                f"{cases[index].name}: the command ends with {code}, the call says {result[index].value}"
            )
    return result
