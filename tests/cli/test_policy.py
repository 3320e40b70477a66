"""``aiverify policy``: as a user runs it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest
from end_to_end import Machine, weights

CACHED = b'review_at = "low"\n'
DIGEST = hashlib.sha256(CACHED).hexdigest()
EXTENDS = f'extends = {{ url = "https://127.0.0.1:1/org.toml", sha256 = "{DIGEST}" }}\n'


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def keep(machine: Machine) -> None:
    """Have the policy in the cache, as if it had been fetched."""
    folder = machine.home / ".cache" / "aiverify" / "policies"
    folder.mkdir(parents=True)
    (folder / f"{DIGEST}.toml").write_bytes(CACHED)


def test_the_path_of_a_new_user(machine: Machine) -> None:
    weights(machine.here / "model")
    assert machine.run("policy", "init", "--profile", "strict").out.startswith("aiverify.toml written\n")
    assert tomllib.loads((machine.here / "aiverify.toml").read_text()) == {"profile": "strict"}
    checked = machine.run("policy", "check", "aiverify.toml")
    assert (checked.code, checked.out) == (0, "aiverify.toml: valid\n")
    assert checked.err.startswith("warning: aiverify.toml:5: require_signature: ")
    assert machine.run("verify", "model").code == 1
    said = machine.run("policy", "explain", "model", "--rule", "aiv202")
    assert said.code == 0
    assert f"AIV202 (critical): block, because block_at is medium ({machine.here}/aiverify.toml:5)" in said.out


def test_init_writes_over_nothing_unless_it_is_told_to(machine: Machine) -> None:
    (machine.here / "aiverify.toml").write_text("mine")
    (machine.here / "link").symlink_to("nowhere")
    for output in ("aiverify.toml", "link"):
        assert "is there already" in machine.fails("policy", "init", "-o", output)
    assert (machine.here / "aiverify.toml").read_text() == "mine"
    assert machine.run("policy", "init", "--force").code == 0
    assert tomllib.loads((machine.here / "aiverify.toml").read_text()) == {"profile": "default"}
    assert machine.run("policy", "init", "-o", "other.toml").code == 0
    assert (machine.here / "other.toml").read_bytes() == (machine.here / "aiverify.toml").read_bytes()


def test_what_is_not_valid_is_named_by_line_and_key(machine: Machine) -> None:
    (machine.here / "own.toml").write_text('\n[trust]\nglobal = ["a"]\n')
    assert machine.fails("policy", "check", "own.toml").startswith("own.toml:3: trust.global: is not a known key")
    ran = machine.run("policy", "check", "own.toml", "--format", "json")
    assert ran.code == 2
    (error,) = ran.report["errors"]
    assert (error["file"], error["line"], error["key"]) == ("own.toml", 3, "trust.global")
    assert ran.report["valid"] is False
    assert machine.fails("policy", "check", "nowhere.toml").startswith("nowhere.toml: cannot be read")


def test_a_project_file_is_checked_by_its_table(machine: Machine) -> None:
    (machine.here / "pyproject.toml").write_text("[tool.aiverify]\nreview_at = 1\n")
    assert machine.fails("policy", "check", "pyproject.toml").startswith("pyproject.toml:2: review_at: must be one of")


def test_what_a_file_extends_is_named_and_comes_from_the_cache_without_a_network(machine: Machine) -> None:
    (machine.here / "own.toml").write_text(EXTENDS + "require_signature = true\n")
    assert "has not been fetched yet" in machine.fails("policy", "check", "own.toml", "--offline")
    assert "cannot be fetched" in machine.fails("policy", "check", "own.toml")
    keep(machine)
    ran = machine.run("policy", "check", "own.toml", "--format", "json")
    assert ran.code == 0
    assert [source["name"] for source in ran.report["sources"]] == ["https://127.0.0.1:1/org.toml", "own.toml"]
    assert [item["key"] for item in ran.report["warnings"]] == ["require_signature"]
    assert (ran.report["valid"], ran.report["errors"]) == (True, [])
    assert f"extends https://127.0.0.1:1/org.toml (SHA-256 {DIGEST})" in machine.run("policy", "check", "own.toml").out


def test_commands_that_send_nothing_do_not_fetch_a_policy_either(machine: Machine) -> None:
    weights(machine.here / "model")
    (machine.here / "aiverify.toml").write_text(EXTENDS)
    for command in (["scan", "model"], ["policy", "explain", "model"], ["verify", "model", "--offline"]):
        assert "has not been fetched yet" in machine.fails(*command)
    assert "cannot be fetched" in machine.fails("verify", "model")
    keep(machine)
    ran = machine.run("verify", "model", "--format", "json")
    assert ran.code == 0
    assert [source["name"] for source in ran.report["policy"]["sources"]] == [
        "https://127.0.0.1:1/org.toml",
        str(machine.here / "aiverify.toml"),
    ]


def test_explain_says_what_counts_for_a_file_and_where_that_is_written(machine: Machine) -> None:
    file = weights(machine.here / "model") / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    waivers = "".join(
        f'[[waivers]]\nrule = "AIV302"\nsha256 = "{sha256}"\nreason = "r"\nexpires = {expires}\n'
        for sha256, expires in ((digest, "2999-01-01"), ("0" * 64, "2999-01-01"), (digest, "2000-01-01"))
    )
    (machine.here / "aiverify.toml").write_text(f'review_at = "low"\n{waivers}')
    ran = machine.run("policy", "explain", "model/model.safetensors", "--format", "json", "--rule", "AIV302")
    assert ran.code == 0
    said = ran.report
    own = str(machine.here / "aiverify.toml")
    assert (said["repo"], said["sha256"]) == (None, digest)
    assert [(item["line"], item["standing"]) for item in said["waivers"]] == [
        (2, "counts"),
        (7, "other content"),
        (12, "expired"),
    ]
    assert said["rule"] == {
        "id": "AIV302",
        "severity": "medium",
        "outcome": "review",
        "because": {"key": "review_at", "value": "low", "places": [{"file": own, "line": 1}]},
    }
    assert {"key": "block_at", "value": "high", "places": []} in said["settings"]
    text = machine.run("policy", "explain", "model/model.safetensors").out
    assert f"AIV302 for {digest[:12]}… until 2999-01-01: counts  {own}:2" in text


def test_explain_goes_by_the_name_of_a_repository_and_asks_nobody(machine: Machine) -> None:
    (machine.here / "aiverify.toml").write_text(
        '[[signers]]\nrepositories = ["acme/*"]\nidentity = "a@b"\nissuer = "https://i"\n'
        '[[overrides]]\nrepositories = ["acme/*"]\nformats = ["gguf"]\n'
    )
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:1"}
    said = {
        target: json.loads(machine.run("policy", "explain", target, "--format", "json", **nowhere).out)
        for target in ("acme/model@main", "hf://other/model")
    }
    assert [(item["repo"], len(item["signers"])) for item in said.values()] == [("acme/model", 1), ("other/model", 0)]
    assert said["acme/model@main"]["signers"][0]["line"] == 1
    formats = [next(setting for setting in item["settings"] if setting["key"] == "formats") for item in said.values()]
    assert [item["value"] for item in formats] == [["gguf"], None]


def test_explain_does_not_read_a_policy_out_of_the_target(machine: Machine) -> None:
    weights(machine.here / "model")
    (machine.here / "model" / "own.toml").write_text("twin_of_blocked = true\n")
    assert "inside a target" in machine.fails("policy", "explain", "model", "--policy", "model/own.toml")
    (machine.here / "aiverify.toml").write_text('extends = "model/own.toml"\n')
    assert "inside a target" in machine.fails("policy", "explain", "model")
    assert "inside a target" in machine.fails("verify", "model")


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "--rule", "AIV999"], [".", "--policy", "nowhere.toml"]])
def test_explain_fails_on_what_is_not_there(machine: Machine, arguments: list[str]) -> None:
    machine.fails("policy", "explain", *arguments)
