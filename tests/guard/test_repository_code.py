"""Code of a repository runs as source that somebody has read, and in no other form. Each in a child."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end import Machine

READ = "x = 1\n"
MARK = "open('marker', 'w').close()\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    package = made.here / "cache" / "transformers_modules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    digest = hashlib.sha256(READ.encode()).hexdigest()
    waiver = f'[[waivers]]\nrule = "AIV502"\nsha256 = "{digest}"\nreason = "read"\nexpires = 2999-01-01\n'
    (made.home / "policy.toml").write_text(waiver)
    return made


def package(machine: Machine) -> Path:
    return machine.here / "cache" / "transformers_modules"


def imported(machine: Machine, module: str = "net", *, guarded: bool = True) -> subprocess.CompletedProcess[str]:
    """A child that imports one module of the repository, and leaves no bytecode of its own."""
    protect = f"import aiverify\naiverify.protect({str(machine.home / 'policy.toml')!r})\n" if guarded else ""
    code = f"import sys\n{protect}sys.path[:0] = ['cache']\nimport transformers_modules.{module}"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=machine.here,
        env=machine.environ(AIVERIFY_STORE=str(machine.home / "store"), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_source_that_was_read_runs(machine: Machine) -> None:
    (package(machine) / "net.py").write_text(READ)
    end = imported(machine)
    assert end.returncode == 0, end.stderr


def bytecode(machine: Machine, place: str, *, name: str = "<module>", within: str = "net.py") -> None:
    """Bytecode that leaves a marker, under the name of a source that was read, if that is there."""
    header = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little")  # by the digest of the source, unchecked
    code = f"""
import marshal
from pathlib import Path
code = compile({MARK!r}, {within!r}, "exec").replace(co_name={name!r})
place = Path({str(package(machine) / place)!r})
place.parent.mkdir(parents=True, exist_ok=True)
place.write_bytes({header!r} + bytes(8) + marshal.dumps(code))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


CACHED = f"__pycache__/net.{sys.implementation.cache_tag}.pyc"


@pytest.mark.parametrize("name", ["<module>", "main"])
def test_bytecode_of_another_source_does_not_run_whatever_it_calls_itself(machine: Machine, name: str) -> None:
    (package(machine) / "net.py").write_text(READ)
    bytecode(machine, CACHED, name=name)
    end = imported(machine)
    assert "not that of the source" in end.stderr, end.stderr
    assert not (machine.here / "marker").exists()


@pytest.mark.parametrize(("place", "module"), [("net.pyc", "net"), ("__pycache__/net.pyc", "__pycache__.net")])
def test_bytecode_without_a_source_does_not_run(machine: Machine, place: str, module: str) -> None:
    bytecode(machine, place)
    end = imported(machine, module)
    assert "LoadRefused" in end.stderr, end.stderr
    assert not (machine.here / "marker").exists()


def test_native_code_does_not_run(machine: Machine) -> None:
    spec = importlib.util.find_spec("_cffi_backend")
    assert spec is not None
    assert spec.origin is not None
    (package(machine) / "net.py").write_text(READ)
    shutil.copy(spec.origin, package(machine))
    end = imported(machine, "_cffi_backend")
    assert "LoadRefused" in end.stderr, end.stderr


@pytest.mark.parametrize("how", ["bytecode", "without a source", "in the cache, without a source"])
def test_these_attacks_are_live(machine: Machine, how: str) -> None:
    module = "net"
    if how == "bytecode":
        (package(machine) / "net.py").write_text(READ)
        bytecode(machine, CACHED, name="main")
    elif how == "without a source":
        bytecode(machine, "net.pyc")
    else:
        bytecode(machine, "__pycache__/net.pyc")
        module = "__pycache__.net"
    assert imported(machine, module, guarded=False).returncode == 0
    assert (machine.here / "marker").exists()


def test_native_code_would_run(machine: Machine) -> None:
    spec = importlib.util.find_spec("_cffi_backend")
    assert spec is not None
    assert spec.origin is not None
    shutil.copy(spec.origin, package(machine))
    assert imported(machine, "_cffi_backend", guarded=False).returncode == 0
