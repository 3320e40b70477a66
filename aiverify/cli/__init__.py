"""The command line. One module per sub-command, with nothing in it but arguments and calls."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from pathlib import Path


def main() -> None:
    """The entry point of the ``aiverify`` command."""
    _open_what_is_closed()
    _escape_what_cannot_be_shown()
    gc.set_threshold(100_000, 20, 100)  # imports and graphs make many objects that live on, and few circles
    try:
        from aiverify.cli.app import Interrupted, app

        try:
            app()
        except Interrupted:
            os._exit(2)  # the interpreter's own end would wait for threads that wait for the network
    except KeyboardInterrupt:
        _end("\ninterrupted\n")
    except OSError as error:  # the commands report their own; what is left is a help text that cannot be printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end(f"error: cannot print: {error.strerror or error}\n")


def _open_what_is_closed() -> None:
    """A standard stream that the caller closed is no reason to fail."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end


def _escape_what_cannot_be_shown() -> None:
    """Help texts hold characters that not every encoding has."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _end(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    sys.exit(2)
