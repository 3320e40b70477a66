"""Summaries of Python sources, made in a child process (``summary_child``).

A source on which the child dies or is too slow has no summary, and the others get a child of their own. After
``_MAX_DEATHS`` of them nobody gets one. No summary is never "harmless".
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SECONDS = 20
MEMORY = 2 << 30
MAX_SOURCE = 1 << 20
_MAX_DEATHS = 3
_LONGEST_ANSWER = 4 << 20
_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from aiverify.repository.summary_child import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a source does and does when it is imported: mentions by kind. ``error`` tells why nothing is known.

    ``imports`` are the level, the module and the names of each import.
    """

    does: Mapping[str, Sequence[str]] = field(default_factory=dict)
    at_import: Mapping[str, Sequence[str]] = field(default_factory=dict)
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    error: str | None = None


def summaries(sources: Sequence[str]) -> list[Summary]:
    """The summary of each source, in order."""
    done: list[Summary] = []
    deaths = 0
    while len(done) < len(sources):
        if deaths == _MAX_DEATHS:
            done += [Summary(error="too many sources beside it ended their reader")] * (len(sources) - len(done))
            break
        answers, ended = _asked(sources[len(done) :])
        done += answers
        if len(done) < len(sources):
            deaths += 1
            done.append(Summary(error=ended))
    return done


def _asked(sources: Sequence[str]) -> tuple[list[Summary], str]:
    """What one child answers before it ends, and how it ended."""
    question = b"".join(json.dumps(source).encode("ascii") + b"\n" for source in sources)
    ended = "its reader ended without an answer"
    # -I: neither the environment nor the working directory may add modules to the process.
    command = [sys.executable, "-I", "-c", _BOOT, str(SECONDS), str(MEMORY), *sys.path]
    try:
        output = subprocess.run(  # noqa: S603 - a fixed command with our own module path
            command,
            input=question,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2 * SECONDS,
            check=False,
            start_new_session=True,
        ).stdout
    except subprocess.TimeoutExpired as error:  # what it had answered by then counts
        output, ended = error.output or b"", f"its reader gave no answer within {2 * SECONDS} s"
    except OSError as error:
        return [], f"its reader could not be started: {error.strerror or error}"
    answers = []
    for line in output.split(b"\n")[: len(sources)]:
        summary = _read(line)
        if summary is None:
            break
        answers.append(summary)
    return answers, ended


def _read(line: bytes) -> Summary | None:
    if len(line) > _LONGEST_ANSWER:
        return Summary(error="its summary is too long")
    try:
        answer: Any = json.loads(line)
        if "error" in answer:
            return Summary(error=str(answer["error"]))
        return Summary(
            does=answer["does"],
            at_import=answer["at_import"],
            imports=tuple((int(level), str(module), tuple(names)) for level, module, names in answer["imports"]),
        )
    except (ValueError, KeyError, TypeError):  # the last line of a child that died
        return None
