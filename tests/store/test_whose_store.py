"""Whose a store is: nobody else may write to it, and what passed stays readable where nothing can be written."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import shutil
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiverify.guard.deciding import Settings
from aiverify.guard.gate import StoreGate
from aiverify.guard.interface import LoadRefused
from aiverify.policy import DEFAULT_POLICY
from aiverify.store.folders import default_root
from aiverify.store.interface import Member, Question, StoreError
from aiverify.store.store import Store

NOBODY = 65534
QUESTION = Question(subject="a", policy="p", rules="r", engines="e", tool="t")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="aiverify-test-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], None]) -> None:
    """Do ``work`` as another user, in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc(file=sys.stderr)
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def member(folder: Path, name: str = "config.json", data: bytes = b"{}") -> Member:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return Member(path=name, location=folder / name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_a_new_store_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "new" / "store")
        store.seal([member(tmp_path / "source")])
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    for place in (*store.root.iterdir(), *(store.root / "blobs").iterdir()):
        assert stat.S_IMODE(place.stat().st_mode) in (0o700, 0o600)


def test_our_own_folder_that_others_could_write_to_is_closed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)
    Store(tmp_path / "store")
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


@as_root
def test_a_folder_of_another_user_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    os.chown(tmp_path / "store", NOBODY, NOBODY)
    with pytest.raises(StoreError, match="belongs to another user") as caught:
        Store(tmp_path / "store")
    assert "AIVERIFY_STORE" in caught.value.diagnostics()


@as_root
@pytest.mark.parametrize("name", ["blobs", "snapshots", "temporary"])
def test_neither_is_one_whose_parts_belong_to_another_user(tmp_path: Path, name: str) -> None:
    Store(tmp_path / "store")
    os.chown(tmp_path / "store" / name, NOBODY, NOBODY)
    with pytest.raises(StoreError, match="another user"):
        Store(tmp_path / "store")


@as_root
def test_an_index_of_another_user_is_not_read(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        store.seal([member(tmp_path / "source")])
    os.chown(tmp_path / "store" / "index.sqlite", NOBODY, NOBODY)
    with pytest.raises(StoreError, match="not a file of this user"):
        Store(tmp_path / "store").snapshots()


@as_root
def test_another_user_cannot_use_a_store(open_folder: Path) -> None:
    Store(open_folder / "store")

    def work() -> None:
        with pytest.raises(StoreError):
            Store(open_folder / "store").snapshots()

    as_nobody(work)


@pytest.mark.parametrize("name", ["blobs", "snapshots", "temporary"])
def test_links_in_the_place_of_its_folders_are_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        Store(tmp_path / "store")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["index.sqlite", "lock", "links"])
def test_links_in_the_place_of_its_files_are_not_followed(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "elsewhere").write_bytes(b"")
    (store.root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        store.seal([member(tmp_path / "source")])
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_pruning_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    kept = tmp_path / "elsewhere" / "kept"
    kept.mkdir(parents=True, mode=0o500)
    (store.root / "snapshots" / "planted").symlink_to(kept.parent)
    (store.root / "temporary" / "planted").symlink_to(kept.parent)
    store.prune(lambda _: False)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o500
    assert [*(store.root / "snapshots").iterdir(), *(store.root / "temporary").iterdir()] == []


def test_a_snapshot_that_is_a_link_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    one = member(tmp_path / "source")
    snapshot = store.seal([one])
    snapshot.root.rename(tmp_path / "moved")
    snapshot.root.symlink_to(tmp_path / "moved")
    assert store.seal([one]).root == snapshot.root
    assert not snapshot.root.is_symlink()
    assert (tmp_path / "moved").is_dir()


@as_root
def test_the_owner_cannot_write_by_mistake_and_reads_where_nothing_can_be_written(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)

    def work() -> None:
        with Store(home / "store") as store:
            snapshot = store.seal([member(home / "source")])
            store.record(QUESTION, "pass", "{}", snapshot)
        for attempt in ((snapshot.root / "config.json").write_text, (snapshot.root / "more").write_text):
            with pytest.raises(PermissionError):
                attempt("x")
        with pytest.raises(PermissionError):
            (snapshot.root / "config.json").unlink()
        for folder in (store.root, *(store.root / name for name in ("blobs", "snapshots", "temporary"))):
            folder.chmod(0o555)
        for file in ("index.sqlite", "lock", "links"):
            (store.root / file).chmod(0o444)
        with Store(home / "store") as store:
            _, found = store.recall(QUESTION) or pytest.fail("nothing was recalled")
            assert found is not None
            assert found.root == snapshot.root
            with pytest.raises(StoreError):
                store.seal([member(home / "source", "other.json", b"[]")])

    as_nobody(work)


@as_root
def test_what_a_killed_writer_left_in_the_journal_is_read_where_nothing_can_be_written(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)

    def killed() -> None:
        store = Store(home / "store")
        store.record(QUESTION, "pass", "{}", store.seal([member(home / "source")]))
        os._exit(0)  # nothing is closed

    def work() -> None:
        assert (home / "store" / "index.sqlite-wal").stat().st_size
        for place in (home / "store").iterdir():
            place.chmod(0o555 if place.is_dir() else 0o444)
        (home / "store").chmod(0o555)
        with Store(home / "store") as store:
            assert store.recall(QUESTION) is not None

    as_nobody(killed)
    as_nobody(work)


@as_root
def test_the_guard_loads_what_is_in_a_store_that_can_only_be_read(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder))
    file, unknown = open_folder / "model.pkl", open_folder / "other.pkl"
    file.write_bytes(pickle.dumps({"a": 1}))
    unknown.write_bytes(pickle.dumps({"b": 2}))
    settings = Settings(policy=DEFAULT_POLICY, store=str(open_folder / "store"))
    sealed = StoreGate(settings).admit(file).sealed
    assert StoreGate(settings).admit(sealed).sealed == sealed
    gc.collect()  # the index is closed: nothing of it is in a journal any more
    for place in (open_folder / "store").rglob("*"):
        place.chmod(0o755 if place.is_dir() else 0o444)
    (open_folder / "store").chmod(0o755)

    def work() -> None:
        gate = StoreGate(settings)
        for known in (file, sealed):
            assert gate.admit(known).sealed == sealed
            gate.admit(known, sealing=False)
        with pytest.raises(LoadRefused, match="could not be verified"):
            gate.admit(unknown)

    as_nobody(work)


def test_without_a_home_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIVERIFY_STORE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(StoreError, match="no home"):
        default_root()


@pytest.mark.parametrize("root", ["nul\0", "x" * 5000])
def test_what_is_no_path_is_refused(root: str) -> None:
    with pytest.raises(StoreError):
        Store(Path("/tmp") / root)
