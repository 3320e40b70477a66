"""What ``--help`` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from aiverify.cli.app import app


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def words(text: str) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_help_text_is_shown_as_it_was_written(name: tuple[str, ...]) -> None:
    shown = words(CliRunner().invoke(app, [*name, "--help"], env={"COLUMNS": "300"}).stdout)

    for parameter in COMMANDS[name].params:
        # A bracket that is not to begin markup stands behind a backslash.
        assert words((parameter.help or "").replace("\\[", "[")) in shown


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_the_usage_names_each_argument_once_and_in_capitals(name: tuple[str, ...]) -> None:
    usage = CliRunner().invoke(app, [*name, "--help"], env={"COLUMNS": "300"}).stdout.partition("Usage: ")[2]

    arguments = [item.metavar for item in COMMANDS[name].params if item.param_type_name == "argument"]
    assert usage.splitlines()[0].split() == ["aiverify", *name, "[OPTIONS]", *arguments]
    assert all(argument.isupper() or argument == "REPORT.json" for argument in arguments)
