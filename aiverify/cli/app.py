"""The sub-commands, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aiverify.cli import (
    advisories,
    attest,
    audit,
    convert,
    demo,
    explain,
    hook,
    lock,
    policy,
    report,
    run,
    scan,
    sign,
    store,
    verify,
)
from aiverify.cli.parameters import QuickCommand, QuickGroup
from aiverify.cli.printing import say
from aiverify.version import __version__


class Interrupted(SystemExit):
    """The user pressed Ctrl-C, and what was begun has been cleaned up."""


class _Commands(QuickGroup):
    """The commands. An interrupt is neither a verdict nor a crash: exit code 2."""

    def invoke(self, ctx: Any) -> object:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("\ninterrupted: no verdict, and nothing half-written")
            raise Interrupted(2) from None


app = typer.Typer(
    cls=_Commands,
    name="aiverify",
    help="Verify model artifacts before anything loads them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 review or block, 2 could not verify.",
)
app.command(cls=QuickCommand)(verify.verify)
app.command(cls=QuickCommand)(scan.scan)
app.command(cls=QuickCommand)(convert.convert)
app.command(cls=QuickCommand)(sign.sign)
app.command(cls=QuickCommand)(attest.attest)
app.command(cls=QuickCommand)(lock.lock)
app.command(cls=QuickCommand)(audit.audit)
app.command(cls=QuickCommand)(report.report)
app.command(cls=run.Launcher, context_settings={"allow_interspersed_args": False})(run.run)
app.add_typer(hook.app)
app.add_typer(store.app)
app.add_typer(advisories.app)
app.add_typer(policy.app)
app.command(cls=QuickCommand)(explain.explain)
app.command(cls=QuickCommand)(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aiverify {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Verify model artifacts before anything loads them."""
