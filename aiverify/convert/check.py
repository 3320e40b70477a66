"""The second opinion on a twin: the safetensors library itself, in a process of its own, compared with the plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from aiverify.convert.plan import ConversionError, ConversionPlan
from aiverify.formats.safetensors import shown

_SECONDS = 300
_PROGRAM = Path(__file__).with_name("reopening.py")


def check_twin(path: Path, plan: ConversionPlan, *, name: str | None = None) -> None:
    """Open the safetensors file ``path`` and compare names, dtypes, shapes and metadata with ``plan``.

    Raises ConversionError, which calls the file ``name``, if the library refuses it or sees something else.
    """
    called = name or path.name
    seen = _reopen(path, called)
    expected = {tensor.name: [tensor.dtype, list(tensor.shape)] for tensor in plan.tensors}
    tensors = seen.get("tensors")
    if not isinstance(tensors, dict) or tensors.keys() != expected.keys():
        raise ConversionError(f"the safetensors library sees other tensors in {called} than were written")
    for tensor, description in expected.items():
        if tensors[tensor] != description:
            raise ConversionError(
                f"the safetensors library sees {shown(tensor)} as {tensors[tensor]}, not {description}"
            )
    if seen.get("metadata") != {"format": "pt", **dict(plan.aliases)}:
        raise ConversionError(f"the safetensors library sees other metadata in {called} than was written")


def _reopen(path: Path, called: str) -> dict[str, object]:
    question = json.dumps({"path": str(path.absolute()), "packages": sys.path})
    try:
        child = subprocess.run(  # noqa: S603 - our own program, and nothing of the artifact on the command line
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            input=question,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=True,
        )
        answer = json.loads(child.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConversionError(f"the safetensors library could not be asked about {called}: {error}") from error
    if "error" in answer:
        raise ConversionError(f"the safetensors library refuses {called}: {answer['error']}")
    return dict(answer)
