"""``aiverify run``: a program, and everything that it starts, under the guard."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from aiverify.cli.parameters import QuickCommand

_NOT_GUARDED = 125


class Mode(enum.StrEnum):
    """What becomes of a load that is not known to be good, nor to be bad."""

    ENFORCE = "enforce"
    WARN = "warn"


class Rehash(enum.StrEnum):
    """When the digest of a file is taken again."""

    CHANGED = "changed"
    ALWAYS = "always"


Policy = Annotated[
    Path | None,
    typer.Option(
        help="Policy file (TOML). Without it: the nearest aiverify.toml or pyproject.toml, from here upwards."
    ),
]
Modes = Annotated[Mode, typer.Option(help="What asks for review is refused, or loaded with a warning.")]
Rehashing = Annotated[Rehash, typer.Option(help="When the digest of a file is taken again.")]


class Launcher(QuickCommand):
    """A command whose own failures all have the same status, so that they are not taken for the program's."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Read the arguments. An error in them is a failure of ours."""
        try:
            return super().make_context(*arguments, **named)
        except Exception as error:
            if hasattr(error, "exit_code"):
                error.exit_code = _NOT_GUARDED
            raise


def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.", metavar="COMMAND…")],
    policy: Policy = None,
    mode: Modes = Mode.ENFORCE,
    store: Annotated[
        Path | None, typer.Option(help="The folder of the store; otherwise AIVERIFY_STORE, or your cache folder.")
    ] = None,
    rehash: Rehashing = Rehash.CHANGED,
) -> None:
    """Run a program under the guard: it, and every Python that it starts, loads only what was verified.

    Exit codes: the program's own (128 + n after signal n); 125 it could not be guarded, or was not started; 126 a load
    was refused, although it ended with 0.
    """
    from aiverify.activation.launching import launch
    from aiverify.cli.printing import say
    from aiverify.cli.session import errors_said
    from aiverify.guard.session import chosen

    try:
        with errors_said():
            ended = launch(command, chosen(policy, mode.value, store, rehash.value))
    except typer.Exit:
        raise typer.Exit(_NOT_GUARDED) from None
    for line in ended.said:
        say(f"aiverify: {line}" if not line.startswith(" ") else line)
    raise typer.Exit(ended.status)
