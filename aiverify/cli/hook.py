"""``aiverify hook``: an interpreter that always starts guarded, for images and environments that serve models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import run
from aiverify.cli.parameters import QuickCommand, QuickGroup

if TYPE_CHECKING:
    from aiverify.activation.installing import Hook

app = typer.Typer(
    cls=QuickGroup,
    name="hook",
    help="Have an interpreter always start under the guard: install, check, remove.",
    no_args_is_help=True,
)

Python = Annotated[
    Path | None, typer.Option(help="The interpreter; otherwise the one that aiverify itself runs with.", metavar="PATH")
]


@app.command(cls=QuickCommand)
def install(
    policy: run.Policy = None,
    mode: run.Modes = run.Mode.ENFORCE,
    rehash: run.Rehashing = run.Rehash.CHANGED,
    python: Python = None,
) -> None:
    """Write one .pth file into the site-packages of the interpreter, and start it to see that it works.

    Exit codes: 0 done, 2 not done.
    """
    from aiverify.activation import installing
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said
    from aiverify.guard.session import chosen

    with errors_said():
        found = installing.install(_interpreter(python), chosen(policy, mode.value, None, rehash.value))
        tell(f"wrote {found.file}\n{_guarded(found)}")


@app.command(cls=QuickCommand)
def status(python: Python = None) -> None:
    """Start the interpreter, and say whether it starts guarded.

    Exit codes: 0 installed and works, 1 not, 2 the interpreter cannot be started.
    """
    from aiverify.activation import installing
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said

    with errors_said():
        found = installing.status(_interpreter(python))
        if found.installed and found.active:
            tell(f"{_guarded(found)}\nby {found.file}")
            return
        tell(f"{found.python} does not start guarded: " + (found.trouble or f"there is no hook at {found.file}"))
        raise typer.Exit(1)


@app.command(cls=QuickCommand)
def remove(python: Python = None) -> None:
    """Remove the file that `aiverify hook install` wrote.

    Exit codes: 0 done or nothing to do, 2 not done.
    """
    from aiverify.activation import installing
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said

    with errors_said():
        chosen = _interpreter(python)
        file = installing.remove(chosen)
        tell(f"removed {file}" if file is not None else f"{chosen} has no hook")


def _interpreter(chosen: Path | None) -> Path:
    return (chosen or Path(sys.executable)).absolute()


def _guarded(hook: Hook) -> str:
    policy = f"policy {hook.policy}" if hook.policy else "the policy that is found where it is started"
    return f"{hook.python} starts guarded: {hook.mode}, {policy}"
