"""The sub-commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from aiverify.cli import demo, explain, scan, verify
from aiverify.version import __version__

app = typer.Typer(
    name="aiverify",
    help="Verify model artifacts before anything loads them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 review or block, 2 could not verify.",
)
app.command()(verify.verify)
app.command()(scan.scan)
app.command()(explain.explain)
app.command()(demo.demo)


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
