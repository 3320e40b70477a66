"""Runs the shell steps of a composite action as written, the way GitHub's runner does.

A step's script is a file for ``bash --noprofile --norc -eo pipefail``; its environment is the job's, plus ``env`` with
the expressions filled in; what it appends to ``GITHUB_OUTPUT`` are its outputs. Only the expressions are known that
the action uses; any other is a KeyError.

Source: GitHub Docs, "Metadata syntax for GitHub Actions" and "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class Runner:
    """A job in which one action runs."""

    action: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def __post_init__(self) -> None:
        for name in ("temp", "workspace", "home"):
            (self.folder / name).mkdir()
        self.summary.touch()

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def temp(self) -> Path:
        return self.folder / "temp"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.md"

    @property
    def definition(self) -> Any:
        return yaml.safe_load((self.action / "action.yml").read_text("utf-8"))

    def step(self, name: str, inputs: Mapping[str, str]) -> int:
        """Run the step of this name. Its exit code."""
        (step,) = (step for step in self.definition["runs"]["steps"] if step["name"] == name)
        script, output = self.folder / "step.sh", self.folder / "output"
        script.write_text(step["run"])
        output.write_text("")
        filled = {key: self._filled(value, inputs) for key, value in step.get("env", {}).items()}
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env={**self._job(output), **self.environment, **filled},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        self.log += ran.stdout
        if "id" in step:
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return ran.returncode

    def _job(self, output: Path) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_ACTION_PATH": str(self.action),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_WORKSPACE": str(self.workspace),
        }

    def _filled(self, value: str, inputs: Mapping[str, str]) -> str:
        return EXPRESSION.sub(lambda match: self._value(match[1], inputs), str(value))

    def _value(self, expression: str, inputs: Mapping[str, str]) -> str:
        wanted, _, otherwise = expression.partition(" || ")
        match wanted.split("."):
            case ["inputs", name]:
                found = inputs.get(name, self._filled(self.definition["inputs"][name].get("default", ""), inputs))
            case ["steps", step, "outputs", name]:
                found = self.outputs.get(step, {}).get(name, "")
            case ["github", "token"]:
                found = "a-token"
            case _:
                raise KeyError(expression)
        return found or otherwise.strip("'")
