"""``aiverify run``, end to end: real programs, real interpreters, live payloads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


# What the program sees


def test_its_streams_are_its_own(programs: Programs) -> None:
    copy = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('said')"
    command = [PYTHON, "-m", "aiverify", "run", "--", PYTHON, "-c", copy]
    sent = bytes(range(256)) * 1000
    ran = subprocess.run(
        command, cwd=programs.here, env=programs.environ(), input=sent, capture_output=True, timeout=60
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, sent, b"said")


def test_a_sitecustomize_that_ours_stands_before_is_imported(programs: Programs) -> None:
    (programs.here / "site").mkdir()
    (programs.here / "site" / "sitecustomize.py").write_text(
        "import aiverify.guard.session as s; found = s.is_active()"
    )
    look = "import sitecustomize; print(sitecustomize.found, sitecustomize.__file__, sitecustomize.__spec__.name)"
    ended = programs.guarded(PYTHON, "-c", look, PYTHONPATH=f"{programs.here / 'site'}:{PACKAGE_HOME}")
    assert ended.out == f"True {programs.here / 'site' / 'sitecustomize.py'} sitecustomize\n", ended


def test_one_that_breaks_is_told_as_ever_and_the_guard_is_on(programs: Programs) -> None:
    (programs.here / "site").mkdir()
    (programs.here / "site" / "sitecustomize.py").write_text("1 / 0")
    command = [PYTHON, "load.py", LOADS]
    ended = programs.guarded(*command, PYTHONPATH=f"{programs.here / 'site'}:{PACKAGE_HOME}")
    assert (ended.code, ended.out) == (126, "LoadRefused\n")
    assert "Error in sitecustomize" in ended.err


def test_its_environment_is_ours(programs: Programs) -> None:
    look = "import os; print(os.environ['PYTHONPATH'].split(':')[1:], os.environ['A'], os.getcwd())"
    ended = programs.guarded(PYTHON, "-c", look, A="b", PYTHONSAFEPATH="1")
    assert ended.out == f"['{PACKAGE_HOME}'] b {programs.here}\n"


def test_refusals_are_told_to_whoever_else_wants_to_know(programs: Programs) -> None:
    ended = programs.guarded(PYTHON, "load.py", LOADS, AIVERIFY_REFUSALS=str(programs.here / "refusals"))
    assert ended.code == 126
    assert "evil.pkl: not loaded" in (programs.here / "refusals").read_text()


# Policy and mode

TRUST = "[trust]\nglobals = ['own.Thing']\n"


@pytest.fixture
def policy(programs: Programs) -> Path:
    place = programs.here / "own.toml"
    place.write_text(TRUST)
    return place


def test_the_policy_that_is_named_decides(programs: Programs, policy: Path) -> None:
    command = [PYTHON, "load.py", "files/thing.pkl"]
    assert programs.guarded(*command).out == "LoadRefused\n"
    ended = programs.guarded(*command, options=("--policy", "own.toml"))
    assert (ended.code, ended.out) == (0, "a thing\n"), ended


def test_a_policy_is_found_from_where_the_command_was_started(programs: Programs, policy: Path) -> None:
    policy.rename(programs.here / "aiverify.toml")
    (programs.here / "job").mkdir()
    (programs.here / "job" / "aiverify.toml").write_text("")
    job = programs.script("job.sh", f"#!/bin/sh\ncd job\nexec '{PYTHON}' ../load.py ../files/thing.pkl\n")
    ended = programs.guarded(job, PYTHONPATH=f"{PACKAGE_HOME}:{programs.here}")
    assert (ended.code, ended.out) == (0, "a thing\n"), ended


def test_the_environment_does_not_weaken(programs: Programs, policy: Path) -> None:
    strict = programs.here / "strict.toml"
    strict.write_text("")
    command = [PYTHON, "load.py", "files/thing.pkl"]
    weaker = {"AIVERIFY_POLICY": str(policy), "AIVERIFY_MODE": "warn", "AIVERIFY_RUN_MODE": "warn"}
    for options in ((), ("--policy", "strict.toml")):
        ended = programs.guarded(*command, options=options, **weaker)
        assert (ended.code, ended.out) == (126, "LoadRefused\n")


def test_with_warn_only_what_is_blocked_is_refused(programs: Programs) -> None:
    ended = programs.guarded(PYTHON, "load.py", "files/thing.pkl", options=("--mode", "warn"))
    assert (ended.code, ended.out) == (0, "a thing\n")
    assert "aiverify: warning" in ended.err
    ended = programs.guarded(PYTHON, "load.py", LOADS, options=("--mode", "warn"))
    assert (ended.code, ended.out) == (126, "LoadRefused\n")


def test_a_policy_that_vanishes_meanwhile_lets_nothing_through(programs: Programs, policy: Path) -> None:
    program = programs.script("vanish.py", f"{LOAD}\nimport os; os.unlink('own.toml'); print(load('files/thing.pkl'))")
    for mode in ("enforce", "warn"):
        policy.write_text(TRUST)
        ended = programs.guarded(PYTHON, program, options=("--policy", "own.toml", "--mode", mode))
        assert (ended.code, ended.out) == (126, "LoadRefused\n"), mode
        assert "there is no policy to judge it by" in ended.err


def test_a_run_within_a_run_can_only_be_stricter(programs: Programs, policy: Path) -> None:
    inner = [PYTHON, "-m", "aiverify", "run", "--mode", "warn", "--", PYTHON, "load.py", "files/thing.pkl"]
    assert programs.guarded(*inner, options=("--mode", "warn")).out == "a thing\n"
    ended = programs.guarded(*inner)
    assert (ended.code, ended.out) == (126, "LoadRefused\n")
    ended = programs.guarded(*inner, options=("--policy", "own.toml"))
    assert (ended.code, ended.out) == (0, "a thing\n")
    (programs.here / "other.toml").write_text("")
    other = [*inner[:4], "--policy", "other.toml", *inner[4:]]
    ended = programs.guarded(*other, options=("--policy", "own.toml"))
    assert ended.code == 125
    assert "under the guard already, with another policy" in ended.err


# Signals

TELL = """
import os, signal
awaited = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
print("ready", flush=True)
while (number := signal.sigwait(awaited)) != signal.SIGUSR1: print(number.name, flush=True)
os._exit(7)
"""


def started(programs: Programs, **options: object) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "aiverify", "run", "--", PYTHON, "-c", TELL],
        cwd=programs.here,
        env=programs.environ(measured=False),
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_signals_are_sent_on(programs: Programs) -> None:
    child = started(programs)
    assert child.stdout is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        child.send_signal(number)
        assert child.stdout.readline() == f"{number.name}\n"
    child.send_signal(signal.SIGUSR1)
    out, _ = child.communicate(timeout=60)
    assert (child.returncode, out) == (7, "")


def test_an_interrupt_by_a_terminal_arrives_once(programs: Programs) -> None:
    outer, inner = os.openpty()
    try:
        child = started(programs, stdin=inner, start_new_session=True, preexec_fn=lambda: _make_terminal(inner))
        child.send_signal(signal.SIGSTOP)  # so that what it might send on comes after what the terminal sends
        os.write(outer, b"\x03")
        assert child.stdout is not None
        assert child.stdout.readline() == "SIGINT\n"
        child.send_signal(signal.SIGCONT)
        child.send_signal(signal.SIGUSR1)
        out, _ = child.communicate(timeout=60)
        assert (child.returncode, out) == (7, "")
    finally:
        os.close(outer)
        os.close(inner)


def _make_terminal(handle: int) -> None:
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.default_int_handler)
    fcntl.ioctl(handle, termios.TIOCSCTTY, 0)


def test_a_program_that_dies_of_an_interrupt_has_the_status_of_one(programs: Programs) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "aiverify",
            "run",
            PYTHON,
            "-c",
            "print('ready', flush=True); import time; time.sleep(99)",
        ],
        cwd=programs.here,
        env=programs.environ(measured=False),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "KeyboardInterrupt" in err
