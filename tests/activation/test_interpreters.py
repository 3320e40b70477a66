"""What a command would start is read as the kernel, ``env`` and CPython read it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiverify.activation.interpreters import ActivationError, examined

PYTHON = sys.executable
FLAGS = "import sys; f = sys.flags; print(f.isolated, f.ignore_environment, f.no_site)"


def is_refused(*words: str) -> bool:
    try:
        examined(words)
    except ActivationError:
        return True
    return False


WORDS = (
    "-I -E -S -s -u -B -Bs -sE -IS -P -q -O -v E -W -Wignore -WI -uW -X -Xdev -XI -BXI --check-hash-based-pycs default"
)
options = st.lists(st.sampled_from(WORDS.split()), max_size=4)


@settings(max_examples=40, deadline=None)
@given(options)
def test_options_are_read_as_cpython_reads_them(chosen: list[str]) -> None:
    run = subprocess.run([PYTHON, *chosen, "-c", FLAGS], capture_output=True, text=True)
    if run.returncode == 0 and len(run.stdout.split()) == 3:
        assert is_refused(PYTHON, *chosen, "-c", FLAGS) == ("1" in run.stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        ["-I", "x.py"],
        ["-Es", "-m", "x"],
        ["-uIc", "1"],
        ["-IS", "-"],
        ["-W", "ignore", "-S", "x.py"],
        ["-sbbE", "x.py"],
    ],
    ids=" ".join,
)
def test_an_interpreter_that_the_guard_cannot_enter_is_refused(words: list[str]) -> None:
    with pytest.raises(ActivationError, match="the guard cannot enter this interpreter"):
        examined([PYTHON, *words])


@pytest.mark.parametrize(
    "words",
    [["x.py", "-I"], ["-m", "x", "-S"], ["-c", "1", "-E"], ["-mS"], ["-", "-I"], ["-WI", "x.py"], ["-P", "-s", "x.py"]],
    ids=" ".join,
)
def test_options_of_the_program_are_its_own(words: list[str]) -> None:
    assert examined([PYTHON, *words]).python


@pytest.mark.parametrize(
    "name", ["python", "python3", "python3.11", "python3.13t", "python3-dbg", "python3.12d", "pypy3"]
)
def test_an_interpreter_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    shutil.copyfile("/bin/true", tmp_path / name)
    (tmp_path / name).chmod(0o755)
    assert is_refused(str(tmp_path / name), "-I")


def test_an_interpreter_is_known_by_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "interpreter").symlink_to(PYTHON)
    assert is_refused(str(tmp_path / "interpreter"), "-I")


def script(path: Path, first: str) -> str:
    path.write_text(f"{first}\npass\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("first", "refused"),
    [
        (f"#!{PYTHON}", False),
        (f"#!{PYTHON} -I", True),
        (f"#! {PYTHON}   -uE", True),
        (f"#!{PYTHON} -s -I", True),  # one argument: python does not take it either
        ("#!/usr/bin/env python3", False),
        ("#!/usr/bin/env -S python3 -IS", True),
        ("#!/usr/bin/env -vSpython3 -u -I", True),
        ("#!/usr/bin/env --split-string=python3 -S", True),
        ("#!/bin/sh", False),
        ("#!", False),
        ("", False),
    ],
)
def test_the_first_line_of_a_script_counts(tmp_path: Path, first: str, refused: bool) -> None:
    assert is_refused(script(tmp_path / "tool", first)) == refused


def test_a_script_whose_interpreter_is_a_script_is_followed(tmp_path: Path) -> None:
    inner = script(tmp_path / "inner", f"#!{PYTHON} -I")
    assert is_refused(script(tmp_path / "outer", f"#!{inner}"))


def test_a_script_that_is_its_own_interpreter_ends(tmp_path: Path) -> None:
    place = tmp_path / "loop"
    script(place, f"#!{place}")
    assert not examined([str(place)]).python


@pytest.mark.parametrize(
    "before", [["env"], ["env", "A=1", "-u", "B"], ["nice", "-n", "1"], ["timeout", "5"]], ids=" ".join
)
def test_an_interpreter_is_seen_behind_other_programs(before: list[str]) -> None:
    assert is_refused(*before, PYTHON, "-I", "x.py")
    assert examined([*before, PYTHON, "x.py"]).python == (before[0] == "env")


def test_what_is_not_there_is_said() -> None:
    for words in (["no-such-program"], ["/"], [""], []):
        with pytest.raises(ActivationError, match="no such program"):
            examined(words)
