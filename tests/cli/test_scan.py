"""``aiverify scan``: the static part, on local files, with no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from end_to_end import SAMPLES, Machine, outcomes, weights


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "code", "outcome"), [("signed", 0, "pass"), ("checkpoint", 0, "pass"), ("payload", 1, "block")]
)
def test_a_folder_is_scanned(machine: Machine, name: str, code: int, outcome: str) -> None:
    ran = machine.run("scan", SAMPLES / name, "--format", "json")
    assert (ran.code, ran.report["verdict"]["outcome"]) == (code, outcome)
    assert ran.report["signatures"] == []
    assert ran.report["conversions"] == []


def test_a_file_is_scanned_wherever_the_path_begins(machine: Machine) -> None:
    weights(machine.here)
    for spelling in ("model.safetensors", "./model.safetensors", machine.here / "model.safetensors"):
        assert machine.run("scan", spelling, "-q").out.startswith("PASS")


def test_a_path_that_looks_like_a_repository_is_a_path(machine: Machine) -> None:
    weights(machine.here / "org" / "name")
    ran = machine.run("scan", "org/name", "--format", "json")
    assert (ran.code, ran.report["artifact"]["source"]) == (0, "folder")
    weights(machine.here / "hf:" / "org" / "name")
    assert machine.run("scan", "hf://org/name").code == 0


def test_a_repository_is_not_downloaded_by_a_scan(machine: Machine) -> None:
    assert "no such file or folder" in machine.fails("scan", "demo/signed")


def test_several_paths_are_scanned_and_the_worst_decides(machine: Machine) -> None:
    weights(machine.here / "a")
    ran = machine.run("scan", "nowhere", "a", "--format", "json")
    assert ran.code == 2
    failed, scanned = ran.report["reports"]
    assert (failed["verdict"]["outcome"], outcomes(scanned)) == ("error", {"safetensors": "pass"})
    assert machine.run("scan", "nowhere", "a", SAMPLES / "payload").code == 1


def test_include_and_exclude_choose_the_files(machine: Machine) -> None:
    ran = machine.run("scan", SAMPLES / "payload", "--include", "*.bin", "--format", "json")
    assert [file["path"] for file in ran.report["artifact"]["files"]] == ["pytorch_model.bin"]
    assert "left" in machine.fails("scan", SAMPLES / "payload", "--include", "*.onnx")


def test_a_policy_inside_the_path_is_refused(machine: Machine) -> None:
    (weights(machine.here / "a") / "rules.toml").write_text("")
    assert "inside a target" in machine.fails("scan", "a", "--policy", "a/rules.toml")
