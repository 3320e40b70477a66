"""Switching the guard on and off, and how a process ends in which a load was refused. Each in a child."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import PACKAGE_HOME, Machine
from pickle_builder import named, stream, text, tup

BOOT = PACKAGE_HOME / "aiverify" / "activation" / "boot"
EVIL = stream(named("os.system") + tup(text("true")) + b"R")
START = "import aiverify, os, pickle, sys\naiverify.protect()\n"
SWALLOW = "try: pickle.loads(open('evil.pkl', 'rb').read())\nexcept Exception: pass\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    (made.here / "evil.pkl").write_bytes(EVIL)
    return made


def ran(machine: Machine, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**machine.environ(), "AIVERIFY_STORE": str(machine.home / "store"), **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=machine.here, env=environ, capture_output=True, text=True, timeout=60)


def test_an_uncaught_refusal_is_an_ordinary_traceback(machine: Machine) -> None:
    end = ran(machine, START + "pickle.loads(open('evil.pkl', 'rb').read())")
    assert end.returncode == 1
    assert "LoadRefused: evil.pkl: not loaded, block" in end.stderr
    assert "See more with: aiverify verify evil.pkl" in end.stderr


def test_a_swallowed_refusal_is_told_by_the_status(machine: Machine) -> None:
    end = ran(machine, START + SWALLOW + "print('done')")
    assert (end.returncode, end.stdout) == (126, "done\n")
    assert "evil.pkl: not loaded" in end.stderr


def test_an_exception_that_somebody_dealt_with_hides_no_refusal(machine: Machine) -> None:
    skipped = "sys.last_value = ValueError('a test was skipped')\n"  # as pytest leaves it
    assert ran(machine, START + SWALLOW + skipped).returncode == 126
    chained = "try: open('evil.pkl', 'rb')\nexcept Exception as no: raise ValueError from no\n"
    end = ran(machine, START + chained)
    assert (end.returncode, "went on" in end.stderr) == (1, False)


def test_a_refusal_that_a_forked_child_swallowed_is_told_by_the_parent(machine: Machine) -> None:
    fork = "if not os.fork():\n    try: open('evil.pkl', 'rb')\n    except Exception: os._exit(0)\nos.wait()\n"
    assert ran(machine, START + fork).returncode == 126


def test_refusals_are_written_where_a_parent_reads_them(machine: Machine) -> None:
    place = machine.home / "refusals"
    ran(machine, START + SWALLOW + "os._exit(0)", AIVERIFY_REFUSALS=str(place))
    assert "evil.pkl: not loaded" in place.read_text()


def test_a_process_in_which_nothing_was_refused_ends_as_it_wants(machine: Machine) -> None:
    assert ran(machine, START + "sys.exit(7)").returncode == 7


def test_a_warning_mode_of_the_environment_still_refuses_what_is_blocked(machine: Machine) -> None:
    end = ran(machine, START + SWALLOW + "print('done')", AIVERIFY_MODE="warn")
    assert (end.returncode, end.stdout) == (0, "done\n")
    end = ran(machine, START + "open('evil.pkl', 'rb')", AIVERIFY_MODE="warn")
    assert "LoadRefused" in end.stderr


def test_it_can_be_switched_on_again_and_made_stricter_only(machine: Machine) -> None:
    code = """
import aiverify
aiverify.protect(mode="warn"); aiverify.protect(mode="warn"); aiverify.protect(mode="enforce")
aiverify.protect(mode="warn")
from aiverify.guard import session
assert [item.settings.mode for item in session._deciders] == ["enforce"]
strict = aiverify.Policy(require_signature=True)
for other in ({"store": "elsewhere"}, {"policy": strict}, {"mode": "on"}, {"rehash": "never"}):
    try: aiverify.protect(**other)
    except aiverify.AiverifyError: continue
    raise SystemExit(f"{other} was taken")
"""
    end = ran(machine, code)
    assert end.returncode == 0, end.stderr


@pytest.mark.parametrize("first", ["", "import aiverify.guard.session\n"])
def test_a_scope_guards_and_then_gives_back(machine: Machine, first: str) -> None:
    code = f"""
import aiverify, pickle
{first}
def load():
    try: return pickle.load(open("evil.pkl", "rb"))
    except aiverify.LoadRefused: return "refused"
with aiverify.guard():
    with aiverify.guard(mode="warn"): assert load() == "refused"
    assert load() == "refused"
assert load() == 0
"""
    end = ran(machine, code)
    assert end.returncode == 126, end.stderr


@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_protect_inside_of_a_scope_outlives_it_and_makes_it_stricter(machine: Machine, mode: str) -> None:
    code = f"""
import aiverify
from aiverify.guard import session
with aiverify.guard(mode={mode!r}):
    aiverify.protect()
    assert session.settings().mode == "enforce"
assert session.is_active()
open("evil.pkl", "rb")
"""
    end = ran(machine, code)
    assert "LoadRefused: evil.pkl" in end.stderr, end.stderr


def test_a_scope_gives_the_environment_back(machine: Machine) -> None:
    code = """
import aiverify, os
before = dict(os.environ)
with aiverify.guard():
    with aiverify.guard(): pass
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
assert os.environ == before, set(os.environ) ^ set(before)
"""
    end = ran(machine, code, DISABLE_SAFETENSORS_CONVERSION="1")
    assert end.returncode == 0, end.stderr


def test_a_module_in_an_archive_may_be_imported_during_a_load(machine: Machine) -> None:
    code = """
import aiverify, sys, zipfile, py_compile
open("zipped.py", "w").write("x = 1")
with zipfile.ZipFile("modules.zip", "w") as archive:
    archive.write(py_compile.compile("zipped.py"), "zipped.pyc")
sys.path[:0] = ["modules.zip"]
aiverify.protect()
from aiverify.guard.loading import loading_only
with loading_only("a file", frozenset()):
    import zipped
assert "modules.zip" in zipped.__file__
"""
    end = ran(machine, code)
    assert end.returncode == 0, end.stderr


#: What a start under the guard imports beside what Python does: each module costs it a third of a millisecond.
AT_START = {
    *("aiverify", "aiverify.guard", "aiverify.guard.audit", "aiverify.guard.deciding", "aiverify.guard.loading"),
    *("aiverify.guard.session", "atexit"),
}
BELOW_RUN = AT_START | {"aiverify.activation", "aiverify.activation.entering", "sitecustomize"}


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import aiverify; aiverify.protect()", AT_START),
        ("import aiverify.guard.session as s; s.is_active()", BELOW_RUN),
    ],
)
def test_switching_on_imports_nothing_that_takes_time(machine: Machine, code: str, allowed: set[str]) -> None:
    def modules(code: str, **more: str) -> set[str]:
        return set(ran(machine, f"{code}\nimport sys; print(*sys.modules)", **more).stdout.split())

    paths = f"{BOOT}{os.pathsep}{PACKAGE_HOME}" if allowed is BELOW_RUN else str(PACKAGE_HOME)
    assert modules(code, PYTHONPATH=paths) - modules("") == allowed
    assert not (machine.home / "store").exists()


def test_a_policy_that_cannot_be_read_is_said_at_once(machine: Machine) -> None:
    assert "PolicyError" in ran(machine, "import aiverify; aiverify.protect(policy='nothing.toml')").stderr


@pytest.mark.parametrize("waived", [False, True])
def test_code_of_a_repository_runs_only_if_its_source_was_verified(machine: Machine, waived: bool) -> None:
    package = machine.here / "cache" / "transformers_modules"
    package.mkdir(parents=True)
    source = b"open('marker', 'w').close()\n"
    (package / "__init__.py").write_text("")
    (package / "net.py").write_bytes(source)
    policy = machine.home / "policy.toml"
    digest = hashlib.sha256(source).hexdigest()
    waiver = f'[[waivers]]\nrule = "AIV502"\nsha256 = "{digest}"\nreason = "read"\nexpires = 2999-01-01\n'
    policy.write_text(waiver if waived else "")
    code = f"import aiverify, sys\naiverify.protect(policy={str(policy)!r})\nsys.path[:0] = ['cache']\n"
    code += "import transformers_modules.net"
    end = ran(machine, code)
    assert (machine.here / "marker").exists() is waived, end.stderr
    assert (f"waiver of AIV502 for its digest, {digest}" in end.stderr) is not waived


def test_bytecode_that_is_not_of_the_verified_source_does_not_run(machine: Machine) -> None:
    package = machine.here / "cache" / "transformers_modules"
    package.mkdir(parents=True)
    code = """
import importlib.util, os, py_compile, sys
source = "cache/transformers_modules/__init__.py"
open(source, "w").write("open('marker', 'w').close()   \\n")
state = os.stat(source)
py_compile.compile(source)
open(source, "w").write("x = 1".ljust(state.st_size - 1) + "\\n")
os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
import aiverify
aiverify.protect(mode="warn")
sys.path[:0] = ["cache"]
import transformers_modules
"""
    end = ran(machine, code)
    assert "LoadRefused" in end.stderr, end.stderr
    assert "not that of the source" in end.stderr
    assert not (machine.here / "marker").exists()


def test_the_environment_of_children_is_hardened_but_not_overruled(machine: Machine) -> None:
    code = START + "print(os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'], os.environ['DISABLE_SAFETENSORS_CONVERSION'])"
    assert ran(machine, code, DISABLE_SAFETENSORS_CONVERSION="0").stdout == "1 0\n"
