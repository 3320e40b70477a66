"""Printing to stdout and stderr, so that neither a stream that breaks nor a hostile name does harm."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from aiverify.errors import AiverifyError
from aiverify.reporters.hostile import printable_lines

_MAX_LINES = 50


class PrintError(AiverifyError):
    """Standard output cannot be written."""


def say(text: str) -> None:
    """A message for a person, on stderr. Names from an artifact cannot play tricks with the terminal."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    lines, _ = printable_lines(text, encoding=encoding, max_lines=_MAX_LINES)
    with contextlib.suppress(OSError):
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()


def tell(text: str) -> None:
    """A result, on stdout, ending in a line break. A reader that has seen enough is no error.

    What the encoding of stdout lacks is escaped. Raises PrintError.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
    except OSError as error:
        _give_up_stdout()
        raise PrintError(f"stdout: cannot be written: {error.strerror or error}") from error


def put(text: str, output: Path | None) -> None:
    """``text`` on stdout, or in the file ``output``, which is replaced as a whole or not at all.

    Raises PrintError and WriteError.
    """
    if output is None:
        tell(text)
        return
    from aiverify.files import write_whole

    write_whole(output, text.encode("utf-8"))


def _give_up_stdout() -> None:
    """Let what is still buffered go nowhere, or the interpreter would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
