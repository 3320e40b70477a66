"""``aiverify run``, end to end: real programs, real interpreters, live payloads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from end_to_end import PACKAGE_HOME
from running import LOAD, PYTHON, Programs, environment_without_us

LOADS = "files/evil.pkl"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_the_payload_is_alive(programs: Programs) -> None:
    assert programs.plain(PYTHON, "load.py", LOADS).out == "0\n"
    assert programs.marker.exists()


# What is guarded


def commands(programs: Programs) -> dict[str, list[str | Path]]:
    (programs.here / "package").mkdir()
    (programs.here / "package" / "__main__.py").write_text(LOAD)
    return {
        "script": [PYTHON, "load.py", LOADS],
        "module": [PYTHON, "-m", "load", LOADS],
        "package": [PYTHON, "-sum", "package", LOADS],
        "command": [PYTHON, "-c", LOAD, LOADS],
        "console script": [programs.script("tool", f"#!{PYTHON}\n{LOAD}"), LOADS],
        "console script by env": [programs.script("tool-by-env", f"#!/usr/bin/env -S {PYTHON} -u\n{LOAD}"), LOADS],
        "shell script": [programs.script("job.sh", f'#!/bin/sh\ncd files\n"{PYTHON}" ../load.py evil.pkl\n')],
        "env": ["env", "A=1", PYTHON, "load.py", LOADS],
    }


@pytest.mark.parametrize(
    "way",
    ["script", "module", "package", "command", "console script", "console script by env", "shell script", "env"],
)
def test_a_refused_load_is_told_by_the_status(programs: Programs, way: str) -> None:
    ended = programs.guarded(*commands(programs)[way])
    assert (ended.code, ended.out) == (126, "LoadRefused\n")
    assert "evil.pkl: not loaded, block by default policy" in ended.err
    assert not programs.marker.exists()


def test_a_program_that_leaves_in_a_hurry_cannot_hide_a_refusal(programs: Programs) -> None:
    hurry = programs.script("hurry.py", f"{LOAD}\nimport os; load('{LOADS}'); os._exit(0)")
    ended = programs.guarded(PYTHON, hurry)
    assert ended.code == 126
    assert "aiverify: a load was refused, and the program ended with 0" in ended.err
    assert "evil.pkl: not loaded" in ended.err


def test_what_passes_is_loaded_and_nothing_is_said(programs: Programs) -> None:
    ended = programs.guarded(PYTHON, "load.py", "files/good.pkl")
    assert (ended.code, ended.out, ended.err) == (0, "[1, 2]\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_are_guarded(programs: Programs, method: str) -> None:
    pool = """
import multiprocessing, os, sys, load
def work(name):
    print(load.load(name), os.getpid() != int(os.environ["FIRST"]), flush=True)
    os._exit(0)
if __name__ == "__main__":
    os.environ["FIRST"] = str(os.getpid())
    child = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=("files/evil.pkl",))
    child.start(); child.join(); os._exit(child.exitcode)
"""
    ended = programs.guarded(PYTHON, programs.script("pool.py", pool), method)
    assert (ended.code, ended.out) == (126, "LoadRefused True\n"), ended
    assert not programs.marker.exists()


def test_results_of_a_process_pool_are_what_they_were(programs: Programs) -> None:
    pool = """
import concurrent.futures, functools, multiprocessing, own
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        print([*executor.map(functools.partial(pow, 2), range(4))], executor.submit(own.Thing).result())
"""
    ended = programs.guarded(PYTHON, programs.script("pool.py", pool))
    assert (ended.code, ended.out, ended.err) == (0, "[1, 2, 4, 8] a thing\n", "")


def test_workers_of_torchrun_are_guarded(programs: Programs) -> None:
    worker = """
import os, sys, torch
rank = os.environ["RANK"]
same = torch.equal(torch.load("files/good.pt")["a"], torch.ones(2))
try: torch.load("files/evil.pt", weights_only=False); said = "loaded"
except Exception as error: said = type(error).__name__
open(f"rank{rank}", "w").write(f"{same} {said}")
os._exit(0)
"""
    write = f"""
import os, torch
class Evil:
    def __reduce__(self): return os.system, ("touch '{programs.marker}'",)
torch.save({{"a": torch.ones(2)}}, "files/good.pt"); torch.save({{"a": Evil()}}, "files/evil.pt")
"""
    assert programs.plain(PYTHON, "-c", write).code == 0
    torchrun = Path(PYTHON).with_name("torchrun")
    command = [torchrun] if torchrun.exists() else [PYTHON, "-m", "torch.distributed.run"]
    worker_file = programs.script("worker.py", worker)
    ended = programs.guarded(*command, "--standalone", "--nproc-per-node", "2", worker_file, OMP_NUM_THREADS="1")
    assert ended.code == 126, ended
    assert [(programs.here / f"rank{rank}").read_text() for rank in (0, 1)] == ["True LoadRefused"] * 2
    assert not programs.marker.exists()


def test_an_environment_without_aiverify_uses_that_of_the_command(programs: Programs, tmp_path: Path) -> None:
    python = environment_without_us(tmp_path / "other")
    program = f"import sys; sys.path.insert(0, {str(PACKAGE_HOME)!r}); from aiverify.cli import main; main()"
    look = f"{LOAD}\nprint(sys.prefix, sys.path[-1])"
    ended = programs.plain(PYTHON, "-c", program, "run", python, "-c", look, LOADS)
    assert ended.code == 126, ended
    assert ended.out == f"LoadRefused\n{tmp_path / 'other'} {PACKAGE_HOME}\n"
    assert not programs.marker.exists()


# Statuses


@pytest.mark.parametrize(
    ("code", "status"),
    [("sys.exit(7)", 7), ("pass", 0), ("os.kill(os.getpid(), 15)", 143), ("os.kill(os.getpid(), 9)", 137)],
)
def test_the_status_is_that_of_the_program(programs: Programs, code: str, status: int) -> None:
    ended = programs.guarded(PYTHON, "-c", f"import os, sys; {code}")
    assert (ended.code, ended.out, ended.err) == (status, "", "")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("", [PYTHON, "-I", "tool"]),
        ("", [PYTHON, "-uEs", "tool"]),
        ("", [PYTHON, "-S", "tool"]),
        ("", ["nice", PYTHON, "-IS", "tool"]),
        (f"#!{PYTHON} -I", ["./tool"]),
        ("#!/usr/bin/env -S python3 -IS", ["./tool"]),
    ],
)
def test_an_interpreter_that_cannot_be_entered_is_refused_before_it_runs(
    programs: Programs, first: str, words: list[str]
) -> None:
    programs.script("tool", f"{first}\nopen('ran', 'w')\n")
    ended = programs.guarded(*words)
    assert (ended.code, ended.out) == (125, "")
    assert "the guard cannot enter this interpreter" in ended.err
    assert not (programs.here / "ran").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["env", "-i", PYTHON, "-c", "pass"],
        ["env", "-u", "PYTHONPATH", PYTHON, "-c", "pass"],
        ["sh", "-c", f"{PYTHON} -I -c pass"],
        ["true"],
        [PYTHON, "--version"],
        ["false"],
    ],
    ids=" ".join,
)
def test_a_program_that_was_never_guarded_has_failed(programs: Programs, words: list[str]) -> None:
    ended = programs.guarded(*words)
    assert ended.code == 125
    assert "the guard was never active" in ended.err


def test_another_process_that_was_guarded_does_not_speak_for_an_interpreter(programs: Programs) -> None:
    child = f"env -u PYTHONPATH {PYTHON} -c pass"
    shell = programs.script("both.sh", f"#!/bin/sh\n{PYTHON} -c pass\n{child}\n")
    assert programs.guarded(shell).code == 0  # a shell script: one of its processes was guarded
    bare = f"""
import os, subprocess
subprocess.run([{PYTHON!r}, "-c", "pass"], env={{**os.environ, "PYTHONPATH": os.environ["BOOT"]}}, check=True)
"""
    boot = str(PACKAGE_HOME / "aiverify" / "activation" / "boot")
    ended = programs.guarded("env", "-u", "PYTHONPATH", f"BOOT={boot}", PYTHON, "-c", bare)
    assert ended.code == 125


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "none.toml"], "none.toml: cannot be read"),
        (["--policy", "broken.toml"], "broken.toml"),
        (["--mode", "off"], "'off' is not one of"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_what_cannot_be_started_has_one_status(programs: Programs, options: list[str], said: str) -> None:
    (programs.here / "broken.toml").write_text("no = such_key")
    ended = programs.guarded(PYTHON, "-c", "open('ran', 'w')", options=tuple(options))
    assert (ended.code, ended.out) == (125, "")
    assert said in ended.err
    assert not (programs.here / "ran").exists()


def test_a_program_that_is_not_there_has_the_same(programs: Programs) -> None:
    programs.script("empty", "")
    for words in (["no-such-program"], ["./empty"], []):
        ended = programs.guarded(*words)
        assert (ended.code, ended.out) == (125, "")
        assert ended.err


def test_an_interpreter_in_which_the_guard_fails_runs_nothing(programs: Programs) -> None:
    broken = programs.here / "broken" / "aiverify"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("")
    ended = programs.guarded(PYTHON, "-c", "open('ran', 'w')", PYTHONPATH=f"{PACKAGE_HOME}")
    assert ended.code == 0
    (programs.here / "ran").unlink()
    ended = programs.guarded("env", *_path(programs, broken.parent), PYTHON, "-c", "open('ran', 'w')")
    assert ended.code == 125
    assert "cannot be guarded: ModuleNotFoundError" in ended.err
    assert not (programs.here / "ran").exists()


def _path(programs: Programs, *folders: Path) -> list[str]:
    boot = PACKAGE_HOME / "aiverify" / "activation" / "boot"
    return [f"PYTHONPATH={os.pathsep.join(map(str, (boot, *folders)))}"]


def test_a_python_of_another_version_needs_an_aiverify_of_its_own(programs: Programs, tmp_path: Path) -> None:
    python = environment_without_us(tmp_path / "other")
    (boot,) = _path(programs)
    ended = programs.plain("env", boot, "AIVERIFY_RUN_PYTHON=cpython-299", python, "-c", "open('ran', 'w')")
    assert ended.code == 125
    assert "No module named 'aiverify'" in ended.err
    assert not (programs.here / "ran").exists()
