"""``aiverify report``: a saved report in another form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import options
from aiverify.cli.groups import grouped

if TYPE_CHECKING:
    from aiverify.report import Report

STDIN = Path("-")


@grouped
def report(
    path: Annotated[
        Path, typer.Argument(metavar="REPORT.json", help="What --format json wrote; - reads stdin.", show_default=False)
    ],
    *,
    written: options.Written,
    loudness: options.Loudness,
) -> None:
    """Write a saved report in any form. Nothing is examined, and the verdict is the one that was saved.

    Exit codes: 0 written, whatever the verdict; 2 no report, or it could not be written.
    """
    from aiverify.cli.session import errors_said, render

    with errors_said():
        render(_saved(path), written, verbosity=loudness.verbosity)


def _saved(path: Path) -> tuple[Report, ...]:
    """The reports in the file at ``path``. Raises ReporterError, which names the file and the place in it."""
    from aiverify.files import read_at_most
    from aiverify.reporters.interface import ReporterError
    from aiverify.reporters.reading import MAX_BYTES, load_all

    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1) if sys.stdin is not None else b""
        else:
            content = read_at_most(path, MAX_BYTES)
        return load_all(content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ReporterError(f"{path}: cannot be read: {reason or error}") from error
    except ReporterError as error:
        raise ReporterError(f"{path}: {error}", hint=error.hint) from error
