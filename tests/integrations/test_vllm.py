"""The plugin of vLLM, held to vLLM's contract: how it finds and calls its general plugins. vLLM itself is not here."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest
from end_to_end import Machine
from guarded_files import Payload
from integration_pages import found, ran

ROOT = Path(__file__).parents[2]
GROUP = "vllm.general_plugins"

# Each process loads the plugins of the group, keeps those that can be loaded, and then calls them.
CONTRACT = f"""
import importlib.metadata, multiprocessing, pickle, sys

def load_general_plugins():
    called = []
    for plugin in importlib.metadata.entry_points(group={GROUP!r}):
        try:
            called.append((plugin.name, plugin.load()))
        except Exception as error:
            print("skipped", plugin.name, error)
    for name, function in called:
        function()
    return [name for name, function in called]

def work(name):
    plugins = load_general_plugins(), load_general_plugins()
    try:
        pickle.load(open(name, "rb"))
        return [*plugins, "loaded"]
    except Exception as error:
        return [*plugins, type(error).__name__]
"""


@pytest.fixture(scope="module")
def installed(machine: Machine) -> str:
    """A search path with the metadata that an installation of this project has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    site = machine.home / "site"
    metadata = site / "aiverify_weights-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][GROUP].items())
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    (machine.here / "evil.pkl").write_bytes(pickle.dumps(Payload(machine.here / "marker")))
    (machine.here / "good.pkl").write_bytes(pickle.dumps([1]))
    return f"{site}:{machine.environ()['PYTHONPATH']}"


@pytest.fixture(scope="module")
def called(machine: Machine, installed: str) -> dict[str, Any]:
    more = """
if __name__ == "__main__":
    load_general_plugins()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        say(spawned=pool.map(work, ["evil.pkl", "good.pkl"]))
    say(here=work("evil.pkl"))
"""
    return found(machine, CONTRACT, more, PYTHONPATH=installed)


def test_the_plugin_is_found_called_twice_and_guards_a_spawned_process(called: dict[str, Any]) -> None:
    plugins = [["aiverify"], ["aiverify"]]
    assert called["spawned"] == [[*plugins, "LoadRefused"], [*plugins, "loaded"]]
    assert called["here"] == [*plugins, "LoadRefused"]


def test_no_payload_ran(called: dict[str, Any], machine: Machine) -> None:
    assert not (machine.here / "marker").exists()


def test_its_module_imports_nothing_that_could_fail(machine: Machine, installed: str) -> None:
    code = """
import sys
import aiverify.guard
before = set(sys.modules)
import aiverify.guard.plugin
print(sorted(set(sys.modules) - before))
"""
    assert ran(machine, code, PYTHONPATH=installed).stdout == "['aiverify.guard.plugin']\n"


def test_a_policy_that_cannot_be_read_ends_the_process(machine: Machine, installed: str) -> None:
    end = ran(machine, f"{CONTRACT}\nload_general_plugins()", PYTHONPATH=installed, AIVERIFY_MODE="perhaps")
    assert end.returncode == 1
    assert "UsageError" in end.stderr
