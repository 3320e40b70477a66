"""``aiverify lock``, ``verify --locked`` and ``audit``: the same model as yesterday, or what is said when not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from end_to_end import SAMPLES, TRUST, weights
from huggingface_hub import constants
from lying_hub import lead_client_to
from typer.testing import CliRunner

from aiverify.cli.app import app
from aiverify.demo.hub import LocalHub
from aiverify.demo.stories import IDENTITY, ISSUER
from aiverify.lock.lockfile import read_lockfile, write_lockfile

CREATED = "2026-01-01T00:00:00.000Z"
ROOT = TRUST / "trusted_root.json"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """What the Hub serves: ``org/model``, honest safetensors."""
    folder = weights(tmp_path / "served" / "org" / "model")
    shutil.copy(SAMPLES / "signed" / "config.json", folder)
    return tmp_path / "served"


@pytest.fixture
def model(served: Path) -> Path:
    return served / "org" / "model"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def hub(served: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with LocalHub(served, created={"org/model": CREATED}) as hub:
        lead_client_to(hub, here.parent / "cache", monkeypatch)
        yield hub


@pytest.fixture
def run(here: Path) -> Run:
    """A command in this process: its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran.exit_code, ran.stdout, ran.stderr

    return run


def findings(run: Run, *arguments: str | Path) -> tuple[int, set[str], Any]:
    """The exit code of a command, the rules that are not information, and its JSON report."""
    code, out, error = run(*arguments, "--format", "json")
    assert out, error
    report = json.loads(out)
    return code, {item["rule"] for item in report["findings"] if item["severity"] != "info"}, report


def changed(model: Path, hub: LocalHub, tmp_path: Path, text: str = '{"model_type": "new"}') -> str:
    """Let the branch move on, with the old commit still there. The old commit."""
    before = hub.repository("org/model")
    assert before is not None
    shutil.copytree(model, tmp_path / "before")
    hub.earlier["org/model"] = [tmp_path / "before"]
    (model / "config.json").write_text(text)
    return before.commit


# lock


def test_a_repository_is_locked_with_commit_files_and_verdict(run: Run, hub: LocalHub, here: Path, model: Path) -> None:
    code, _, error = run("lock", "org/model")
    assert (code, "locked in aiverify.lock: org/model" in error) == (0, True)
    (entry,) = read_lockfile(here / "aiverify.lock").artifacts.values()
    repository = hub.repository("org/model")
    assert repository is not None
    assert (entry.target, entry.revision, entry.commit) == ("org/model", "main", repository.commit)
    assert (entry.created, entry.verdict, entry.variant) == (CREATED, "pass", "safetensors")
    assert [file.path for file in entry.files] == sorted(path.name for path in model.iterdir())


def test_locking_twice_changes_nothing(run: Run, hub: LocalHub, here: Path) -> None:
    run("lock", "org/model")
    first = (here / "aiverify.lock").read_bytes()
    assert run("lock", "hf://org/model")[0] == 0
    assert (here / "aiverify.lock").read_bytes() == first


def test_only_what_passes_is_locked_and_the_rest_stays(run: Run, here: Path) -> None:
    shutil.copytree(SAMPLES / "checkpoint", here / "good")
    shutil.copytree(SAMPLES / "checkpoint", here / "bad")
    assert run("lock", "good", "bad")[0] == 0
    before = read_lockfile(here / "aiverify.lock")
    shutil.rmtree(here / "bad")
    shutil.copytree(SAMPLES / "payload", here / "bad")
    (here / "good" / "README.md").write_text("changed")
    code, _, error = run("lock", "good", "bad")
    assert (code, "not locked: bad: its verdict is block" in error) == (1, True)
    after = read_lockfile(here / "aiverify.lock")
    assert after.artifacts["./bad"] == before.artifacts["./bad"]
    assert after.artifacts["./good"] != before.artifacts["./good"]


def test_nothing_is_written_when_nothing_passes(run: Run, here: Path) -> None:
    assert run("lock", SAMPLES / "payload")[0] == 1
    assert not (here / "aiverify.lock").exists()


def test_a_review_is_locked_only_on_request(run: Run, here: Path) -> None:
    weights(here / "m")
    (here / "strict.toml").write_text('review_at = "info"\n')
    (here / "m" / "old.bin").write_bytes((SAMPLES / "checkpoint" / "pytorch_model-00001-of-00002.bin").read_bytes())
    verdict = json.loads(run("verify", "m", "--policy", "strict.toml", "--format", "json")[1])["verdict"]["outcome"]
    assert verdict == "review"
    code, _, error = run("lock", "m", "--policy", "strict.toml")
    assert (code, "--accept-review" in error, (here / "aiverify.lock").exists()) == (1, True, False)
    assert run("lock", "m", "--policy", "strict.toml", "--accept-review")[0] == 0
    assert read_lockfile(here / "aiverify.lock").artifacts["./m"].verdict == "review"


def test_written_twins_are_locked_and_checked(run: Run, here: Path) -> None:
    shutil.copytree(SAMPLES / "checkpoint", here / "m")
    assert run("lock", "m", "--convert-to", "twins")[0] == 0
    twins = read_lockfile(here / "aiverify.lock").artifacts["./m"].twins
    assert [twin.source for twin in twins] == [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    assert findings(run, "audit", "--twins", "twins")[:2] == (0, set())
    place = here / "twins" / twins[0].output
    place.write_bytes(place.read_bytes()[:-1] + b"\xff")
    (here / "twins" / f"{twins[1].output}.receipt.json").write_text("{}")
    code, rules, report = findings(run, "audit", "--twins", "twins")
    assert (code, rules) == (1, {"AIV610"})
    assert len([item for item in report["findings"] if item["rule"] == "AIV610"]) == 2


def test_a_verified_signer_is_locked(run: Run, here: Path) -> None:
    shutil.copytree(SAMPLES / "signed", here / "m")
    expected = ("--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "--trusted-root", ROOT)
    assert run("lock", "m", *expected)[0] == 0
    (signer,) = read_lockfile(here / "aiverify.lock").artifacts["./m"].signers
    assert IDENTITY in signer
    assert findings(run, "verify", "--locked", "m", *expected)[:2] == (0, set())


def test_a_signature_that_is_gone_is_another_artifact(run: Run, here: Path) -> None:
    shutil.copytree(SAMPLES / "signed", here / "m")
    expected = ("--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "--trusted-root", ROOT)
    run("lock", "m", *expected)
    (here / "m" / "model.sig").unlink()
    code, rules, _ = findings(run, "verify", "--locked", "m")
    assert (code, {"AIV603", "AIV604"} <= rules) == (1, True)


# verify --locked


def test_what_was_locked_is_accepted_though_the_branch_has_moved(
    run: Run, hub: LocalHub, model: Path, tmp_path: Path
) -> None:
    run("lock", "org/model")
    commit = changed(model, hub, tmp_path)
    code, rules, report = findings(run, "verify", "--locked", "org/model")
    assert (code, rules, report["artifact"]["revision"]) == (0, set(), commit)
    assert findings(run, "verify", "org/model")[2]["artifact"]["revision"] != commit


def test_what_was_locked_is_accepted_offline(run: Run, hub: LocalHub) -> None:
    run("lock", "org/model")
    assert findings(run, "verify", "--locked", "org/model", "--offline")[:2] == (0, set())


def test_a_cached_byte_that_differs_is_said_offline(run: Run, hub: LocalHub, tmp_path: Path) -> None:
    run("lock", "org/model")
    (place,) = (tmp_path / "cache").rglob("snapshots/*/config.json")
    raw = place.read_bytes()
    place.resolve().write_bytes(raw.replace(b":", b" :", 1)[: len(raw)])
    code, rules, _ = findings(run, "verify", "--locked", "org/model", "--offline")
    assert (code, {"AIV101", "AIV602"} <= rules) == (1, True)


@pytest.mark.parametrize("change", ["other bytes", "one more", "one less", "a folder turned into a link"])
def test_a_folder_that_differs_is_blocked_before_anything_is_converted(run: Run, here: Path, change: str) -> None:
    shutil.copytree(SAMPLES / "checkpoint", here / "m")
    shutil.copytree(SAMPLES / "checkpoint", here / "m" / "sub")
    run("lock", "m")
    match change:
        case "other bytes":
            (here / "m" / "config.json").write_text("{}")
        case "one more":
            (here / "m" / "evil.json").write_text("{}")
        case "one less":
            (here / "m" / "config.json").unlink()
        case _:
            shutil.rmtree(here / "m" / "sub")
            (here / "m" / "sub").symlink_to(".", target_is_directory=True)
    code, rules, report = findings(run, "verify", "--locked", "m", "--convert-to", "twins")
    assert (code, report["verdict"]["outcome"]) == (1, "block")
    assert rules & {"AIV602", "AIV603"}
    assert not list((here / "twins").glob("*")) if (here / "twins").exists() else True


def test_a_selection_leaves_locked_files_out_without_a_difference(run: Run, here: Path) -> None:
    shutil.copytree(SAMPLES / "checkpoint", here / "m")
    run("lock", "m")
    assert findings(run, "verify", "--locked", "m", "--exclude", "*.md")[:2] == (0, set())
    assert run("lock", "m", "--exclude", "*.md")[0] == 0
    (here / "m" / "README.md").write_text("changed")
    assert findings(run, "verify", "--locked", "m")[:2] == (0, set())


ERRORS = {
    "no lockfile": (("verify", "--locked", "m"), "cannot be read", "aiverify lock TARGET"),
    "another target": (
        ("verify", "--locked", "other", "--lockfile", "l"),
        "other is not locked",
        "aiverify lock other",
    ),
    "another revision": (
        ("verify", "--locked", "org/model@v1", "--lockfile", "l"),
        "locked at main, not at v1",
        "Leave the revision out",
    ),
    "a lockfile in the target": (("verify", "--locked", "m", "--lockfile", "m/l"), "inside a target", "outside"),
    "writing into the target": (("lock", "m", "-o", "m/l"), "inside a target", "outside"),
    "a newer lockfile": (("verify", "--locked", "m", "--lockfile", "new"), "newer", "Update"),
    "adding to a newer lockfile": (("lock", "m", "-o", "new"), "newer", "Update"),
    "an audit of nothing": (("audit", "empty"), "no artifact", "aiverify lock"),
    "a quick fix": (("audit", "l", "--fix", "--quick"), "--fix verifies", "Leave out"),
    "a dry run of nothing": (("audit", "l", "--dry-run"), "goes with --fix", "nothing"),
}


@pytest.mark.parametrize(("arguments", "message", "hint"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_line_with_the_way_out(
    run: Run, hub: LocalHub, here: Path, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    weights(here / "m")
    weights(here / "other")
    run("lock", "org/model", "m", "-o", "l")
    (here / "m" / "l").write_bytes((here / "l").read_bytes())
    (here / "new").write_text("version = 99\n")
    (here / "empty").write_text("version = 1\n")
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert message in error
    assert hint in error
    assert len(error.splitlines()) <= 2
    assert (here / "new").read_text() == "version = 99\n"


def test_a_repository_is_not_taken_for_a_folder_of_its_name(run: Run, hub: LocalHub, here: Path) -> None:
    run("lock", "org/model")
    weights(here / "org" / "model")
    code, _, error = run("verify", "--locked", "org/model")
    assert (code, "org/model is not locked" in error) == (2, True)
    assert findings(run, "verify", "--locked", "hf://org/model")[0] == 0


# audit


def test_an_audit_of_what_has_not_changed_finds_nothing(run: Run, hub: LocalHub) -> None:
    run("lock", "org/model")
    assert findings(run, "audit")[:2] == (0, set())
    assert findings(run, "audit", "--quick")[:2] == (0, set())


@pytest.mark.parametrize(("target", "options"), [("m", ()), ("org/model", ("--offline",))])
def test_a_quick_audit_that_can_ask_nobody_is_no_answer(
    run: Run, hub: LocalHub, here: Path, target: str, options: tuple[str, ...]
) -> None:
    weights(here / "m")
    run("lock", target)
    code, out, error = run("audit", "--quick", *options)
    assert (code, "PASS" in out) == (2, False)
    assert "--quick asks the Hub alone" in out + error


def test_a_branch_that_moved_on_is_said_and_holds(run: Run, hub: LocalHub, model: Path, tmp_path: Path) -> None:
    run("lock", "org/model")
    changed(model, hub, tmp_path)
    assert findings(run, "audit")[:2] == (0, {"AIV605"})


def test_a_commit_that_is_gone_is_said_and_proved_from_the_cache(run: Run, hub: LocalHub, model: Path) -> None:
    run("lock", "org/model")
    (model / "config.json").write_text("{}")  # without a trace of what was before
    code, rules, report = findings(run, "audit")
    assert (code, rules) == (1, {"AIV605", "AIV606"})
    assert report["artifact"]["files"]
    assert findings(run, "audit", "--quick")[:2] == (1, {"AIV605", "AIV606"})


def test_a_repository_that_is_gone_is_said(run: Run, hub: LocalHub, model: Path, tmp_path: Path) -> None:
    run("lock", "org/model")
    shutil.rmtree(model)
    assert findings(run, "audit")[:2] == (1, {"AIV606"})
    shutil.rmtree(tmp_path / "cache")
    assert findings(run, "audit")[:2] == (1, {"AIV606"})


def test_a_repository_made_anew_under_the_name_is_said(run: Run, hub: LocalHub) -> None:
    run("lock", "org/model")
    hub.created["org/model"] = "2026-06-01T00:00:00.000Z"
    assert findings(run, "audit", "--quick")[:2] == (1, {"AIV607"})
    code, _, error = run("audit", "--fix")
    assert (code, "no pin was moved" in error) == (1, True)


def test_a_repository_made_anew_while_it_is_audited_moves_no_pin(
    run: Run, hub: LocalHub, model: Path, tmp_path: Path
) -> None:
    class Turning(dict[str, str]):
        def __getitem__(self, name: str) -> str:
            told = super().__getitem__(name)
            self[name] = "2026-06-01T00:00:00.000Z"
            return told

    run("lock", "org/model")
    changed(model, hub, tmp_path)
    hub.created = Turning(hub.created)
    _, _, error = run("audit", "--fix")
    assert "no pin was moved" in error


def test_a_repository_that_was_given_away_is_said(run: Run, hub: LocalHub, model: Path, served: Path) -> None:
    run("lock", "org/model")
    (served / "new").mkdir()
    model.rename(served / "new" / "name")
    hub.moved["org/model"] = "new/name"
    hub.created["new/name"] = CREATED
    assert findings(run, "audit")[:2] == (1, {"AIV608"})


def test_files_that_the_hub_states_otherwise_are_said_without_a_download(run: Run, hub: LocalHub, here: Path) -> None:
    run("lock", "org/model")
    lockfile = read_lockfile(here / "aiverify.lock")
    (entry,) = lockfile.artifacts.values()
    files = tuple(
        replace(file, sha256="0" * 64) if file.path.endswith(".safetensors") else file for file in entry.files
    )
    files = (*(file for file in files if file.path != "config.json"), replace(files[0], path="zzz.json"))
    write_lockfile(here / "aiverify.lock", lockfile.with_artifacts([replace(entry, files=files)]))
    code, rules, report = findings(run, "audit", "--quick")
    assert (code, rules) == (1, {"AIV602", "AIV603"})
    assert {item["file"] for item in report["findings"]} == {"model.safetensors", "zzz.json", "config.json"}


def test_another_policy_is_said_and_decides(run: Run, hub: LocalHub, here: Path) -> None:
    run("lock", "org/model")
    (here / "aiverify.toml").write_text("require_signature = true\n")
    code, _, report = findings(run, "audit")
    assert code == 1
    assert "AIV609" in {item["rule"] for item in report["findings"]}


def test_a_hub_that_cannot_be_asked_is_no_answer(run: Run, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    run("lock", "org/model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, error = run("audit")
    assert (code, "refuses the connection" in error) == (2, True)
    assert findings(run, "audit", "--offline")[:2] == (0, set())


def test_a_fix_moves_the_pin_after_a_verification_and_shows_the_difference(
    run: Run, hub: LocalHub, here: Path, model: Path, tmp_path: Path
) -> None:
    run("lock", "org/model")
    old = changed(model, hub, tmp_path)
    before = (here / "aiverify.lock").read_text()
    code, out, _ = run("audit", "--fix", "--dry-run")
    assert (code, f'-commit = "{old}"' in out) == (0, True)
    assert (here / "aiverify.lock").read_text() == before
    code, out, _ = run("audit", "--fix")
    assert (code, f'-commit = "{old}"' in out) == (0, True)
    repository = hub.repository("org/model")
    assert repository is not None
    assert read_lockfile(here / "aiverify.lock").artifacts["org/model"].commit == repository.commit
    assert findings(run, "audit")[:2] == (0, set())


def test_a_fix_does_not_move_a_pin_to_what_does_not_pass(
    run: Run, hub: LocalHub, here: Path, model: Path, tmp_path: Path
) -> None:
    run("lock", "org/model")
    changed(model, hub, tmp_path)
    shutil.copy(SAMPLES / "payload" / "pytorch_model.bin", model / "extra.bin")
    before = (here / "aiverify.lock").read_bytes()
    code, _, error = run("audit", "--fix")
    assert (code, "no pin was moved" in error) == (1, True)
    assert (here / "aiverify.lock").read_bytes() == before


def test_a_fix_does_not_move_a_pin_to_another_signer(run: Run, here: Path) -> None:
    shutil.copytree(SAMPLES / "signed", here / "m")
    expected = ("--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "--trusted-root", ROOT)
    run("lock", "m", *expected)
    (here / "m" / "model.sig").unlink()
    code, _, error = run("audit", "--fix", "--trusted-root", ROOT)
    assert (code, "no pin was moved" in error) == (1, True)


def test_several_lockfiles_are_audited_and_the_gravest_counts(run: Run, hub: LocalHub, here: Path) -> None:
    weights(here / "m")
    run("lock", "org/model", "-o", "one")
    run("lock", "m", "-o", "two")
    (here / "m" / "config.json").unlink(missing_ok=True)
    next((here / "m").iterdir()).write_bytes(b"{}")
    code, out, _ = run("audit", "one", "two", "--format", "json")
    assert code == 1
    assert [report["target"] for report in json.loads(out)["reports"]] == ["org/model", "./m"]
