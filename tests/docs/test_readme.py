"""The README and the pages show commands that exist and output that the program gives."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from aiverify.cli.app import app
from aiverify.version import __version__

BLOCK = re.compile(r"^```(?:console|text|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(aiverify [^`\n]+)`")
# What is wrong with a command line, in the versions of typer that build on click and in those that do not.
USAGE_ERROR: Any = typer.BadParameter.__base__
MAKE = re.compile(r"`make ([a-z-]+)`|^\$ make ([a-z-]+)", re.MULTILINE)


def shown(pages: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every command line of aiverify that the pages show: after a prompt, or in the running text."""
    for name, text in pages.items():
        for block in BLOCK.findall(text):
            for line in block.splitlines():
                if line.startswith("$ aiverify "):
                    yield name, line.removeprefix("$ ")
        for line in INLINE.findall(text):
            yield name, line


def complaint(words: list[str]) -> str | None:
    """What the program's own parser says against the words. Nothing is run."""
    root: Any = typer.main.get_command(app)
    try:
        context = root.make_context("aiverify", list(words))
        name, command, rest = root.resolve_command(context, list(words))
        command.make_context(name, rest, parent=context)
    except typer.Exit:
        return None
    except USAGE_ERROR as error:
        return str(error)
    return None


def test_every_command_line_shown_is_one(pages: dict[str, str]) -> None:
    lines = list(shown(pages))
    assert len(lines) > 40

    for name, line in lines:
        words = shlex.split(line)[1:]
        if words in (
            [name] for name in ("verify", "scan", "sign", "attest", "lock", "audit", "convert", "run")
        ):  # the command as such is meant
            continue
        assert complaint(words) is None, f"{name}: {line}"


@pytest.mark.parametrize("words", [["verify"], ["scan", "x", "--no-such-option"], ["seal", "x"], ["scan", "--format"]])
def test_a_command_line_that_is_none_is_noticed(words: list[str]) -> None:
    assert complaint(words)


def test_every_make_target_shown_exists(pages: dict[str, str], root: Path) -> None:
    makefile = (root / "Makefile").read_text("utf-8")
    targets = {first or second for text in pages.values() for first, second in MAKE.findall(text)}
    assert {"demo", "test"} <= targets

    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def timeless(text: str) -> list[str]:
    """The lines, with the one thing that differs between two runs taken out."""
    return [re.sub(r"\b[\d.]+ (?:ms|s)$", "0.0 s", line.rstrip()) for line in text.splitlines()]


def test_the_transcript_is_what_the_demo_prints(pages: dict[str, str], root: Path) -> None:
    (transcript,) = (block for block in BLOCK.findall(pages["README.md"]) if block.startswith("$ aiverify demo"))
    run = subprocess.run([sys.executable, "-m", "aiverify", "demo"], cwd=root, capture_output=True, text=True)
    printed = timeless(run.stdout)
    assert run.returncode == 0, run.stderr

    place = 0
    for line in timeless(transcript)[1:]:
        if line.strip() == "…":
            continue
        assert line in printed[place:], f"not printed, or not there: {line}"
        place = printed.index(line, place) + 1


def test_the_transcript_shows_all_four_verdicts(pages: dict[str, str]) -> None:
    (transcript,) = (block for block in BLOCK.findall(pages["README.md"]) if block.startswith("$ aiverify demo"))

    assert re.findall(r"^(PASS|REVIEW|ERROR|BLOCK)\s", transcript, re.MULTILINE) == ["PASS", "PASS", "BLOCK", "BLOCK"]


def test_the_readme_says_in_its_first_lines_how_to_see_it_work(pages: dict[str, str]) -> None:
    top = "\n".join(pages["README.md"].splitlines()[:20])

    assert "make demo" in top
    assert "make test" in top


def test_the_comparison_states_the_version_of_this_program(pages: dict[str, str]) -> None:
    assert f"aiverify {__version__.rpartition('.')[0]}" in pages["README.md"]


def test_the_changelog_has_a_place_for_what_comes_next(pages: dict[str, str]) -> None:
    assert re.search(r"^## \[Unreleased\]$", pages["CHANGELOG.md"], re.MULTILINE)
