"""Digests of earlier runs: believed in the very state that they were taken in, and never missed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from aiverify.store.remembering import DigestCache
from aiverify.store.store import Store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that changed long enough ago."""
    place = tmp_path / "file"
    place.write_bytes(b"content")
    return place


def later(place: Path) -> float:
    """A time at which the last change of the file is no longer racy."""
    return place.stat().st_ctime + 3


def test_nothing_is_made_before_there_is_something_to_remember(tmp_path: Path, old: Path) -> None:
    cache = DigestCache(tmp_path / "store")
    assert cache.digest(old.stat()) is None
    assert not (tmp_path / "store").exists()
    assert cache.keep_digest(old.stat(), "a" * 64, hashed_at=later(old))
    assert DigestCache(tmp_path / "store").digest(old.stat()) == "a" * 64
    assert Store(tmp_path / "store").index.digest(old.stat()) == "a" * 64


@pytest.mark.parametrize("change", ["bytes", "bytes and time", "mode", "replaced", "link"])
def test_any_change_of_state_is_another_file(tmp_path: Path, old: Path, change: str) -> None:
    cache = DigestCache(tmp_path / "store")
    state = old.stat()
    cache.keep_digest(state, "a" * 64, hashed_at=later(old))
    if change == "mode":
        old.chmod(0o600)
    elif change == "link":
        os.link(old, tmp_path / "other")
    elif change == "replaced":
        (tmp_path / "new").write_bytes(b"content")
        os.utime(tmp_path / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
        (tmp_path / "new").replace(old)
    else:
        old.write_bytes(b"CONTENT")
        if "time" in change:
            os.utime(old, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert cache.digest(old.stat()) is None


def test_a_file_that_may_still_be_written_is_not_remembered(tmp_path: Path, old: Path) -> None:
    cache = DigestCache(tmp_path / "store")
    assert not cache.keep_digest(old.stat(), "a" * 64, hashed_at=time.time())
    assert not cache.keep_digest(old.stat(), "a" * 64, hashed_at=old.stat().st_ctime - 100)  # a clock that goes wrong


@pytest.mark.parametrize("broken", ["a file", "no database", "a newer format"])
def test_a_store_that_cannot_be_used_is_said_once_and_harms_nothing(tmp_path: Path, old: Path, broken: str) -> None:
    root = tmp_path / "store"
    if broken == "a file":
        root.write_text("")
    else:
        root.mkdir(mode=0o700)
        (root / "index.sqlite").write_bytes(b"no database" * 1000)
    if broken == "a newer format":
        import sqlite3

        (root / "index.sqlite").unlink()
        with sqlite3.connect(root / "index.sqlite") as connection:
            connection.execute("PRAGMA user_version = 99")
        (root / "index.sqlite").chmod(0o600)
    said: list[str] = []
    cache = DigestCache(root, said=said.append)
    assert not cache.keep_digest(old.stat(), "a" * 64, hashed_at=later(old))
    assert cache.digest(old.stat()) is None
    assert len(said) == 1
    assert said[0].startswith("digests are not remembered: ")


def test_digests_of_long_ago_are_forgotten(tmp_path: Path, old: Path) -> None:
    with Store(tmp_path / "store") as store:
        store.index.keep_sealed([(old.stat(), "a" * 64)])
        store.index.forget_digests("2000-01-01")
        assert store.index.digest(old.stat()) == "a" * 64
        store.index.forget_digests("9")
        assert store.index.digest(old.stat()) is None
