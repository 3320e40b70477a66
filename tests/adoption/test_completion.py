"""Completion, by the protocol of the shells: the script that is installed, run by a real bash, and what it asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiverify.rules import rules

# What bash does when somebody presses the tab key.
TAB = """
eval "$SCRIPT"
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
function=$(complete -p aiverify | sed -E 's/.* -F ([^ ]+) .*/\\1/')
"$function" aiverify
printf '%s\\n' "${COMPREPLY[@]}"
"""

MAIN = "from aiverify.cli import main\nmain()\n"


@pytest.fixture
def command(tmp_path: Path, root: Path) -> Path:
    """A folder with the command, by the name that the shell completes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "aiverify"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n{MAIN}")
    program.chmod(0o755)
    return folder


def in_a_shell(script: str, command: Path, *arguments: str, **environment: str) -> str:
    ran = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script, "bash", *arguments],
        env={
            "PATH": f"{command}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(command.parent),
            "SHELL": "/bin/bash",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def script(command: Path) -> str:
    # The shell is a parent of the command, so that it is found out, and not asked for.
    return in_a_shell("aiverify --show-completion; true", command)


def completed(command: Path, script: str, *words: str) -> set[str]:
    return set(in_a_shell(TAB, command, "aiverify", *words, SCRIPT=script).split())


def test_rules_are_completed(command: Path, script: str) -> None:
    assert completed(command, script, "explain", "AIV30") == {name for name in rules() if name.startswith("AIV30")}
    assert completed(command, script, "explain", "AIV301") == {"AIV301"}
    assert completed(command, script, "explain", "XYZ") == set()


def test_commands_options_and_formats_are_completed(command: Path, script: str) -> None:
    assert {"verify", "scan", "convert"} <= completed(command, script, "")
    assert completed(command, script, "ver") == {"verify"}
    assert completed(command, script, "verify", "--cert-ident") == {"--cert-identity"}
    assert {"human", "json"} <= completed(command, script, "verify", "--format", "")


def test_completion_is_installed_where_bash_looks_for_it(command: Path) -> None:
    in_a_shell("aiverify --install-completion; true", command)

    line = (command.parent / ".bashrc").read_text().strip()
    assert line.startswith("source ")
    installed = Path(line.removeprefix("source ").strip("'\"")).read_text()
    assert completed(command, installed, "explain", "AIV101") == {"AIV101"}
