"""What a command would start, as far as that can be seen before it runs: is it Python, and can the guard enter it?

Rules it keeps:

1. A script is what the first line of its file says, and so on, as the kernel has it.
2. The first word that is called like a Python interpreter counts as one, whatever stands before it. The words behind it
   are read as CPython reads them.
3. An interpreter that is told to ignore PYTHONPATH (``-E``, ``-I``) or ``sitecustomize`` (``-S``) is refused.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiverify.errors import AiverifyError

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*[dmt]*(?:-dbg)?$")
_ISOLATING = frozenset("EIS")
_LAST = frozenset("cm")  # what follows belongs to the program
_VALUED = frozenset("WX")
_LONG_VALUED = "--check-hash-based-pycs"
_MOST_SCRIPTS = 5  # links of the chain that the kernel follows
_FIRST_LINE = 256  # bytes of it that the kernel reads


class ActivationError(AiverifyError):
    """A program cannot be run under the guard, or an interpreter cannot be given a hook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is started: the full path of the program, and all its words. ``python``: the process itself is Python."""

    program: Path
    words: tuple[str, ...]
    python: bool


def examined(words: Sequence[str]) -> Command:
    """The command that ``words`` name. Raises ActivationError if it cannot be started, or not under the guard."""
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise ActivationError(f"{words[0] if words else 'nothing'}: no such program")
    program = Path(found).absolute()
    expanded = _expanded([str(program), *words[1:]])
    place = _python(expanded)
    if place is not None:
        isolating = _isolating(expanded[place + 1 :])
        if isolating:
            raise ActivationError(
                f"{shlex.join(expanded[: place + 2])}: with -{isolating}, the guard cannot enter this interpreter",
                hint="Start it without that option. `aiverify hook install` guards interpreters with -I and -E, too.",
            )
    itself = place == 0 or (place is not None and Path(expanded[0]).name == "env")
    return Command(program=program, words=tuple(words), python=itself)


def _expanded(words: list[str]) -> list[str]:
    """``words`` with the interpreters of scripts before them, and with what ``env -S`` splits."""
    for _ in range(_MOST_SCRIPTS):
        line = _first_line(words[0])
        if not line:
            break
        words = [*line, *words]
    if Path(words[0]).name == "env":
        words = [part for word in words for part in _split(word)]
    return words


def _first_line(file: str) -> list[str]:
    """The interpreter that the first line of a script names, and its one argument."""
    try:
        with Path(file).open("rb") as script:
            line = script.read(_FIRST_LINE).partition(b"\n")[0]
    except OSError:
        return []
    return os.fsdecode(line[2:].strip()).split(maxsplit=1) if line.startswith(b"#!") else []


def _split(word: str) -> list[str]:
    string = re.match(r"-[a-z]*S\s*(.+)|--split-string=(.+)", word, re.DOTALL)
    if string is None:
        return [word]
    try:
        return shlex.split(string[1] or string[2])
    except ValueError:
        return [word]


def _python(words: Sequence[str]) -> int | None:
    """Where the first Python interpreter stands among ``words``."""
    if _is_python(words[0]) or _is_python(os.path.realpath(words[0])):
        return 0
    return next((place for place, word in enumerate(words) if _is_python(word)), None)


def _is_python(word: str) -> bool:
    return _PYTHON.match(os.path.basename(word)) is not None  # noqa: PTH119 - a word may be no path at all


def _isolating(words: Sequence[str]) -> str:
    """The letter of an option of CPython that keeps the guard out, empty if there is none. As getopt reads them."""
    rest = iter(words)
    for word in rest:
        if word == _LONG_VALUED:
            next(rest, None)
        if word.startswith("--"):
            continue
        if word == "-" or not word.startswith("-"):
            break
        for at, letter in enumerate(word[1:], 2):
            if letter in _ISOLATING:
                return letter
            if letter in _LAST:
                return ""
            if letter in _VALUED:
                if at == len(word):
                    next(rest, None)
                break
    return ""


__all__ = ["ActivationError", "Command", "examined"]
