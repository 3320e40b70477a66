"""What ``--help`` says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from end_to_end import Machine
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


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"], ["policy", "check", "--help"]])
def test_help_is_shown_in_any_encoding(tmp_path: Path, encoding: str, arguments: list[str]) -> None:
    ran = Machine(tmp_path, PYTHONIOENCODING=encoding).run(*arguments)

    assert (ran.code, ran.err) == (0, "")
    assert "Usage: " in ran.out


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"]])
def test_a_reader_of_help_that_has_seen_enough_is_no_verdict(tmp_path: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "aiverify", *arguments]
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, env=Machine(tmp_path).environ())

    assert (done.returncode, done.stderr) == (0, b"")
