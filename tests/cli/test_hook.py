"""``aiverify hook``, end to end: a real virtual environment, real starts of its interpreter, live payloads."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PACKAGE_HOME, Programs, environment_without_us

NAME = "aiverify-hook.pth"
LOADS = "files/evil.pkl"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with aiverify, pip, and whatever else we have."""
    ours = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return environment_without_us(tmp_path_factory.mktemp("venv") / "it", paths=(PACKAGE_HOME, *ours))


@pytest.fixture
def python(environment: Path) -> Iterator[Path]:
    yield environment
    hook(environment).unlink(missing_ok=True)


def hook(python: Path) -> Path:
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    return site / NAME


def installed(programs: Programs, python: Path, *options: str) -> str:
    ended = programs.run("hook", "install", "--python", python, *options)
    assert ended.code == 0, ended
    return ended.out


def state(programs: Programs, python: Path) -> tuple[int, str]:
    ended = programs.run("hook", "status", "--python", python)
    return ended.code, ended.out


def test_an_interpreter_with_a_hook_always_starts_guarded(programs: Programs, python: Path) -> None:
    out = installed(programs, python)
    assert out.startswith(f"wrote {hook(python)}\n{python} starts guarded: enforce")
    for options in ([], ["-I"], ["-Es"]):
        ended = programs.plain(python, *options, "load.py", LOADS)
        assert (ended.code, ended.out) == (126, "LoadRefused\n"), ended
    ended = programs.plain(python, "load.py", "files/good.pkl")
    assert (ended.code, ended.out, ended.err) == (0, "[1, 2]\n", "")
    assert not programs.marker.exists()


def test_without_one_it_does_not(programs: Programs, python: Path) -> None:
    assert state(programs, python) == (1, f"{python} does not start guarded: there is no hook at {hook(python)}\n")
    installed(programs, python)
    assert programs.run("hook", "remove", "--python", python).out == f"removed {hook(python)}\n"
    assert state(programs, python)[0] == 1
    assert programs.plain(python, "load.py", LOADS).out == "0\n"
    assert programs.marker.exists()
    ended = programs.run("hook", "remove", "--python", python)
    assert (ended.code, ended.out) == (0, f"{python} has no hook\n")


def test_the_status_tells_what_is_in_force(programs: Programs, python: Path) -> None:
    policy = programs.here / "own.toml"
    policy.write_text("[trust]\nglobals = ['own.Thing']\n")
    installed(programs, python)
    assert programs.plain(python, "load.py", "files/thing.pkl").out == "LoadRefused\n"
    installed(programs, python, "--policy", str(policy), "--mode", "warn")
    assert state(programs, python) == (
        0,
        f"{python} starts guarded: warn, policy {policy}\nby {hook(python)}\n",
    )
    ended = programs.plain(python, "load.py", "files/thing.pkl")
    assert (ended.code, ended.out, ended.err) == (0, "a thing\n", "")


def test_the_environment_does_not_weaken_it(programs: Programs, python: Path) -> None:
    policy = programs.here / "own.toml"
    policy.write_text("[trust]\nglobals = ['own.Thing']\n")
    strict = programs.here / "strict.toml"
    strict.write_text("")
    installed(programs, python, "--policy", str(strict))
    active = {"AIVERIFY_ACTIVE": str(programs.home / "none"), "AIVERIFY_RUN_POLICY": str(policy)}
    weaker = {**active, "AIVERIFY_RUN_MODE": "warn", "AIVERIFY_MODE": "warn", "AIVERIFY_POLICY": str(policy)}
    ended = programs.plain(python, "load.py", "files/thing.pkl", **weaker)
    assert (ended.code, ended.out) == (126, "LoadRefused\n")


def test_a_policy_that_is_gone_means_that_nothing_is_loaded(programs: Programs, python: Path) -> None:
    policy = programs.here / "own.toml"
    policy.write_text("")
    installed(programs, python, "--policy", str(policy), "--mode", "warn")
    policy.unlink()
    ended = programs.plain(python, "load.py", "files/thing.pkl", "files/good.pkl")
    assert ended.out == "LoadRefused\nLoadRefused\n"
    assert f"{policy}: cannot be read" in ended.err
    code, out = state(programs, python)
    assert code == 1
    assert "it loads nothing" in out
    ended = programs.plain(python, "-m", "pip", "--version")  # to mend it, it must run
    assert (ended.code, ended.err) == (0, "")
    ended = programs.plain(python, "-m", "aiverify", "hook", "remove")
    assert (ended.code, ended.out) == (0, f"removed {hook(python)}\n")


def test_a_guard_that_cannot_be_switched_on_means_that_nothing_is_unpickled(programs: Programs, python: Path) -> None:
    installed(programs, python)
    first = hook(python).with_name("a.pth")  # before ours: the guard will miss a module
    first.write_text("import sys; sys.modules['aiverify.guard.audit'] = None\n")
    try:
        ended = programs.plain(python, "load.py", LOADS, "files/thing.pkl", "files/good.pkl")
        assert state(programs, python)[0] == 1
    finally:
        first.unlink()
    assert ended.out == "RuntimeError\nRuntimeError\n[1, 2]\n"
    assert "aiverify: the hook cannot switch the guard on" in ended.err
    assert not programs.marker.exists()


def test_a_run_with_a_hooked_interpreter_is_the_stricter_of_both(programs: Programs, python: Path) -> None:
    own, strict = programs.here / "own.toml", programs.here / "strict.toml"
    own.write_text("[trust]\nglobals = ['own.Thing']\n")
    strict.write_text("")
    command = [python, "load.py", "files/thing.pkl"]
    installed(programs, python)
    assert programs.guarded(*command, options=("--mode", "warn")).code == 126
    ended = programs.guarded(*command, options=("--policy", str(own)))
    assert (ended.code, ended.out) == (0, "a thing\n")
    installed(programs, python, "--policy", str(strict))
    assert programs.guarded(*command).code == 126
    ended = programs.guarded(*command, options=("--policy", str(own)))
    assert (ended.code, ended.out) == (125, "")
    assert "the guard is active with another policy" in ended.err


def test_a_file_that_is_not_ours_is_left_alone(programs: Programs, python: Path) -> None:
    hook(python).write_text("# somebody's\n")
    for what in ("install", "remove"):
        assert "not ours" in programs.fails("hook", what, "--python", python)
    assert hook(python).read_text() == "# somebody's\n"


def test_a_hook_that_would_not_work_is_not_left_behind(programs: Programs, python: Path) -> None:
    last = hook(python).with_name("zz.pth")  # after ours: the guard is made to vanish again
    last.write_text("import sys; sys.modules.pop('aiverify.guard.session', None)\n")
    try:
        said = programs.fails("hook", "install", "--python", python)
    finally:
        last.unlink()
    assert "does not start guarded with the hook, which was taken back" in said
    assert not hook(python).exists()


def test_an_interpreter_without_aiverify_gets_none(programs: Programs, tmp_path: Path) -> None:
    bare = environment_without_us(tmp_path / "bare")
    said = programs.fails("hook", "install", "--python", bare)
    assert f"aiverify is not installed for {bare}" in said
    assert "-m pip install aiverify-weights" in said
    assert not hook(bare).exists()


def test_what_is_no_interpreter_is_said(programs: Programs) -> None:
    assert "cannot be started" in programs.fails("hook", "status", "--python", "no-such-python")
    assert "is no Python" in programs.fails("hook", "status", "--python", "/bin/true")
    assert "cannot be read" in programs.fails("hook", "install", "--policy", "no-such-policy.toml")


def test_a_folder_that_may_not_be_written_to_has_a_way_out(programs: Programs) -> None:
    python = programs.script("python", "#!/bin/sh\necho '\"/proc/self\"'\n")  # where not even root makes files
    said = programs.fails("hook", "install", "--python", python)
    assert "cannot be written" in said
    assert "in a virtual environment" in said


def test_a_hook_is_one_small_file(programs: Programs, python: Path) -> None:
    before = set(hook(python).parent.iterdir())
    installed(programs, python)
    assert set(hook(python).parent.iterdir()) - before == {hook(python)}
    lines = hook(python).read_text().splitlines()
    assert len(lines) == 2
    assert subprocess.run([python, "-S", "-c", "pass"], capture_output=True, check=True).stderr == b""


def test_a_mere_start_examines_nothing(programs: Programs, python: Path) -> None:
    installed(programs, python)
    (hook(python).with_name("zz.pth")).write_text("# the site module reads it: it is called like a checkpoint\n")
    try:
        ended = programs.plain(python, "-c", "import sys; print('aiverify.guard.gate' in sys.modules)")
    finally:
        hook(python).with_name("zz.pth").unlink()
    assert (ended.code, ended.out, ended.err) == (0, "False\n", "")
    assert not (programs.home / "store").exists()


def test_examining_at_a_start_does_not_start_the_next_examination(programs: Programs, python: Path) -> None:
    installed(programs, python)
    log, last = programs.home / "starts", hook(python).with_name("zz.pth")
    most = 20  # so many starts, and there is no end to them
    count = f"open({str(log)!r}, 'a').write('x'); os.path.getsize({str(log)!r}) > {most} and os._exit(9)"
    last.write_text(f"import os; {count}; open({str(programs.here / 'files' / 'good.pkl')!r}, 'rb').close()\n")
    try:
        ended = programs.plain(python, "load.py", "files/good.pkl")
    finally:
        last.unlink()
    assert (ended.code, ended.out) == (0, "[1, 2]\n")
    assert log.stat().st_size <= most


def test_aiverify_itself_works_in_an_interpreter_with_a_hook(programs: Programs, python: Path) -> None:
    command = ["-m", "aiverify", "verify", "files/evil.pkl"]
    before = programs.plain(python, *command)
    installed(programs, python)
    after = programs.plain(python, *command)
    assert before.code == after.code == 1
    assert after.out.splitlines()[1:] == before.out.splitlines()[1:]


def test_a_hook_whose_aiverify_is_gone_is_not_silent(programs: Programs, python: Path, tmp_path: Path) -> None:
    installed(programs, python)
    bare = environment_without_us(tmp_path / "bare")
    hook(bare).write_bytes(hook(python).read_bytes())
    ended = programs.plain(bare, "-c", "print(1)")
    assert (ended.code, ended.out) == (0, "1\n")
    assert str(hook(bare)) in ended.err
    assert "No module named 'aiverify'" in ended.err
