"""The workshop: what a run brings in, and what becomes of it when the run does not end well."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from aiverify.artifact import FetchedFile
from aiverify.digests.hashing import Digesting
from aiverify.progress import Silent
from aiverify.store import blobs, workshop
from aiverify.store.interface import Member, StoreError
from aiverify.store.store import Store
from aiverify.store.workshop import SMALL

DATA = os.urandom(SMALL + 5)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> FetchedFile:
    (tmp_path / "model.safetensors").write_bytes(DATA)
    return FetchedFile(path="model.safetensors", location=tmp_path / "model.safetensors", size=len(DATA))


def hashed(file: FetchedFile, made: workshop.Workshop) -> str | None:
    with Digesting([file], copies=made) as digesting:
        digesting.begin()
        return digesting.finish(Silent())[0].sha256


def sealed(store: Store, file: FetchedFile, made: workshop.Workshop) -> Path:
    member = Member(path=file.path, location=file.location, size=file.size, sha256=SHA256)
    return store.seal([member], workshop=made).root / file.path


def test_the_copy_that_was_made_while_hashing_is_sealed(store: Store, file: FetchedFile) -> None:
    with store.workshop() as made:
        assert hashed(file, made) == SHA256
        file.location.unlink()  # it is not read again
        assert sealed(store, file, made).read_bytes() == DATA
    assert list((store.root / "temporary").iterdir()) == []
    assert list(store.faults()) == []


def test_a_file_system_that_clones_is_hashed_from_its_clone(
    store: Store, file: FetchedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cloned(source: int, target: int) -> bool:
        os.lseek(source, 0, os.SEEK_SET)
        os.write(target, os.read(source, 2 * SMALL))
        os.lseek(target, 0, os.SEEK_SET)
        return True

    monkeypatch.setattr(workshop, "clone", cloned)
    with store.workshop() as made:
        assert hashed(file, made) == SHA256
        assert sealed(store, file, made).read_bytes() == DATA


def test_a_copy_that_could_not_be_written_does_not_stop_the_digest(
    store: Store, file: FetchedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, part: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workshop, "write_all", full)
    with store.workshop() as made:
        assert hashed(file, made) == SHA256
        assert sealed(store, file, made).read_bytes() == DATA  # by another way, with room again


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_while_copying_is_a_typed_error_and_leaves_nothing(
    store: Store, file: FetchedFile, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(blobs, "write_all", broken)
    member = Member(path=file.path, location=file.location, size=file.size, sha256=SHA256)
    with pytest.raises(StoreError, match=os.strerror(number)):
        store.seal([member])
    assert (store.snapshots(), store.blob_bytes()) == ([], 0)
    assert list((store.root / "temporary").iterdir()) == []


def test_only_what_a_load_takes_as_it_is_is_copied(store: Store, tmp_path: Path) -> None:
    def files(*paths: str, size: int = SMALL) -> list[FetchedFile]:
        return [FetchedFile(path=path, location=tmp_path / path, size=size) for path in paths]

    with store.workshop() as made:
        assert made.wanted(files("a.safetensors", "b.gguf", "c.bin")) == {"a.safetensors"}
        assert made.wanted(files("b.gguf", "c.bin")) == {"b.gguf"}
        assert made.wanted(files("c.bin", "d.pt")) == frozenset()
        assert made.wanted(files("a.safetensors", size=SMALL - 1)) == frozenset()


def test_what_is_sealed_already_is_not_copied_again(store: Store, file: FetchedFile) -> None:
    store.seal([Member(path=file.path, location=file.location, size=file.size, sha256=SHA256)])
    stated = FetchedFile(path=file.path, location=file.location, size=file.size, sha256=SHA256)
    with store.workshop() as made:
        assert made.wanted([stated]) == frozenset()


def test_a_living_run_is_left_alone_and_a_dead_one_is_cleared_up(store: Store) -> None:
    with store.workshop() as living:
        (living.folder / "draft").write_bytes(b"half")
        dead = store.root / "temporary" / "dead"
        dead.mkdir()
        (dead / "draft").write_bytes(b"half")
        store.prune(lambda _: False)
        assert not dead.exists()
        dead.mkdir()
        with store.workshop():
            assert not dead.exists()
            assert (living.folder / "draft").exists()


def test_a_file_that_the_run_did_not_make_needs_a_digest(store: Store, file: FetchedFile) -> None:
    with store.workshop() as made, pytest.raises(StoreError, match="was not made by this run"):
        store.seal([Member(path="x", location=file.location, size=file.size, sha256=None)], workshop=made)


def test_a_link_in_the_workshop_is_not_what_the_run_made(store: Store, file: FetchedFile) -> None:
    with store.workshop() as made:
        made.twins.mkdir()
        (made.twins / "x").symlink_to(file.location)
        with pytest.raises(StoreError, match="was not made by this run"):
            store.seal([Member(path="x", location=made.twins / "x", size=file.size, sha256=None)], workshop=made)


def test_what_shares_contents_with_a_new_snapshot_is_not_hashed_again(
    store: Store, file: FetchedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new link changes the state of a content, and so does the removal of one."""
    from aiverify.store.interface import Question

    member = Member(path="a", location=file.location, size=file.size, sha256=SHA256)
    question = Question(subject="a", policy="p", rules="r", engines="e", tool="t")
    store.record(question, "pass", "{}", store.seal([member]))
    other = store.seal([Member(path="b", location=file.location, size=file.size, sha256=SHA256)])
    monkeypatch.setattr(blobs, "_digest", lambda *_, **__: pytest.fail("hashed again"))
    assert store.recall(question) is not None
    store.prune(lambda snapshot: snapshot.id != other.id)
    assert store.recall(question) is not None


def test_a_content_that_was_changed_is_replaced_when_it_is_sealed_again(store: Store, file: FetchedFile) -> None:
    member = Member(path="a", location=file.location, size=file.size, sha256=SHA256)
    place = store.seal([member]).root / "a"
    place.chmod(0o644)
    place.write_bytes(bytes(len(DATA)))
    place.chmod(0o444)
    assert (store.seal([member]).root / "a").read_bytes() == DATA
    assert list(store.faults()) == []
