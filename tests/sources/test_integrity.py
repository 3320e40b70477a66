"""Bytes that are not those that the Hub states: said, fetched again once, and then refused. The whole way, real client.

Each case of docs/integrity.md has its test here, or in the tests that the page names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from lying_hub import LyingHub

from aiverify.pipeline import Options as RunOptions
from aiverify.pipeline import run
from aiverify.policy import Policy
from aiverify.progress import Silent
from aiverify.report import Outcome, Report
from aiverify.sources.hub import HubSource
from aiverify.sources.interface import BusyError, HubOptions, Selection, SourceError

Options = Callable[..., HubOptions]
BIG = 25 << 20


def verified(options: HubOptions, **more: object) -> Report:
    source = HubSource("org/model", options, timeout=5)
    return run("org/model", RunOptions(hub=options, source=source, engines=(), **more))  # type: ignore[arg-type]


def rules(report: Report) -> set[str]:
    return {item.rule for item in report.findings if item.rule.startswith("AIV1") and item.rule != "AIV104"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One repository, ``org/model``: configuration and honest safetensors."""
    import numpy as np
    from safetensors.numpy import save_file

    folder = tmp_path / "served" / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    save_file({"weight": np.arange(500, dtype=np.float32)}, folder / "model.safetensors")
    return tmp_path / "served"


def plain_client(hub: LyingHub, cache: Path) -> Path:
    """What huggingface_hub downloads by itself, from an empty cache."""
    return Path(snapshot_download("org/model", cache_dir=cache, endpoint=hub.endpoint, token=False))


def intact(report: Report, root: Path) -> bool:
    digests = {file.path: file.sha256 for file in report.artifact.files}
    folder = root / "org" / "model"
    return digests == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# bodies


@pytest.mark.parametrize("about", ["model.safetensors", "config.json"])
def test_a_flipped_bit_is_taken_by_the_plain_client_and_fetched_again_here(
    root: Path, options: Options, tmp_path: Path, about: str
) -> None:
    with LyingHub(root, about=about, body="flip", times=1) as hub:
        taken = plain_client(hub, tmp_path / "plain") / about
        assert taken.read_bytes() != (root / "org" / "model" / about).read_bytes()
    with LyingHub(root, about=about, body="flip", times=1) as hub:
        report = verified(options(hub))
    assert (report.verdict.outcome, rules(report), intact(report, root)) == (Outcome.PASS, {"AIV105"}, True)


@pytest.mark.parametrize("about", ["model.safetensors", "config.json"])
def test_a_flipped_bit_that_comes_again_is_refused(root: Path, options: Options, about: str) -> None:
    with LyingHub(root, about=about, body="flip") as hub:
        report = verified(options(hub))
        bodies = [request for request in (*hub.requests, *hub.cdn_requests) if request.method == "GET"]
    assert (report.verdict.outcome, rules(report)) == (Outcome.BLOCK, {"AIV101", "AIV105"})
    assert len([request for request in bodies if request.path.endswith(about)]) <= 4  # with a redirect each, twice


@pytest.mark.parametrize("body", ["shorter", "longer"])
def test_a_body_of_another_size_is_fetched_again_once(root: Path, options: Options, body: str) -> None:
    with LyingHub(root, about="model.safetensors", body=body, times=1) as hub:
        report = verified(options(hub))
    assert (report.verdict.outcome, intact(report, root)) == (Outcome.PASS, True)
    with (
        LyingHub(root, about="model.safetensors", body=body, times=1) as hub,
        pytest.raises(OSError, match="Consistency check failed"),
    ):
        plain_client(hub, Path(str(options(hub).cache_dir)) / "plain")


@pytest.mark.parametrize("body", ["shorter", "longer"])
def test_a_body_of_another_size_that_comes_again_is_an_error(root: Path, options: Options, body: str) -> None:
    with LyingHub(root, about="config.json", body=body) as hub:
        with pytest.raises(SourceError, match="another size"):
            verified(options(hub))
        assert len([each for each in hub.requests if each.method == "GET" and "config.json" in each.path]) == 2


def test_a_body_that_goes_on_as_another_file_is_fetched_again(
    root: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    place = root / "org" / "model" / "model.safetensors"
    save_file({"weight": np.ones(BIG // 4, dtype=np.float32)}, place)
    with LyingHub(root, about="model.safetensors", body="mixed", times=2) as hub:
        taken = plain_client(hub, tmp_path / "plain") / "model.safetensors"
        assert taken.stat().st_size == place.stat().st_size
        assert taken.read_bytes() != place.read_bytes()
    with LyingHub(root, about="model.safetensors", body="mixed", times=2) as hub:
        report = verified(options(hub))
        assert any("range" in request.headers for request in hub.cdn_requests)
    assert (report.verdict.outcome, rules(report), intact(report, root)) == (Outcome.PASS, {"AIV105"}, True)


# the cache


def cached(options: HubOptions, name: str) -> Path:
    """The place of a file in the cache."""
    (place,) = Path(str(options.cache_dir)).glob(f"models--org--model/snapshots/*/{name}")
    return place


@pytest.mark.parametrize("damage", ["other bytes", "cut off"])
@pytest.mark.parametrize("about", ["model.safetensors", "config.json"])
def test_a_damaged_file_in_the_cache_is_removed_and_fetched_again(
    root: Path, options: Options, damage: str, about: str
) -> None:
    with LyingHub(root) as hub:
        verified(options(hub))
        blob = cached(options(hub), about).resolve()
        raw = blob.read_bytes()
        os.chmod(blob, 0o644)  # noqa: PTH101
        blob.write_bytes(raw[:5] if damage == "cut off" else bytes([raw[0] ^ 1]) + raw[1:])
        damaged = plain_client(hub, Path(str(options(hub).cache_dir))) / about
        assert damaged.read_bytes() != raw
        report = verified(options(hub))
        assert cached(options(hub), about).read_bytes() == raw
    assert (report.verdict.outcome, rules(report)) == (Outcome.PASS, {"AIV105"})


def test_a_damaged_file_in_the_cache_is_refused_offline_and_stays(root: Path, options: Options) -> None:
    with LyingHub(root) as hub:
        verified(options(hub))
        blob = cached(options(hub), "config.json").resolve()
        os.chmod(blob, 0o644)  # noqa: PTH101
        blob.write_text('{"model_type": "evil"}')
        report = verified(options(hub, offline=True))
    assert (report.verdict.outcome, rules(report)) == (Outcome.BLOCK, {"AIV101"})
    assert blob.read_text() == '{"model_type": "evil"}'


def test_a_file_that_the_user_changed_in_a_folder_of_theirs_is_refused_and_stays(
    root: Path, options: Options, tmp_path: Path
) -> None:
    with LyingHub(root) as hub:
        mine = options(hub, local_dir=tmp_path / "mine")
        verified(mine)
        (tmp_path / "mine" / "config.json").write_text('{"mine": true}')
        report = verified(mine)
    assert (report.verdict.outcome, rules(report)) == (Outcome.BLOCK, {"AIV101"})
    assert (tmp_path / "mine" / "config.json").read_text() == '{"mine": true}'


def test_a_link_out_of_the_cache_is_removed_and_what_it_leads_to_stays(
    root: Path, options: Options, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("not of this cache")
    with LyingHub(root) as hub:
        verified(options(hub))
        place = cached(options(hub), "config.json")
        place.unlink()
        place.symlink_to(tmp_path / "precious")
        verified(options(hub))
    assert (tmp_path / "precious").read_text() == "not of this cache"


def test_a_shard_in_the_place_of_another_is_refused(root: Path, options: Options) -> None:
    with LyingHub(root) as hub:
        verified(options(hub))
        place = cached(options(hub), "model.safetensors")
        other = place.with_name("config.json").resolve()
        place.unlink()
        place.symlink_to(other)
        assert rules(verified(options(hub, offline=True))) == {"AIV101"}
        report = verified(options(hub))
    assert (report.verdict.outcome, intact(report, root)) == (Outcome.PASS, True)


# patience


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_is_busy_for_a_while_is_asked_again(root: Path, options: Options, status: int) -> None:
    with LyingHub(root, about="model.safetensors", status=status, times=2) as hub:
        assert intact(verified(options(hub)), root)


@pytest.mark.parametrize("kind", ["info", "tree"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_and_then_given_up(root: Path, options: Options, kind: str, status: int) -> None:
    with LyingHub(root, busy={kind: 2}, busy_status=status) as hub:
        assert intact(verified(options(hub)), root)
    with LyingHub(root, busy={kind: 3}, busy_status=status) as hub, pytest.raises(BusyError):
        verified(options(hub, cache_dir=root / "other cache"))


def test_a_hub_that_wants_too_much_patience_is_given_up_at_once(root: Path, options: Options) -> None:
    with LyingHub(root, busy={"info": 1}, busy_status=503, status_headers={"Retry-After": "3600"}) as hub:
        with pytest.raises(BusyError):
            verified(options(hub))
        assert len(hub.requests) == 1


# what is left out


def test_only_what_loaders_take_is_downloaded_and_the_rest_is_said(root: Path, options: Options) -> None:
    folder = root / "org" / "model"
    shutil.copy(folder / "model.safetensors", folder / "pytorch_model.bin")
    (folder / "tf_model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with LyingHub(root) as hub:
        report = verified(options(hub), selection=Selection(lean=True))
        assert not any(path in request.path for request in hub.requests for path in ("pytorch_model", "tf_model"))
        whole = verified(options(hub))
        chosen = verified(options(hub), selection=Selection(lean=True, include=("*.bin",)))
    (said,) = [item for item in report.findings if item.rule == "AIV613"]
    assert said.evidence["left_out"] == ["pytorch_model.bin", "tf_model.h5"]
    assert {file.path for file in report.artifact.files} == {"config.json", "model.safetensors"}
    assert {"pytorch_model.bin", "tf_model.h5"} <= {file.path for file in whole.artifact.files}
    assert [file.path for file in chosen.artifact.files] == ["pytorch_model.bin"]


# who it is


def test_a_moved_repository_and_a_young_one_are_said(root: Path, options: Options) -> None:
    with LyingHub(root, moved={"org/old": "org/model"}, created={"org/model": "2999-01-01T00:00:00.000Z"}) as hub:
        source = HubSource("org/old", options(hub), timeout=5)
        report = run("org/old", RunOptions(source=source, engines=()))
    assert {"AIV608", "AIV612"} <= {item.rule for item in report.findings}
    assert report.verdict.outcome is Outcome.PASS


def test_a_name_like_a_known_one_is_said_and_changes_no_verdict(root: Path, options: Options) -> None:
    known = Policy(known_repositories=("0rg/model",))
    with LyingHub(root) as hub:
        report = verified(options(hub), policy=known)
    assert "AIV611" in {item.rule for item in report.findings}
    assert report.verdict.outcome is Outcome.PASS
    assert known.digest == Policy().digest


def test_earlier_commits_are_served_and_no_ref_leads_to_them(root: Path, options: Options, tmp_path: Path) -> None:
    folder = root / "org" / "model"
    shutil.copytree(folder, tmp_path / "before")
    with LyingHub(root) as hub:
        old = hub.repository("org/model").commit  # type: ignore[union-attr]
        (folder / "config.json").write_text("{}")
        hub.earlier["org/model"] = [tmp_path / "before"]
        assert HubSource("org/model", options(hub)).standing().commit != old
        source = HubSource("org/model", options(hub, revision=old))
        fetched = source.fetch(Selection(), Silent())
    assert (fetched.root / "config.json").read_text() == '{"model_type": "tiny"}'
    assert (fetched.root / "model.safetensors").is_file()
