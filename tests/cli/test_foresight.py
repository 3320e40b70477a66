"""``verify --dry-run``: what is known of a repository before a byte of it is here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from end_to_end import weights
from lying_hub import LyingHub, lead_client_to
from typer.testing import CliRunner

from aiverify.cli.app import app

Run = Callable[..., tuple[int, str, str]]
UNSAFE = {"status": "unsafe", "avScan": {"status": "safe"}, "pickleImportScan": {"status": "unsafe"}}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """``org/model``, with everything that a name can say."""
    folder = weights(tmp_path / "served" / "org" / "model")
    (folder / "pytorch_model.bin").write_bytes(b"x" * 2_000)
    (folder / "modeling.py").write_text("")
    (folder / "README.md").write_text("hello")
    return folder


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingHub]:
    monkeypatch.chdir(tmp_path)
    with LyingHub(model.parent.parent, page=2, scans={"org/model": {"pytorch_model.bin": UNSAFE}}) as hub:
        lead_client_to(hub, tmp_path / "cache", monkeypatch)
        yield hub


@pytest.fixture
def run() -> Run:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        ran = CliRunner().invoke(app, ["verify", "--dry-run", *map(str, arguments)])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran.exit_code, ran.stdout, ran.stderr

    return run


def test_nothing_is_downloaded_and_everything_is_listed(run: Run, hub: LyingHub, tmp_path: Path) -> None:
    code, out, _ = run("org/model", "--format", "json")
    (told,) = json.loads(out)["targets"]
    files = {file["path"]: file for file in told["files"]}
    assert (code, set(files)) == (0, {"model.safetensors", "pytorch_model.bin", "modeling.py", "README.md"})
    assert files["pytorch_model.bin"]["left_out"] == "no loader reads it beside safetensors"
    assert files["pytorch_model.bin"]["hub_scan"] == {
        "status": "unsafe",
        "avScan": "safe",
        "pickleImportScan": "unsafe",
    }
    assert files["model.safetensors"]["hub_scan"] == "not scanned"
    assert told["from_names"] == "code"
    assert not any("/resolve/" in request.path for request in hub.requests)
    assert not (tmp_path / "cache" / "models--org--model" / "snapshots").exists()


def test_a_person_is_told_the_same(run: Run, hub: LyingHub) -> None:
    code, out, _ = run("org/model", "--exclude", "*.py")
    assert code == 0
    assert "pytorch_model.bin  2.0 kB  pickle  left out: no loader reads it beside safetensors" in out
    assert "(Hub's scan: unsafe)" in out
    assert "(Hub's scan: not scanned)" in out
    assert "nothing speaks against them, and nothing is proved" in out
    assert "to fetch: 2 files" in out


def test_pickles_that_would_be_loaded_are_said(run: Run, hub: LyingHub, model: Path) -> None:
    assert "pickles would be loaded" in run("org/model", "--all-files")[1]
    (model / "model.safetensors").unlink()
    assert "pickles would be loaded" in run("org/model")[1]
    assert "no model weights" in run("org/model", "--include", "*.md")[1]


def test_what_is_here_already_need_not_be_fetched(run: Run, hub: LyingHub) -> None:
    assert CliRunner().invoke(app, ["verify", "-q", "org/model", "--include", "README.md"]).exit_code == 2
    (told,) = json.loads(run("org/model", "--format", "json")[1])["targets"]
    assert [file["path"] for file in told["files"] if file["cached"]] == ["README.md"]


def test_a_document_goes_to_a_file(run: Run, hub: LyingHub, tmp_path: Path) -> None:
    code, out, _ = run("org/model", "--format", "json", "-o", "plan.json")
    assert (code, out) == (0, "")
    assert json.loads((tmp_path / "plan.json").read_text())["dry_run"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("here",), "nothing of a folder or file"),
        (("org/none",), "no such repository"),
        (("org/model", "--offline"), "off limits"),
    ],
)
def test_what_cannot_be_foreseen_is_one_error(
    run: Run, hub: LyingHub, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "here").mkdir()
    code, out, error = run(*arguments)
    assert (code, out, len(error.splitlines()) <= 2) == (2, "", True)
    assert message in error


def test_a_hub_that_names_files_as_none_does_blocks(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LyingHub(model.parent.parent, extra=[{"type": "file", "path": "../x", "size": 1, "oid": "0" * 40}]) as hub:
        lead_client_to(hub, tmp_path / "cache", monkeypatch)
        code, _, error = run("org/model")
    assert (code, "no repository can" in error) == (1, True)
