"""The command line as a user meets it: a process of its own, with an empty home and nothing of this machine's settings.

Also small models to point it at. The sample repositories of the demo are used wherever they will do.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import aiverify

SAMPLES = Path(str(resources.files("aiverify.demo"))) / "repositories" / "demo"
TRUST = SAMPLES.parent.parent / "trust"
PACKAGE_HOME = Path(aiverify.__file__).parent.parent
PATIENCE = 60.0  # seconds until a command counts as hanging


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        """The JSON report on stdout."""
        return json.loads(self.out)


class Machine:
    """A user's machine: an empty home, a working directory, and environment variables."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.home = folder / "home"
        self.here = folder / "here"
        self.home.mkdir()
        self.here.mkdir()
        self.environment = environment

    def environ(self, measured: bool = True, **more: str) -> dict[str, str]:
        """The whole environment of a command. Coverage finds its way into it unless it is not ``measured``."""
        coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_") and measured}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "PYTHONPATH": str(PACKAGE_HOME),
            "LC_ALL": "C.UTF-8",
            **coverage,
            **self.environment,
            **more,
        }

    def run(
        self,
        *arguments: str | Path,
        stdout: int | None = None,
        prefix: Sequence[str] = (),
        preexec: Callable[[], None] | None = None,
        measured: bool = True,
        **environment: str,
    ) -> Ran:
        """Run ``aiverify`` to its end. No traceback may ever be seen."""
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "aiverify", *map(str, arguments)],
            cwd=self.here,
            env=self.environ(measured, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            preexec_fn=preexec,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "This is a bug" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout or "", done.stderr)

    def fails(self, *arguments: str | Path, **options: Any) -> str:
        """Run ``aiverify`` and have it fail: exit code 2, nothing on stdout. The message, without ``error: ``."""
        ran = self.run(*arguments, **options)
        assert (ran.code, ran.out) == (2, ""), ran
        assert ran.err.count("error: ") == 1, ran.err
        assert ran.err.startswith("error: "), ran.err
        assert len(ran.err.splitlines()) <= 2, ran.err
        return ran.err.removeprefix("error: ")

    def interrupt(
        self, *arguments: str | Path, when: Callable[[str], bool], patience: float = PATIENCE, **environment: str
    ) -> Ran:
        """Run ``aiverify -v`` and press Ctrl-C as soon as ``when`` is true of a line on stderr.

        It is pressed again whenever the command has not ended for ``patience`` seconds. The command is not measured:
        an interrupt that lands while coverage holds its lock (``Collector.lock_data``) leaves the process waiting for
        that lock for ever, and what was measured would be lost with the process anyway.
        """
        child = subprocess.Popen(
            [sys.executable, "-m", "aiverify", *map(str, arguments), "-v"],
            cwd=self.here,
            env=self.environ(measured=False, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        seen = ""
        try:
            assert child.stderr is not None
            for line in child.stderr:
                seen += line
                if when(line):
                    break
            else:
                raise AssertionError(f"ended too soon: {seen}")
            out, err = self._pressed(child, patience)
        finally:
            child.kill()
            child.wait()
        return Ran(child.returncode, out, seen + err)

    @staticmethod
    def _pressed(child: subprocess.Popen[str], patience: float) -> tuple[str, str]:
        for _ in range(int(PATIENCE / patience)):
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=patience)
        raise AssertionError("Ctrl-C does not end it")


def sample(name: str, folder: Path) -> Path:
    """A copy of one of the demo's repositories."""
    return Path(shutil.copytree(SAMPLES / name, folder / name))


def weights(folder: Path, name: str = "model.safetensors") -> Path:
    """A folder with honest safetensors and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / "signed" / "model.safetensors", folder / name)
    return folder


def save_with_torch(value: object, path: Path, **options: object) -> Path:
    """A checkpoint, written by torch itself. The folder is made."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path, **options)
    return path


def checkpoint_of_unknown_class(path: Path) -> Path:
    """A checkpoint with tensors and with an object of a class that nobody knows: to be reviewed, and convertible."""
    import torch

    module = types.ModuleType("mylib")
    module.Settings = type("Settings", (), {"__module__": "mylib"})  # type: ignore[attr-defined]
    sys.modules["mylib"] = module
    try:
        settings = module.Settings()
        settings.rate = 0.5
        return save_with_torch({"weight": torch.arange(12.0).reshape(3, 4), "settings": settings}, path)
    finally:
        del sys.modules["mylib"]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file by its relative path, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def outcomes(report: Mapping[str, Any]) -> dict[str, str]:
    """The outcome of each variant."""
    return {variant["name"]: variant["outcome"] for variant in report["variants"]}
