"""Repositories on a Hub: the real client, a real server on the loopback interface, honest or not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import _tree_cache, constants, get_session, hf_hub_download, set_client_factory, snapshot_download
from huggingface_hub.utils import _detect_agent, _http
from lying_hub import LyingHub

from aiverify.artifact import Fetched, SourceKind
from aiverify.demo.hub import LocalHub, refusal
from aiverify.demo.loopback import Answer
from aiverify.demo.repository import Repository
from aiverify.finding import Severity
from aiverify.progress import Silent
from aiverify.sources.hub import HubSource
from aiverify.sources.hubclient import client, watch
from aiverify.sources.interface import HostileSourceError, HubOptions, Selection, SourceError

Options = Callable[..., HubOptions]
SECRET = "hf_" + "S" * 34


def fetch(options: HubOptions, *, repo: str = "org/model", timeout: float = 5, **selection: tuple[str, ...]) -> Fetched:
    return HubSource(repo, options, timeout=timeout).fetch(Selection(**selection), Silent())


def refused(options: HubOptions, **more: object) -> SourceError:
    with pytest.raises(SourceError) as caught:
        fetch(options, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def hooked() -> list[object]:
    """What is left of ours on the session of the process."""
    hooks = [hook for hooks in get_session().event_hooks.values() for hook in hooks]
    return [hook for hook in hooks if hook.__module__.startswith("aiverify")]


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------------------- fetching


def test_files_arrive_with_what_the_hub_states_about_them(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub))
    repository = hub.repository("org/model")
    assert repository is not None
    assert (fetched.kind, fetched.repo, fetched.revision) == (SourceKind.HUB, "org/model", repository.commit)
    assert [file.path for file in fetched.files] == sorted(repository.files)
    for file in fetched.files:
        content = file.location.read_bytes()
        assert file.location == fetched.root / file.path
        assert file.size == len(content)
        if file.sha256 is not None:
            assert (file.sha256, file.git_sha1) == (hashlib.sha256(content).hexdigest(), None)
        else:
            assert file.git_sha1 == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert [file.path for file in fetched.files if file.sha256] == ["model.safetensors", "unet/weights.bin"]
    assert (fetched.findings, fetched.left_out) == ((), ())


def test_a_commit_is_asked_for_once_and_only_that_commit_is_downloaded(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub))
    asked = [request.path for request in hub.requests]
    assert asked[:2] == ["/api/models/org/model/revision/main", f"/api/models/org/model/tree/{fetched.revision}"]
    assert all(f"/org/model/resolve/{fetched.revision}/" in path for path in asked[2:])


def test_a_second_fetch_downloads_nothing(hub: LyingHub, options: Options) -> None:
    first = fetch(options(hub))
    hub.requests.clear()
    assert fetch(options(hub)) == first
    assert len(hub.requests) == 2


def test_a_commit_id_needs_no_question_about_the_revision(hub: LyingHub, options: Options) -> None:
    commit = fetch(options(hub)).revision
    hub.requests.clear()
    assert fetch(options(hub, revision=commit)).revision == commit
    assert [request.path for request in hub.requests] == [f"/api/models/org/model/tree/{commit}"]


def test_only_the_selection_is_downloaded(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub), include=("*.json", "unet/"), exclude=("*.txt",))
    assert [file.path for file in fetched.files] == ["config.json", "unet/weights.bin"]
    assert fetched.left_out == ("model.safetensors", "unet/note to self+100%.txt")
    assert everything(fetched.root) == {"config.json", "unet/weights.bin"}
    assert fetched.findings == ()


def test_files_go_to_a_folder_of_the_users(hub: LyingHub, options: Options, tmp_path: Path) -> None:
    local = options(hub, local_dir=tmp_path / "here")
    fetched = fetch(local)
    assert fetched.root == tmp_path / "here"
    assert (tmp_path / "here" / "config.json").read_bytes() == b'{"model_type": "tiny"}'
    assert fetched.findings == ()
    assert fetch(dataclasses.replace(local, offline=True)) == fetched


def test_listings_in_pages_and_redirects_within_the_hub_are_followed(root: Path, options: Options) -> None:
    with LyingHub(root, page=1, relocate=True) as hub:
        assert len(fetch(options(hub)).files) == 4


def test_a_repository_without_an_organisation_is_fetched(root: Path, options: Options) -> None:
    (root / "gpt").mkdir()
    (root / "gpt" / "config.json").write_text("{}")
    with LyingHub(root) as hub:
        assert [file.path for file in fetch(options(hub), repo="gpt").files] == ["config.json"]


def test_other_refs_lead_to_their_commit(root: Path, options: Options) -> None:
    with LyingHub(root, refs=("main", "refs/pr/1")) as hub:
        online = fetch(options(hub, revision="refs/pr/1"))
        assert fetch(options(hub, revision="refs/pr/1", offline=True)) == online


def test_a_moved_branch_is_noticed(hub: LyingHub, root: Path, options: Options) -> None:
    before = fetch(options(hub)).revision
    (root / "org" / "model" / "config.json").write_text('{"model_type": "new"}')
    after = fetch(options(hub)).revision
    assert after != before
    assert fetch(options(hub, offline=True)).revision == after
    assert fetch(options(hub, offline=True, revision=before)).revision == before


def test_a_mirror_without_the_header_for_large_files_is_accepted(root: Path, options: Options) -> None:
    with LyingHub(root, head={"X-Linked-Etag": None, "X-Linked-Size": None}) as hub:
        assert len(fetch(options(hub)).files) == 4


class Listener:
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.details: set[str] = set()
        self.count = 0
        self.lock = threading.Lock()

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append((name, total))

    def advance(self, count: int) -> None:
        assert count > 0
        with self.lock:
            self.count += count

    def detail(self, text: str) -> None:
        self.details.add(text)


def test_progress_counts_every_byte_once(root: Path, options: Options) -> None:
    (root / "org" / "model" / "large.bin").write_bytes(bytes(25 << 20))
    total = sum(file.stat().st_size for file in (root / "org" / "model").rglob("*") if file.is_file())
    listener = Listener()
    with LyingHub(root, about="large.bin", body="cut", times=1) as hub:
        HubSource("org/model", options(hub)).fetch(Selection(), listener)
    assert listener.stages == [("fetch", None), ("fetch", total)]
    assert listener.count == total
    assert "large.bin" in listener.details
    ranges = [request.headers.get("range") for request in hub.cdn_requests]
    assert "bytes=10485760-" in ranges


def test_progress_counts_what_need_not_be_transferred(root: Path, options: Options) -> None:
    shutil.copy(root / "org" / "model" / "model.safetensors", root / "org" / "model" / "copy.safetensors")
    listener = Listener()
    with LyingHub(root) as hub:
        HubSource("org/model", options(hub)).fetch(Selection(), listener)
    assert len(hub.cdn_requests) == 2
    assert listener.stages[-1] == ("fetch", listener.count)


def test_progress_of_what_is_already_there_is_nothing(hub: LyingHub, options: Options) -> None:
    fetch(options(hub))
    listener = Listener()
    HubSource("org/model", options(hub)).fetch(Selection(), listener)
    assert listener.stages[-1] == ("fetch", 0)
    assert listener.count == 0


# ----------------------------------------------------------------------------------------------------------- offline


def test_offline_uses_the_cache_and_sends_nothing(hub: LyingHub, options: Options) -> None:
    online = fetch(options(hub))
    hub.requests.clear()
    assert fetch(options(hub, offline=True)) == online
    assert hub.requests == []


def test_the_clients_offline_mode_counts(hub: LyingHub, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    online = fetch(options(hub))
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(options(hub)) == online
    assert hub.requests == []


def test_offline_and_not_cached_is_an_error_with_a_way_out(hub: LyingHub, options: Options, tmp_path: Path) -> None:
    error = refused(options(hub, offline=True))
    assert "org/model@main is not in the Hub cache" in str(error)
    assert "--offline" in error.hint
    fetch(options(hub))
    assert "nothing" in str(refused(options(hub, offline=True, revision="nothing")))
    assert "not in the Hub cache" in str(refused(options(hub, offline=True, revision="d" * 40)))
    assert "not in the Hub cache" in str(refused(options(hub, offline=True, local_dir=tmp_path / "none")))


def test_offline_a_file_that_is_missing_is_an_error(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub))
    (fetched.root / "model.safetensors").unlink()
    assert "1 files are not on disk, model.safetensors" in str(refused(options(hub, offline=True)))
    assert len(fetch(options(hub, offline=True), exclude=("model.safetensors",)).files) == 3


def test_offline_without_a_listing_nothing_is_stated(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub))
    (trees,) = fetched.root.parents[1].glob("trees/*.json")
    trees.unlink()
    offline = fetch(options(hub, offline=True))
    assert [file.path for file in offline.files] == [file.path for file in fetched.files]
    assert {(file.sha256, file.git_sha1) for file in offline.files} == {(None, None)}
    assert (offline.kind, offline.repo, offline.revision) == (SourceKind.HUB, "org/model", fetched.revision)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "makes no sense"),
        ('{"format_version": 1, "files": {"../x": {"size": 1, "blob_id": "%s"}}}' % ("a" * 40), "as no repository can"),
        ('{"format_version": 1, "files": {}}', "has no files"),
    ],
)
def test_offline_a_broken_listing_is_an_error(hub: LyingHub, options: Options, content: str, message: str) -> None:
    fetched = fetch(options(hub))
    (trees,) = fetched.root.parents[1].glob("trees/*.json")
    trees.write_text(content)
    assert message in str(refused(options(hub, offline=True)))


def test_offline_a_ref_that_is_no_commit_leads_nowhere(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub))
    (fetched.root.parents[1] / "refs" / "main").write_text("../../../../elsewhere")
    assert "not in the Hub cache" in str(refused(options(hub, offline=True)))


def test_a_hub_that_cannot_be_reached_is_not_replaced_by_the_cache(root: Path, options: Options) -> None:
    with LyingHub(root) as hub:
        fetch(options(hub))
    error = refused(options(hub))
    assert "refuses the connection" in str(error)
    assert "--offline" in error.hint


# -------------------------------------------------------------------------------------------- strangers in the cache


def test_a_file_that_the_hub_does_not_state_is_a_finding(hub: LyingHub, options: Options) -> None:
    fetched = fetch(options(hub))
    (fetched.root / "unet" / "evil.py").write_text("x")
    (fetched.root / "linked").symlink_to("/tmp")
    for selected in (options(hub), options(hub, offline=True)):
        found = fetch(selected, include=("*.json",))
        assert [(each.rule, each.severity, each.file) for each in found.findings] == [
            ("AIV101", Severity.HIGH, "linked"),
            ("AIV101", Severity.HIGH, "unet/evil.py"),
        ]
        assert [file.path for file in found.files] == ["config.json"]


def test_strangers_in_a_folder_of_the_users_are_findings_too(hub: LyingHub, options: Options, tmp_path: Path) -> None:
    (tmp_path / "here" / ".git").mkdir(parents=True)
    (tmp_path / "here" / ".git" / "config").write_text("x")
    (tmp_path / "here" / "evil.py").write_text("x")
    found = fetch(options(hub, local_dir=tmp_path / "here"))
    assert [each.file for each in found.findings] == ["evil.py"]


def test_a_stated_file_that_leads_out_of_the_cache_is_a_finding(
    hub: LyingHub, options: Options, tmp_path: Path
) -> None:
    fetched = fetch(options(hub))
    (tmp_path / "elsewhere").write_text("x")
    (fetched.root / "config.json").unlink()
    (fetched.root / "config.json").symlink_to(tmp_path / "elsewhere")
    found = fetch(options(hub))
    assert [(each.rule, each.file) for each in found.findings] == [("AIV409", "config.json")]
    assert "config.json" in [file.path for file in found.files]


def test_the_client_finds_its_cache_as_it_would_have_left_it(hub: LyingHub, options: Options, tmp_path: Path) -> None:
    fetched = fetch(options(hub))
    theirs = snapshot_download("org/model", cache_dir=tmp_path / "cache", endpoint=hub.endpoint, local_files_only=True)
    assert Path(theirs) == fetched.root
    snapshot_download("org/model", cache_dir=tmp_path / "other", endpoint=hub.endpoint)
    assert everything(tmp_path / "cache") == everything(tmp_path / "other")


# ----------------------------------------------------------------------------------------------------- hostile answers


def test_an_etag_that_steers_the_plain_client_out_of_its_cache_is_refused(root: Path, tmp_path: Path) -> None:
    head = {"X-Linked-Etag": '"../../../steered"'}
    with LyingHub(root, about="model.safetensors", head=head) as hub:
        cache = tmp_path / "plain" / "cache"
        hf_hub_download("org/model", "model.safetensors", cache_dir=cache, endpoint=hub.endpoint)
        assert everything(tmp_path / "plain") - {f"cache/{path}" for path in everything(cache)}

        cache = tmp_path / "ours" / "cache"
        error = refused(HubOptions(cache_dir=cache, endpoint=hub.endpoint))
        assert isinstance(error, HostileSourceError)
        assert (error.finding.rule, error.finding.file) == ("AIV102", "model.safetensors")
        assert {path.split("/")[0] for path in everything(tmp_path / "ours")} == {"cache"}
        assert not any("steered" in path for path in everything(tmp_path / "ours"))


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        {"X-Linked-Etag": '"../../../steered"'},
        {"X-Linked-Etag": None, "ETag": '"../../../steered"'},
        {"X-Linked-Etag": f'"{"a" * 64}"'},
        {"X-Repo-Commit": "../../steered"},
        {"X-Repo-Commit": "a" * 40},
        {"X-Xet-Hash": "../../steered", "X-Xet-Refresh-Route": "/refresh"},
    ],
    ids=["etag out", "plain etag out", "another etag", "commit out", "another commit", "xet hash out"],
)
def test_headers_that_do_not_fit_the_listing_are_refused(
    root: Path, options: Options, tmp_path: Path, head: dict[str, str | None], local: bool
) -> None:
    more = {"local_dir": tmp_path / "here"} if local else {}
    with LyingHub(root, about="model.safetensors", head=head) as hub:
        error = refused(options(hub, **more))
    assert isinstance(error, HostileSourceError)
    assert error.finding.rule == "AIV102"
    assert "model.safetensors" in str(error)
    assert not any("steered" in path or path.endswith("model.safetensors") for path in everything(tmp_path / "cache"))
    assert not (tmp_path / "here" / "model.safetensors").exists()


def test_a_redirect_within_the_hub_does_not_hide_a_hostile_etag(root: Path, options: Options) -> None:
    with LyingHub(root, relocate=True, head={"ETag": '"../../steered"', "X-Linked-Etag": None}) as hub:
        assert isinstance(refused(options(hub)), HostileSourceError)


def test_the_answer_that_denies_a_file_may_not_name_another_commit(
    root: Path, options: Options, tmp_path: Path
) -> None:
    class Denying(LyingHub):
        def resolve(self, *_: object) -> Answer:
            return refusal(404, "EntryNotFound", "no", {"X-Repo-Commit": "../../../steered"})

    with Denying(root) as hub:
        assert isinstance(refused(options(hub)), HostileSourceError)
    assert not any("steered" in path for path in everything(tmp_path))


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "../../steered"},
        {"path": "/steered"},
        {"path": "a\\..\\steered"},
        {"oid": "../../steered"},
        {"lfs": {"oid": "../../steered", "size": 1, "pointerSize": 1}, "xetHash": "a" * 64},
        {"xetHash": "../../steered"},
        {"lfs": {"oid": "a" * 64, "size": -1, "pointerSize": 1}},
        {"lfs": {"oid": "a" * 64, "size": "1", "pointerSize": 1}},
    ],
)
def test_a_listing_that_would_steer_the_client_is_refused_before_anything_is_written(
    root: Path, options: Options, tmp_path: Path, entry: dict[str, object]
) -> None:
    with LyingHub(root, about="model.safetensors", entry=entry) as hub:
        refused(options(hub))
    assert not (tmp_path / "cache").exists()
    assert not any("resolve" in request.path for request in hub.requests)


def test_a_file_listed_twice_or_as_a_folder_is_refused(root: Path, options: Options) -> None:
    for path in ("config.json", "config.json/x"):
        with LyingHub(root, extra=[{"type": "file", "path": path, "oid": "a" * 40, "size": 1}]) as hub:
            assert isinstance(refused(options(hub)), HostileSourceError)


def test_a_commit_that_is_none_is_refused(root: Path, options: Options, tmp_path: Path) -> None:
    with LyingHub(root, info=b'{"id": "org/model", "sha": "../../steered"}') as hub:
        assert isinstance(refused(options(hub)), HostileSourceError)
    assert not (tmp_path / "cache").exists()


def test_a_listing_in_the_clients_memory_or_cache_is_replaced(root: Path, options: Options, tmp_path: Path) -> None:
    with LyingHub(root) as hub:
        repository = hub.repository("org/model")
        assert repository is not None
        folder = tmp_path / "cache" / "models--org--model"
        hostile = _tree_cache.TreeCacheEntry(1, "b" * 40, "../../../steered", 1, "c" * 64)
        kept = folder / "trees" / f"{repository.commit}.json"
        memory = _tree_cache._IN_MEMORY_TREE_CACHE
        for planted in ({"config.json": hostile}, {"evil.py": hostile}, {}):
            for place in ("disk and memory", "disk", "memory", "disk only"):
                honest = dict(memory)
                before = kept.read_bytes() if kept.exists() else b"{"
                _tree_cache.write_tree_cache(str(folder), repository.commit, planted)
                if place == "disk":
                    memory.clear()
                elif place == "memory":
                    kept.write_bytes(before)
                elif place == "disk only":
                    memory.update(honest)
                fetched = fetch(options(hub))
                assert [file.path for file in fetched.files] == sorted(repository.files)
                assert fetch(options(hub, offline=True)) == fetched
                snapshot_download("org/model", revision=fetched.revision, cache_dir=tmp_path / "cache")
        kept.write_text("{")
        assert fetch(options(hub)) == fetched
        assert fetch(options(hub, offline=True)) == fetched
    assert not any("steered" in path for path in everything(tmp_path))


def test_a_planted_listing_that_cannot_be_replaced_ends_the_download(
    hub: LyingHub, options: Options, tmp_path: Path
) -> None:
    repository = hub.repository("org/model")
    assert repository is not None
    folder = tmp_path / "cache" / "models--org--model"
    planted = {"evil.py": _tree_cache.TreeCacheEntry(1, "b" * 40)}
    _tree_cache.write_tree_cache(str(folder), repository.commit, planted)
    (folder / "trees").rename(folder / "elsewhere")
    (folder / "trees").write_text("no folder")
    assert "cannot be replaced" in str(refused(options(hub)))


@pytest.mark.parametrize("etag", ['"../../../steered"', None])
def test_a_second_listing_that_differs_from_the_first_is_watched_too(
    root: Path, options: Options, tmp_path: Path, etag: str | None
) -> None:
    (root / "org" / "model" / "late.bin").write_text("late")

    class TwoFaced(LyingHub):
        def listed(self, repository: Repository) -> list[dict[str, object]]:
            first = sum("/tree/" in request.path for request in self.requests) == 1
            return [entry for entry in super().listed(repository) if not (first and entry["path"] == "late.bin")]

    (tmp_path / "cache" / "models--org--model").mkdir(parents=True)
    (tmp_path / "cache" / "models--org--model" / "trees").write_text("so that no listing can be kept")
    with TwoFaced(root, about="late.bin", head={"X-Linked-Etag": etag} if etag else {}) as hub:
        if etag:
            error = refused(options(hub))
            assert isinstance(error, HostileSourceError)
            assert "late.bin" in str(error)
        else:
            assert [each.file for each in fetch(options(hub)).findings] == ["late.bin"]
    assert sum("/tree/" in request.path for request in hub.requests) == 2
    assert not any("steered" in path for path in everything(tmp_path))


def test_a_lie_told_once_is_not_remembered(root: Path, options: Options) -> None:
    entry = {"lfs": {"oid": "a" * 64, "size": 1, "pointerSize": 1}}
    with LyingHub(root, about="model.safetensors", entry=entry) as hub:
        assert isinstance(refused(options(hub)), HostileSourceError)
    with LyingHub(root) as hub:
        honest = {file.path: file.sha256 for file in fetch(options(hub)).files}
    assert honest["model.safetensors"] != "a" * 64


def test_a_repository_may_not_write_where_the_client_keeps_its_own(
    root: Path, options: Options, tmp_path: Path
) -> None:
    (root / "org" / "model" / ".cache" / "huggingface").mkdir(parents=True)
    (root / "org" / "model" / ".cache" / "huggingface" / "x").write_text("x")
    with LyingHub(root) as hub:
        assert "--local-dir" in str(refused(options(hub, local_dir=tmp_path / "here")))
        assert len(fetch(options(hub)).files) == 5


def test_bytes_that_were_changed_on_the_way_arrive_with_the_true_digest_beside_them(
    root: Path, options: Options
) -> None:
    with LyingHub(root, about="model.safetensors", body="flip") as hub:
        (file,) = fetch(options(hub), include=("model.safetensors",)).files
    assert file.sha256 == hashlib.sha256((root / "org" / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert file.sha256 != hashlib.sha256(file.location.read_bytes()).hexdigest()


# --------------------------------------------------------------------------------------------------- broken transfers


@pytest.mark.parametrize("body", ["shorter", "longer"])
@pytest.mark.parametrize("about", ["model.safetensors", "config.json"])
def test_a_body_of_another_size_is_an_error(
    root: Path, options: Options, tmp_path: Path, body: str, about: str
) -> None:
    with LyingHub(root, about=about, body=body) as hub:
        assert "another size" in str(refused(options(hub)))
    assert not any("incomplete" in path for path in everything(tmp_path / "cache"))


def test_a_body_without_end_is_given_up(root: Path, options: Options, tmp_path: Path) -> None:
    with LyingHub(root, about="model.safetensors", body="endless") as hub:
        assert "sends too much for model.safetensors" in str(refused(options(hub)))
    assert not any("incomplete" in path for path in everything(tmp_path / "cache"))


def test_an_error_page_without_end_is_given_up(root: Path, options: Options) -> None:
    class Endless(LyingHub):
        def content(self, request, file, headers):  # type: ignore[no-untyped-def]
            if request.method == "HEAD":
                return super().content(request, file, headers)
            return Answer(status=500, length=1 << 40, body=iter(lambda: bytes(1 << 16), None))

    with Endless(root) as hub:
        assert "sends too much" in str(refused(options(hub)))


def test_a_connection_that_is_cut_once_is_taken_up_again(root: Path, options: Options) -> None:
    with LyingHub(root, about="model.safetensors", body="cut", times=1) as hub:
        fetched = fetch(options(hub))
    assert (fetched.root / "model.safetensors").read_bytes() == (root / "org/model/model.safetensors").read_bytes()


def test_an_answer_that_breaks_off_is_an_answer(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with LyingHub(root, about="config.json", body="cut", times=watch.MAX_UNANSWERED + 1) as hub:
        assert len(fetch(options(hub)).files) == 4


@pytest.mark.parametrize("location", ["http://[", "http://a:b:c/", "http://\x7f/"])
def test_a_redirect_to_no_place_is_refused(root: Path, options: Options, location: str) -> None:
    with LyingHub(root, head={"Location": location}) as hub:
        error = refused(options(hub))
    assert isinstance(error, HostileSourceError)
    assert "redirects" in str(error)


def test_a_connection_that_is_always_cut_is_an_error(
    root: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with LyingHub(root, about="config.json", body="cut") as hub:
        assert "connection broke off" in str(refused(options(hub)))
    assert not any("incomplete" in path for path in everything(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("status", "message"),
    [(500, "out of order (HTTP 500)"), (403, "the token may not read"), (404, "HTTP 404"), (418, "HTTP 418")],
)
def test_an_error_status_for_the_bytes_is_an_error(root: Path, options: Options, status: int, message: str) -> None:
    with LyingHub(root, about="model.safetensors", status=status) as hub:
        assert message in str(refused(options(hub)))


def test_a_server_that_wants_too_much_patience_is_not_waited_for(root: Path, options: Options) -> None:
    for told in ({"Retry-After": "100000"}, {"RateLimit": '"api";r=0;t=100000'}):
        with LyingHub(root, about="config.json", status=429, status_headers=told) as hub:
            error = refused(options(hub))
        assert "no more requests for 100000 seconds" in str(error)
        assert "--token" in error.hint


def test_a_missing_commit_header_is_no_hub(root: Path, options: Options) -> None:
    with LyingHub(root, head={"X-Repo-Commit": None}) as hub:
        assert "does not answer as a Hub does" in str(refused(options(hub)))


@pytest.mark.parametrize("kind", ["info", "tree"])
def test_a_question_that_is_never_answered_ends_in_an_error(root: Path, options: Options, kind: str) -> None:
    with LyingHub(root, hang=[kind]) as hub:
        error = refused(options(hub), timeout=0.2)
    assert "does not answer in time" in str(error)
    assert hub.endpoint in str(error)


@pytest.mark.parametrize("kind", ["HEAD", "GET"])
def test_a_file_that_never_comes_ends_in_an_error(
    root: Path, options: Options, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with LyingHub(root, hang=[kind]) as hub:
        assert "did not answer 3 requests" in str(refused(options(hub), timeout=0.2))


def test_a_file_in_xet_storage_is_asked_for_there(root: Path, options: Options) -> None:
    with LyingHub(root, about="model.safetensors", entry={"xetHash": "a" * 64}) as hub:
        error = refused(options(hub))
        commit = hub.repository("org/model").commit  # type: ignore[union-attr]
    assert "denies that it has it" in str(error)
    asked = [request.path for request in hub.requests]
    assert f"/api/models/org/model/xet-read-token/{commit}" in asked
    assert not any(path.endswith("model.safetensors") for path in asked)


def test_xet_storage_that_does_not_answer_ends_in_an_error(
    root: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    with LyingHub(root, about="model.safetensors", entry={"xetHash": "a" * 64}, hang=["xet"]) as hub:
        assert "did not answer 3 requests" in str(refused(options(hub), timeout=0.2))


def test_a_disk_that_cannot_be_written_to_is_an_error(hub: LyingHub, options: Options, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "could not be read or written" in str(refused(options(hub, cache_dir=tmp_path / "file" / "cache")))


def test_a_path_that_is_too_long_only_here_is_an_error(root: Path, options: Options, tmp_path: Path) -> None:
    deep = root / "org" / "model" / Path(*["e" * 250] * 4)
    deep.mkdir(parents=True)
    (deep / "config.json").write_text("{}")
    with LyingHub(root) as hub:
        assert "too long" in str(refused(options(hub, cache_dir=tmp_path.joinpath(*["d" * 250] * 12))))


def test_a_cache_that_cannot_be_read_is_an_error(options: Options, hub: LyingHub, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for offline in (False, True):
        with pytest.raises(SourceError, match=r"org/model@main|refs/main cannot be read") as caught:
            fetch(options(hub, cache_dir=tmp_path / "loop" / "cache", offline=offline))
        assert "\n" not in str(caught.value)


def test_a_cache_at_no_place_is_an_error_whatever_is_asked(options: Options, hub: LyingHub) -> None:
    source = HubSource("org/model", options(hub, cache_dir=Path("~nobody-of-this-name/cache")))
    for ask in (source.standing, lambda: source.listing("0" * 40), lambda: source.cached("0" * 40, "x")):
        with pytest.raises(SourceError, match="the Hub cache cannot be read"):
            ask()


def test_what_is_stated_is_not_downloaded(hub: LyingHub, options: Options) -> None:
    stated = HubSource("org/model", options(hub)).stated(Selection(), Silent())
    assert [file.path for file in stated.here] == ["config.json", "unet/note to self+100%.txt"]
    assert everything(stated.fetched.root) == {file.path for file in stated.here}
    whole = fetch(options(hub))
    assert (stated.fetched.files, stated.fetched.revision) == (whole.files, whole.revision)
    (whole.root / "planted.py").write_text("")
    planted = HubSource("org/model", options(hub)).stated(Selection(include=["*.safetensors"]), Silent())
    assert [(one.rule, one.file) for one in planted.fetched.findings] == [("AIV101", "planted.py")]
    (whole.root / "planted.py").unlink()
    offline = HubSource("org/model", options(hub, offline=True)).stated(Selection(), Silent())
    assert offline.here == offline.fetched.files


# -------------------------------------------------------------------------------------------------------- refusals


def test_an_unknown_repository_is_named_with_the_ways_out(hub: LyingHub, options: Options) -> None:
    error = refused(options(hub), repo="org/nothing")
    assert "org/nothing@main: no such repository, or a private one" in str(error)
    assert "--token" in error.hint
    assert "file or folder" in error.hint
    assert "that the token may not read" in str(refused(options(hub, token=SECRET), repo="org/nothing"))


def test_an_unknown_revision_is_named(hub: LyingHub, options: Options) -> None:
    assert "org/model@v9: no such revision" in str(refused(options(hub, revision="v9")))
    assert "no such revision" in str(refused(options(hub, revision="d" * 40)))


def test_a_gated_repository_says_where_its_terms_are(root: Path, options: Options) -> None:
    with LyingHub(root, gated=["org/model"], token=SECRET) as hub:
        error = refused(options(hub))
        assert "is gated" in str(error)
        assert f"{hub.endpoint}/org/model" in error.hint
        assert len(fetch(options(hub, token=SECRET)).files) == 4


def test_a_private_repository_opens_with_the_token_only(root: Path, options: Options) -> None:
    with LyingHub(root, private=["org/model"], token=SECRET) as hub:
        assert "private" in str(refused(options(hub)))
        assert "private" in str(refused(options(hub, token="hf_wrong")))
        assert len(fetch(options(hub, token=SECRET)).files) == 4
        assert not any("authorization" in request.headers for request in hub.cdn_requests)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal(401, "", ""), "no such repository"),
        (refusal(401, "", "Invalid credentials in Authorization header"), "does not accept the token"),
        (refusal(403, "", "Access to this resource is disabled."), "disabled the repository"),
        (refusal(403, "", "Forbidden"), "the token may not read"),
        (refusal(404, "", ""), "HTTP 404"),
        (refusal(429, "", ""), "allows no more requests"),
        (refusal(503, "", ""), "out of order (HTTP 503)"),
        (Answer(status=204), "HTTP 204"),
    ],
)
def test_the_hubs_refusals_have_names(root: Path, options: Options, answer: Answer, message: str) -> None:
    with LyingHub(root, refuse=answer) as hub:
        error = refused(options(hub))
    assert message in str(error)
    assert str(error).startswith("org/model@main: ")
    assert error.hint


@pytest.mark.parametrize("body", [b"<html>", b"", b"null", b"[]", b'{"sha": 1}', b"[" * 100_000])
def test_an_endpoint_that_is_no_hub_is_an_error(root: Path, options: Options, body: bytes) -> None:
    with LyingHub(root, info=body) as hub:
        assert "makes no sense" in str(refused(options(hub)))
    with LyingHub(root, listing=body if body != b"[]" else b"{}") as hub:
        assert "makes no sense" in str(refused(options(hub)))


def test_an_empty_repository_and_an_empty_selection_are_errors(root: Path, options: Options) -> None:
    with LyingHub(root, listing=b"[]") as hub:
        assert "has no files" in str(refused(options(hub)))
    with LyingHub(root) as hub:
        assert "everything was left out" in str(refused(options(hub), include=("*.gguf",)))


def test_an_answer_without_end_is_given_up(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER", 1000)
    with LyingHub(root, listing=b" " * 1001) as hub:
        assert "longer than 1000 bytes" in str(refused(options(hub)))


def test_pages_without_end_are_given_up(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_PAGES", 5)

    class Endless(LyingHub):
        def tree(self, *_: object) -> Answer:
            return Answer(
                headers={"Link": '<https://elsewhere.invalid/x?cursor=1>; rel="next"'}, length=2, body=[b"[]"]
            )

    with Endless(root) as hub:
        assert "more than 5 pages" in str(refused(options(hub)))
    assert [request.query.get("cursor") for request in hub.requests[2:]] == [["1"]] * 4


def test_a_next_page_at_no_address_is_an_error(root: Path, options: Options) -> None:
    class Elsewhere(LyingHub):
        def tree(self, *_: object) -> Answer:
            return Answer(headers={"Link": '<http://[>; rel="next"'}, length=2, body=[b"[]"])

    with Elsewhere(root) as hub:
        refused(options(hub))


def test_scans_without_end_are_given_up(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_FILES", 1)
    told = [{"type": "file", "path": path, "securityFileStatus": {"status": "safe"}} for path in ("a", "b")]
    with LyingHub(root, listing=json.dumps(told).encode()) as hub:
        source = HubSource("org/model", options(hub))
        commit = source.standing().commit
        with pytest.raises(SourceError, match="more than 1 files"):
            source.scans(commit)


def test_an_endpoint_that_does_not_speak_tls_is_an_error(hub: LyingHub, options: Options) -> None:
    error = refused(options(hub, endpoint=hub.endpoint.replace("http:", "https:")))
    assert "TLS" in str(error)


@pytest.mark.parametrize("endpoint", ["ftp://127.0.0.1", "127.0.0.1", "http://", "http://[", "nonsense"])
def test_an_endpoint_must_be_a_web_address(options: Options, hub: LyingHub, endpoint: str) -> None:
    assert "not a web address" in str(refused(options(hub, endpoint=endpoint)))


# ----------------------------------------------------------------------------------------------------------- secrets


def test_the_token_is_in_no_message(root: Path, options: Options) -> None:
    echoes = (
        {"refuse": refusal(401, "", SECRET)},
        {"refuse": refusal(500, SECRET, SECRET)},
        {"head": {"X-Linked-Etag": f'"{SECRET}"', "ETag": f'"{SECRET}"'}},
        {"head": {"X-Repo-Commit": SECRET}},
        {"entry": {"oid": SECRET}},
        {"info": json.dumps({"sha": SECRET}).encode()},
        {"extra": [{"type": "file", "path": f"{SECRET}.bin", "oid": "a" * 40, "size": 1}]},
        {"extra": [{"type": "file", "path": f"../{SECRET}", "oid": "a" * 40, "size": 1}]},
    )
    for echo in echoes:
        with LyingHub(root, token=SECRET, **echo) as hub:
            error = refused(options(hub, token=SECRET))
        assert any(f"Bearer {SECRET}" == request.headers.get("authorization") for request in hub.requests)
        assert SECRET not in error.diagnostics()
        if isinstance(error, HostileSourceError):
            assert SECRET not in repr(error.finding)
    assert SECRET not in repr(options(hub, token=SECRET))


def test_a_login_in_the_endpoint_is_in_no_message(hub: LyingHub, options: Options) -> None:
    endpoint = hub.endpoint.replace("://", "://user:password@")
    assert "password" not in refused(options(hub, endpoint=endpoint), repo="org/nothing").diagnostics()


@pytest.mark.parametrize("token", ["hf_a b", "hf_\n", "hf_é"])
def test_a_token_of_other_characters_is_refused_without_being_shown(
    hub: LyingHub, options: Options, token: str
) -> None:
    error = refused(options(hub, token=token))
    assert "the Hub token holds characters" in str(error)
    assert token not in error.diagnostics()
    assert hub.requests == []


def test_a_stored_token_that_cannot_be_read_is_an_error(
    hub: LyingHub, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe\xfd")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert "stored Hub token cannot be read" in str(refused(options(hub)))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path))
    assert "stored Hub token cannot be read" in str(refused(options(hub)))


# ------------------------------------------------------------------------------------------------- a good guest


def test_the_host_program_gets_its_session_back_as_it_was(hub: LyingHub, options: Options) -> None:
    session = get_session()
    hooks = {moment: list(hooks) for moment, hooks in session.event_hooks.items()}
    factory, level, filters = (
        _http._GLOBAL_CLIENT_FACTORY,
        logging.getLogger("huggingface_hub").level,
        warnings.filters[:],
    )
    fetch(options(hub))
    refused(options(hub), repo="org/nothing")
    assert get_session() is session
    assert not session.is_closed
    assert session.event_hooks == hooks
    assert _http._GLOBAL_CLIENT_FACTORY is factory
    assert logging.getLogger("huggingface_hub").level == level
    assert warnings.filters == filters


def test_a_session_of_the_host_programs_own_is_used_and_kept(hub: LyingHub, options: Options) -> None:
    seen: list[str] = []

    def factory() -> object:
        session = _http.default_client_factory()
        session.event_hooks = {
            "request": [*session.event_hooks["request"], lambda r: seen.append(r.method)],
            "response": [],
        }
        return session

    set_client_factory(factory)  # type: ignore[arg-type]
    try:
        fetch(options(hub))
        assert _http._GLOBAL_CLIENT_FACTORY is factory
        assert len(get_session().event_hooks["request"]) == 2
        assert get_session().event_hooks["response"] == []
    finally:
        set_client_factory(_http.default_client_factory)
    assert {"GET", "HEAD"} <= set(seen)


def test_a_session_made_anew_in_the_middle_is_watched_too(root: Path, options: Options) -> None:
    class Closing(Silent):
        def stage(self, name: str, total: int | None = None) -> None:
            _http.close_session()

    head = {"X-Linked-Etag": '"../../../steered"'}
    with LyingHub(root, about="model.safetensors", head=head) as hub, pytest.raises(HostileSourceError):
        HubSource("org/model", options(hub)).fetch(Selection(), Closing())
    assert not hooked()


def test_an_unwatched_download_is_noticed(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.Watch, "on_response", lambda *_: None)
    with LyingHub(root) as hub:
        assert "without having been watched" in str(refused(options(hub)))


def test_a_host_program_that_takes_its_session_back_is_noticed(hub: LyingHub, options: Options) -> None:
    def factory() -> object:
        return _http.default_client_factory()

    class Selfish(Silent):
        def stage(self, name: str, total: int | None = None) -> None:
            if total:
                set_client_factory(factory)  # type: ignore[arg-type]

    try:
        with pytest.raises(SourceError, match="without having been watched"):
            HubSource("org/model", options(hub)).fetch(Selection(), Selfish())
        assert _http._GLOBAL_CLIENT_FACTORY is factory
        assert not hooked()
    finally:
        set_client_factory(_http.default_client_factory)


def test_what_the_client_would_log_is_not_logged(
    root: Path, options: Options, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LyingHub(root, about="model.safetensors", body="cut", times=1) as hub:
        fetch(options(hub))
    assert not [record for record in caplog.records if record.name.startswith("huggingface_hub")]
    with LyingHub(root, about="model.safetensors", body="cut", times=1) as hub:
        snapshot_download("org/model", cache_dir=tmp_path / "plain", endpoint=hub.endpoint)
    assert [record for record in caplog.records if record.name.startswith("huggingface_hub")]


def test_downloads_side_by_side_do_not_disturb_each_other(root: Path, options: Options, tmp_path: Path) -> None:
    for number in range(4):
        (root / "org" / f"model{number}").mkdir()
        (root / "org" / f"model{number}" / "weights.bin").write_bytes(bytes([number]) * 100_000)
    factory = _http._GLOBAL_CLIENT_FACTORY
    head = {"X-Linked-Etag": '"../../../steered"'}
    with LyingHub(root) as hub, LyingHub(root, head=head) as liar, ThreadPoolExecutor(8) as pool:
        ours = [pool.submit(fetch, options(hub), repo=f"org/model{number}") for number in range(4)]
        lies = [
            pool.submit(refused, options(liar, cache_dir=tmp_path / f"lies{n}"), repo=f"org/model{n}") for n in (0, 1)
        ]
        plain = pool.submit(
            snapshot_download, "org/model", cache_dir=tmp_path / "plain", endpoint=hub.endpoint, token=False
        )
        assert [len(job.result().files) for job in ours] == [1] * 4
        assert all(isinstance(job.result(), HostileSourceError) for job in lies)
        assert len(everything(Path(plain.result()))) == 4
    assert _http._GLOBAL_CLIENT_FACTORY is factory
    assert not hooked()


def test_nothing_is_printed_and_nothing_is_said_about_this_machine(
    hub: LyingHub, options: Options, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(_detect_agent, "_registry", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch(options(hub))
        refused(options(hub), repo="org/nothing")
    assert capfd.readouterr() == ("", "")
    assert _detect_agent._registry is None
    assert constants.HF_HUB_DISABLE_TELEMETRY is False
    agents = {request.headers["user-agent"] for request in hub.requests}
    assert all(agent.startswith("aiverify/") and "torch" not in agent for agent in agents)


def test_an_interrupt_ends_the_download_and_leaves_no_half_file(root: Path, options: Options, tmp_path: Path) -> None:
    with (root / "org" / "model" / "huge.bin").open("wb") as stream:
        stream.truncate(200 << 20)

    class Impatient(Silent):
        pressed = False

        def advance(self, count: int) -> None:
            if count > 1 << 20 and not self.pressed:
                self.pressed = True
                os.kill(os.getpid(), signal.SIGINT)

    with LocalHub(root) as hub, pytest.raises(KeyboardInterrupt):
        HubSource("org/model", options(hub)).fetch(Selection(), Impatient())
    left = everything(tmp_path / "cache")
    assert not any("incomplete" in path or path.endswith("huge.bin") for path in left)
    assert _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory


def test_an_interrupt_does_not_wait_for_a_connection_that_is_silent(root: Path, options: Options) -> None:
    with (root / "org" / "model" / "huge.bin").open("wb") as stream:
        stream.truncate(200 << 20)
    pressed: list[float] = []

    class Impatient(Silent):
        def advance(self, count: int) -> None:
            if count and not pressed:
                pressed.append(time.monotonic())
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    with LyingHub(root, about="huge.bin", body="silent") as hub:
        with pytest.raises(KeyboardInterrupt):
            HubSource("org/model", options(hub)).fetch(Selection(), Impatient())
        assert time.monotonic() - pressed[0] < 9  # a server is given 10 seconds for a sign


@pytest.mark.parametrize("kind", ["HEAD", "GET"])
def test_an_interrupt_does_not_wait_for_the_head_of_an_answer(root: Path, options: Options, kind: str) -> None:
    pressed: list[float] = []

    class Stalling(LyingHub):
        def _wait(self, asked: str) -> None:
            if asked == kind and not pressed:
                pressed.append(time.monotonic())
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            super()._wait(asked)

    with Stalling(root, hang=[kind]) as hub:
        with pytest.raises(KeyboardInterrupt):
            HubSource("org/model", options(hub)).fetch(Selection(), Silent())
        assert time.monotonic() - pressed[0] < 9  # a server is given 10 seconds for a sign
        assert hooked()  # whatever still waits does so under the watch
        sent = len(hub.requests)
    for thread in threading.enumerate():
        if thread.name.startswith("aiverify-fetch"):
            thread.join(30)
    assert len(hub.requests) == sent
    assert not hooked()
    assert _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory


def test_a_client_that_changed_its_inner_parts_is_refused(hub: LyingHub, tmp_path: Path) -> None:
    program = f"""
import huggingface_hub.utils._headers as headers
import huggingface_hub._snapshot_download
del headers.build_hf_headers
from aiverify.progress import Silent
from aiverify.sources.hub import HubSource
from aiverify.sources.interface import HubOptions, Selection, SourceError
from pathlib import Path
try:
    HubSource("org/model", HubOptions(endpoint={hub.endpoint!r}, cache_dir=Path("cache"))).fetch(Selection(), Silent())
except SourceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "the installed huggingface_hub cannot be used: huggingface_hub.utils._headers has changed\n"
    assert hub.requests == []
