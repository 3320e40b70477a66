"""The command line. One module per sub-command, with nothing in it but arguments and calls."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the ``aiverify`` command."""
    try:
        from aiverify.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(2)
