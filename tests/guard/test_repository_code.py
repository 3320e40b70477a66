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


def fetched_by_torch(machine: Machine, hubconf: str, *, linked: bool = False, guarded: bool = True) -> str:
    """What a child says that has torch.hub run a repository which it fetched before, with a module beside."""
    root = machine.here / "torch"
    repository = (machine.here / "elsewhere" if linked else root) / "hub" / "acme_net_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(hubconf)
    (repository / "acme_inner.py").write_text(MARK)
    if linked:
        root.symlink_to("elsewhere")
    protect = f"import aiverify\naiverify.protect({str(machine.home / 'policy.toml')!r})\n" if guarded else ""
    code = f"{protect}import torch\ntorch.hub.load('acme/net:main', 'net', trust_repo=True, skip_validation=True)"
    store = str(machine.home / "store")
    environment = machine.environ(AIVERIFY_STORE=store, TORCH_HOME=str(root), PYTHONDONTWRITEBYTECODE="1")
    end = subprocess.run(
        [sys.executable, "-c", code], cwd=machine.here, env=environment, capture_output=True, text=True, timeout=120
    )
    return end.stderr


def read_hubconf(machine: Machine, code: str) -> str:
    """A hubconf.py that somebody has read, as the policy says."""
    digest = hashlib.sha256(code.encode()).hexdigest()
    waiver = f'[[waivers]]\nrule = "AIV502"\nsha256 = "{digest}"\nreason = "read"\nexpires = 2999-01-01\n'
    (machine.home / "policy.toml").write_text(waiver)
    return code


LATER = "def net():\n    import acme_inner\n"
RESOLVED = "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).resolve().parent))\n" + LATER


def test_code_that_torch_hub_fetched_runs_only_if_it_was_read(machine: Machine) -> None:
    assert "hubconf.py: not loaded, review" in fetched_by_torch(machine, MARK + LATER)
    assert not (machine.here / "marker").exists()


@pytest.mark.parametrize(("code", "linked"), [(LATER, False), (LATER, True), (RESOLVED, True)])
def test_a_module_beside_a_hubconf_that_was_read_has_to_be_read_too(machine: Machine, code: str, linked: bool) -> None:
    assert "acme_inner.py: not loaded, review" in fetched_by_torch(machine, read_hubconf(machine, code), linked=linked)
    assert not (machine.here / "marker").exists()


def test_code_that_torch_hub_fetched_would_run(machine: Machine) -> None:
    fetched_by_torch(machine, LATER, guarded=False)
    assert (machine.here / "marker").exists()


def test_native_code_would_run(machine: Machine) -> None:
    spec = importlib.util.find_spec("_cffi_backend")
    assert spec is not None
    assert spec.origin is not None
    shutil.copy(spec.origin, package(machine))
    assert imported(machine, "_cffi_backend", guarded=False).returncode == 0
