"""The second opinion on a twin: the safetensors library itself, in a process of its own, compared with the plan."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import IO

from aiverify.convert.plan import ConversionError, ConversionPlan
from aiverify.formats.safetensors import shown

_SECONDS = 300
_PROGRAM = Path(__file__).with_name("reopening.py")


def check_twin(path: Path, plan: ConversionPlan, *, name: str | None = None) -> None:
    """Open the safetensors file ``path`` and compare names, dtypes, shapes and metadata with ``plan``.

    Raises ConversionError, which calls the file ``name``, if the library refuses it or sees something else.
    """
    called = name or path.name
    with _reopened(path, called) as answer:
        try:
            _compare(answer, plan, called)
        except (ValueError, KeyError, TypeError) as error:
            raise ConversionError(f"the safetensors library could not be asked about {called}: {error}") from error


def _compare(answer: IO[str], plan: ConversionPlan, called: str) -> None:
    facts = json.loads(answer.readline())
    if "error" in facts:
        raise ConversionError(f"the safetensors library refuses {called}: {facts['error']}")
    if facts["metadata"] != plan.metadata:
        raise ConversionError(f"the safetensors library sees other metadata in {called} than was written")
    for tensor in sorted(plan.tensors, key=attrgetter("name")):
        line = answer.readline()
        name, *seen = json.loads(line) if line else [None]
        if name != tensor.name:
            raise ConversionError(f"the safetensors library sees other tensors in {called} than were written")
        expected = [tensor.dtype, list(tensor.shape)]
        if seen != expected:
            raise ConversionError(f"the safetensors library sees {shown(name)} as {seen}, not {expected}")
    if answer.readline():
        raise ConversionError(f"the safetensors library sees other tensors in {called} than were written")


@contextmanager
def _reopened(path: Path, called: str) -> Iterator[IO[str]]:
    """What the library sees, in a file: for many tensors it is as large as everything else that is in memory."""
    question = json.dumps({"path": str(path.absolute()), "packages": sys.path})
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
        try:
            subprocess.run(  # noqa: S603 - our own program, and nothing of the artifact on the command line
                [sys.executable, "-I", "-S", str(_PROGRAM)],
                input=question,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                timeout=_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ConversionError(f"the safetensors library could not be asked about {called}: {error}") from error
        answer.seek(0)
        yield answer
