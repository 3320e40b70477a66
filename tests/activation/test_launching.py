"""What a program under ``aiverify run`` sees, by which policy it is judged, and how signals reach it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import PACKAGE_HOME
from running import LOAD, PYTHON, Programs

LOADS = "files/evil.pkl"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


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
