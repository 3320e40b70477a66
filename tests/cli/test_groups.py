"""Options that several commands share, as typer sees them."""

from __future__ import annotations

import inspect
from typing import Annotated, NamedTuple

import typer
from typer.testing import CliRunner

from aiverify.cli.groups import grouped


class Place(NamedTuple):
    """Two options."""

    folder: Annotated[str, typer.Option(help="Where.")]
    deep: Annotated[int, typer.Option(help="How deep.")] = 3


@grouped
def look(what: Annotated[str, typer.Argument()], *, place: Place, loud: bool = False) -> None:
    """Look for something."""
    print(what, place, loud)


def test_a_command_has_the_options_of_its_groups_in_their_place() -> None:
    parameters = inspect.signature(look).parameters
    assert list(parameters) == ["what", "folder", "deep", "loud"]
    assert parameters["folder"].default is inspect.Parameter.empty
    assert parameters["deep"].default == 3
    assert look.__doc__ == "Look for something."


def test_a_command_is_given_the_group() -> None:
    app = typer.Typer()
    app.command()(look)
    done = CliRunner().invoke(app, ["weights", "--folder", "here", "--loud"])
    assert done.output == "weights Place(folder='here', deep=3) True\n"
    assert CliRunner().invoke(app, ["weights"]).exit_code == 2, "an option without a default is needed"
