"""The client's cache, read without the client."""

from __future__ import annotations

import os.path
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.sources.hubclient import cache as module
from aiverify.sources.hubclient.cache import RepoCache, is_revision
from aiverify.sources.interface import SourceError

COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path: Path) -> RepoCache:
    return RepoCache(tmp_path, "org/model")


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/12", "feature/x-y_z", "a" * 40, "1", "ü"])
def test_names_that_git_allows(revision: str) -> None:
    assert is_revision(revision)


@given(st.text(alphabet="ab./\\@{-~^:?*[\0\n \x7f", max_size=8) | st.text(max_size=20))
def test_a_revision_never_leads_out_of_a_folder(revision: str) -> None:
    if is_revision(revision):
        joined = os.path.normpath(f"/refs/{revision}")
        assert joined == f"/refs/{revision}"
        assert not any(ord(character) <= 0x20 or character in "\\~^:?*[" for character in revision)


def test_a_ref_is_remembered_and_replaced(cache: RepoCache) -> None:
    assert cache.commit("refs/pr/1") is None
    cache.remember("refs/pr/1", COMMIT)
    assert cache.commit("refs/pr/1") == COMMIT
    cache.remember("refs/pr/1", "d" * 40)
    assert cache.commit("refs/pr/1") == "d" * 40
    assert [path.name for path in (cache.folder / "refs" / "refs" / "pr").iterdir()] == ["1"]
    assert cache.commit(COMMIT) == COMMIT


def test_a_ref_that_cannot_be_written_is_let_be(cache: RepoCache) -> None:
    cache.remember("a/b", COMMIT)
    cache.remember("a", COMMIT)
    assert cache.commit("a/b") == COMMIT
    with pytest.raises(SourceError, match="cannot be read"):
        cache.commit("a")


def test_a_file_without_end_is_not_read(cache: RepoCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TREE", 10)
    (cache.folder / "trees").mkdir(parents=True)
    (cache.folder / "trees" / f"{COMMIT}.json").write_text(" " * 11)
    with pytest.raises(SourceError, match="longer than 10 bytes"):
        cache.listing(COMMIT)


def test_there_is_no_listing_until_one_was_kept(cache: RepoCache) -> None:
    assert cache.listing(COMMIT) is None


def test_a_discarded_file_is_gone_with_its_blobs_and_nothing_else(tmp_path: Path) -> None:
    cache = RepoCache(tmp_path, "org/model")
    shared, blob = tmp_path / "blobs" / "aa" / "xet", cache.folder / "blobs" / "etag"
    place = cache.root("c" * 40) / "sub" / "file"
    for each in (shared, blob, place):
        each.parent.mkdir(parents=True, exist_ok=True)
    shared.write_text("bytes")
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    place.symlink_to(os.path.relpath(blob, place.parent))
    (blob.parent / "other").write_text("stays")
    cache.discard("c" * 40, "sub/file")
    assert not any(os.path.lexists(each) for each in (shared, blob, place))
    assert (blob.parent / "other").read_text() == "stays"
    cache.discard("c" * 40, "sub/file")


def test_a_file_behind_a_folder_that_leads_out_is_not_discarded(tmp_path: Path) -> None:
    cache = RepoCache(tmp_path / "cache", "org/model")
    cache.root("c" * 40).mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (cache.root("c" * 40) / "sub").symlink_to(tmp_path / "mine", target_is_directory=True)
    cache.discard("c" * 40, "sub/file")
    assert (tmp_path / "mine" / "file").read_text() == "mine"
