"""The command line for advisories: what is known, and that nothing is asked of the network offline."""

from __future__ import annotations

from pathlib import Path

import pytest
from end_to_end import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_known_is_listed_with_what_is_installed(machine: Machine) -> None:
    run = machine.run("advisories", "show")
    assert run.code == 0
    assert "CVE-2025-32434" in run.out
    assert "advisories as of 20" in run.out


def test_offline_asks_nobody(machine: Machine) -> None:
    run = machine.run("advisories", "update", "--offline", "--url", "http://127.0.0.1:1")
    assert (run.code, run.out[:8]) == (0, "offline:")


def test_an_address_that_does_not_answer_is_an_error(machine: Machine) -> None:
    assert "no advisories" in machine.fails("advisories", "update", "--url", "http://127.0.0.1:1")
