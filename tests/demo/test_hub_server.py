"""The local Hub, asked by the Hub's own client."""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from lying_hub import LyingHub

from aiverify.demo.hub import LocalHub

LARGE = bytes(range(256)) * 5000


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "served" / "org" / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights.bin").write_bytes(LARGE)
    (tmp_path / "served" / "lone").mkdir()
    (tmp_path / "served" / "lone" / "config.json").write_text("[]")
    return tmp_path / "served"


@pytest.fixture
def hub(root: Path) -> Iterator[LocalHub]:
    with LocalHub(root) as hub:
        yield hub


def ask(url: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_a_snapshot_arrives_byte_by_byte(hub: LocalHub, tmp_path: Path) -> None:
    folder = Path(snapshot_download("org/model", cache_dir=tmp_path / "cache", endpoint=hub.endpoint, max_workers=2))
    assert (folder / "config.json").read_text() == "{}"
    assert (folder / "sub" / "weights.bin").read_bytes() == LARGE


def test_model_info_states_the_digests_of_the_files(hub: LocalHub) -> None:
    info = HfApi(endpoint=hub.endpoint).model_info("org/model", files_metadata=True)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert siblings["sub/weights.bin"].lfs is not None
    assert siblings["sub/weights.bin"].lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert siblings["config.json"].blob_id == hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert info.sha == HfApi(endpoint=hub.endpoint).model_info("org/model", revision="main").sha


def test_the_client_finds_every_checksum_right(hub: LocalHub, tmp_path: Path) -> None:
    snapshot_download("org/model", cache_dir=tmp_path / "cache", endpoint=hub.endpoint)
    verified = HfApi(endpoint=hub.endpoint).verify_repo_checksums("org/model", cache_dir=tmp_path / "cache")
    assert (verified.checked_count, verified.mismatches) == (2, [])


def test_the_tree_can_be_listed_by_folder(hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.endpoint)
    assert [entry.path for entry in api.list_repo_tree("org/model")] == ["sub", "config.json"]
    assert [entry.path for entry in api.list_repo_tree("org/model", "sub")] == ["sub/weights.bin"]
    everything = [entry.path for entry in api.list_repo_tree("org/model", recursive=True)]
    assert everything == ["sub", "config.json", "sub/weights.bin"]


def test_the_tree_comes_in_pages(root: Path) -> None:
    with LocalHub(root, page=1) as hub:
        entries = list(HfApi(endpoint=hub.endpoint).list_repo_tree("org/model", recursive=True))
    assert len(entries) == 3


def test_paths_info_answers_for_the_paths_that_exist(hub: LocalHub) -> None:
    found = HfApi(endpoint=hub.endpoint).get_paths_info("org/model", ["config.json", "nothing"])
    assert [info.path for info in found] == ["config.json"]


def test_the_commit_follows_from_the_content_alone(hub: LocalHub, root: Path, tmp_path: Path) -> None:
    first = hub.repository("org/model")
    other = LocalHub(root).repository("org/model")
    (root / "org" / "model" / "config.json").write_text("{ }")
    changed = hub.repository("org/model")
    assert first is not None
    assert other is not None
    assert changed is not None
    assert first.commit == other.commit != changed.commit


def test_large_files_come_from_the_second_port_without_the_token(root: Path, tmp_path: Path) -> None:
    with LyingHub(root) as hub:
        hf_hub_download("org/model", "sub/weights.bin", cache_dir=tmp_path, endpoint=hub.endpoint, token="hf_secret")
    assert [request.headers["authorization"] for request in hub.requests] == ["Bearer hf_secret"] * len(hub.requests)
    assert [request.method for request in hub.cdn_requests] == ["GET"]
    assert "authorization" not in hub.cdn_requests[0].headers


def test_a_range_gives_that_stretch(hub: LocalHub) -> None:
    url = f"{hub.endpoint}/org/model/resolve/main/sub/weights.bin"
    status, headers, body = ask(url, Range="bytes=1000-1999")
    assert (status, body) == (206, LARGE[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(LARGE)}"
    assert ask(url, Range=f"bytes={len(LARGE) - 5}-")[2] == LARGE[-5:]
    with pytest.raises(urllib.error.HTTPError, match="416"):
        ask(url, Range=f"bytes={len(LARGE)}-")


def test_a_head_request_gets_no_body(hub: LocalHub) -> None:
    status, headers, body = ask(f"{hub.endpoint}/org/model/resolve/main/config.json", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "2", b"")


def test_errors_are_those_of_the_hub(root: Path, tmp_path: Path) -> None:
    with LocalHub(root, gated=["org/model"], private=["lone"], token="hf_right") as hub:
        api = HfApi(endpoint=hub.endpoint)
        options = {"cache_dir": tmp_path, "endpoint": hub.endpoint}
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("org/nothing")
        with pytest.raises(RevisionNotFoundError):
            api.model_info("org/model", revision="nothing")
        with pytest.raises(GatedRepoError):
            hf_hub_download("org/model", "config.json", **options)
        with pytest.raises(RemoteEntryNotFoundError):
            hf_hub_download("org/model", "nothing", **options)
        assert hf_hub_download("org/model", "config.json", token="hf_right", **options)
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("lone")
        assert api.model_info("lone", token="hf_right").private


def test_names_in_a_request_never_become_paths(hub: LocalHub, root: Path) -> None:
    (root.parent / "secret").write_text("outside")
    for path in (
        "/org/model/resolve/main/..%2F..%2F..%2Fsecret",
        "/..%2Fserved/model/resolve/main/config.json",
        "/api/models/org%2F..%2Forg/model",
        "/api/models/org/model/tree",
        "/api/models/org/model/resolve/main/config.json",
        "/",
    ):
        with pytest.raises(urllib.error.HTTPError, match=r"40[14]"):
            ask(f"{hub.endpoint}{path}")
    commit = hub.repository("org/model").commit  # type: ignore[union-attr]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(f"{hub.cdn}/org/model@{commit}//..%2F..%2Fsecret")


def test_a_repository_without_an_organisation_and_more_refs_are_served(root: Path) -> None:
    with LocalHub(root, refs=("main", "refs/pr/1")) as hub:
        api = HfApi(endpoint=hub.endpoint)
        assert api.model_info("lone", revision="refs/pr/1").sha == api.model_info("lone").sha


def test_closing_ends_idle_connections_and_their_threads(root: Path) -> None:
    before = set(threading.enumerate())
    with LocalHub(root) as hub:
        HfApi(endpoint=hub.endpoint).model_info("org/model")
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before
    with pytest.raises(urllib.error.URLError):
        ask(f"{hub.endpoint}/api/models/org/model")


def test_nothing_is_printed(hub: LocalHub, capfd: pytest.CaptureFixture[str]) -> None:
    ask(f"{hub.endpoint}/api/models/org/model")
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub.endpoint).model_info("org/nothing")
    assert capfd.readouterr() == ("", "")


def test_a_listing_is_plain_json(hub: LocalHub) -> None:
    _, _, body = ask(f"{hub.endpoint}/api/models/org/model/tree/main?recursive=true")
    entry = next(entry for entry in json.loads(body) if entry["path"] == "sub/weights.bin")
    assert entry["lfs"]["oid"] == hashlib.sha256(LARGE).hexdigest()
    assert entry["size"] == entry["lfs"]["size"] == len(LARGE)
    assert 100 < entry["lfs"]["pointerSize"] < 200


def test_what_the_hub_says_of_a_repository_can_be_set(root: Path) -> None:
    told = {"status": "unsafe", "avScan": {"status": "safe"}, "pickleImportScan": None}
    created = "2026-01-02T03:04:05.000Z"
    with LocalHub(root, created={"org/model": created}, scans={"org/model": {"config.json": told}}) as hub:
        api = HfApi(endpoint=hub.endpoint)
        assert api.model_info("org/model").created_at == datetime.datetime.fromisoformat(created)
        entries = {entry.path: entry for entry in api.list_repo_tree("org/model", recursive=True, expand=True)}
        assert entries["config.json"].security.status == "unsafe"  # type: ignore[union-attr]
        assert {path for path, entry in entries.items() if getattr(entry, "security", None)} == {"config.json"}


def test_a_repository_that_moved_is_found_under_both_names(root: Path) -> None:
    with LocalHub(root, moved={"old/name": "org/model"}) as hub:
        api = HfApi(endpoint=hub.endpoint)
        assert api.model_info("old/name").id == "org/model"
        assert api.model_info("old/name").sha == api.model_info("org/model").sha
