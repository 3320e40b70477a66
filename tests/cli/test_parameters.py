"""Arguments that are converted without pydantic come out as with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from end_to_end import Machine, weights
from typer.core import TyperCommand
from typer.testing import CliRunner

from aiverify.cli.options import OutputFormat
from aiverify.cli.parameters import QuickCommand

ARGUMENTS: list[list[str]] = [
    ["a"],
    ["a", "b", "--path", "x/../y"],
    ["a", "--path", ""],
    ["a", "--many", "1", "--many", "2"],
    ["a", "-c", "-c", "--flag"],
    ["a", "--no-flag"],
    ["a", "--kind", "json"],
    ["a", "--kind", "JSON"],
    ["a", "--kind", "xml"],
    ["a", "--number", "7"],
    ["a", "--number", "seven"],
    ["a", "--text", "seven"],
    ["a", "--switch"],
    [],
    ["a", "--nothing"],
]


def run(kind: type[TyperCommand], arguments: list[str], environment: dict[str, str]) -> tuple[int, list[Any], str]:
    app, seen = typer.Typer(), []

    @app.command(cls=kind)
    def command(
        words: list[str],
        path: Path | None = None,
        many: list[str] = [],  # noqa: B006
        count: Annotated[int, typer.Option("-c", count=True)] = 0,
        flag: bool | None = None,
        kind: Annotated[OutputFormat, typer.Option(envvar="KIND")] = OutputFormat.HUMAN,
        number: int = 3,
        text: str | None = None,
        switch: Annotated[bool, typer.Option("--switch", envvar="SWITCH")] = False,
    ) -> None:
        seen.extend([words, path, many, count, flag, kind, number, text, switch])

    result = CliRunner().invoke(app, arguments, env=environment)
    return result.exit_code, seen, result.output


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
@pytest.mark.parametrize("environment", [{}, {"KIND": "json", "SWITCH": "1"}, {"KIND": "xml"}, {"SWITCH": "maybe"}])
def test_a_quick_command_takes_what_a_command_takes(arguments: list[str], environment: dict[str, str]) -> None:
    quick, slow = run(QuickCommand, arguments, environment), run(TyperCommand, arguments, environment)
    assert quick == slow
    assert [type(value) for value in quick[1]] == [
        type(value) for value in run(TyperCommand, arguments, environment)[1]
    ]


def test_a_scan_does_not_import_pydantic(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    weights(machine.here / "model")
    code = (
        "import sys; from aiverify.cli import main\ntry: main()\nfinally: print(sorted(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "scan", "-q", "model"],
        cwd=machine.here,
        env=machine.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("PASS")
    loaded = {name.partition(".")[0] for name in ast.literal_eval(ran.stderr.splitlines()[-1])}
    assert not loaded & {"pydantic", "rich", "logging"}
