"""The store: what goes in stays as it is, and comes out only whole."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.store import index
from aiverify.store.interface import Member, Question, Sealed, Snapshot, StoreError, identity
from aiverify.store.store import Store, unused_for

CONTENT = {
    "config.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "sub/tokenizer.json": b"[]",
    "copy.json": b"{}",
}


def members(folder: Path, content: dict[str, bytes] = CONTENT) -> list[Member]:
    made = []
    for path, data in content.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        made.append(Member(path=path, location=place, size=len(data), sha256=digest))
    return made


def question(**changes: str) -> Question:
    return Question(**{"subject": "a@1", "policy": "p", "rules": "r", "engines": "e", "tool": "t"} | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def age(place: Path) -> None:
    """Wait until the file's last change is no longer racy."""
    while time.time() - place.stat().st_ctime < index.RACY:
        time.sleep(0.05)


# sealing


def test_a_snapshot_has_the_bytes_and_can_only_be_read(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    assert {path: (snapshot.root / path).read_bytes() for path in CONTENT} == CONTENT
    for place in (snapshot.root, *snapshot.root.rglob("*")):
        assert place.stat().st_mode & 0o777 == (0o555 if place.is_dir() else 0o444)
        assert not place.is_symlink()


def test_a_file_is_never_a_link_to_its_source(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    (source / "config.json").write_bytes(b"{'evil': 1}")
    assert (snapshot.root / "config.json").read_bytes() == b"{}"
    assert not os.path.samestat((source / "config.json").stat(), (snapshot.root / "config.json").stat())


def test_equal_contents_lie_there_once(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    other = store.seal(members(source, {"elsewhere.json": b"{}"}))
    places = [snapshot.root / "config.json", snapshot.root / "copy.json", other.root / "elsewhere.json"]
    assert len({place.stat().st_ino for place in places}) == 1
    assert len(list((store.root / "blobs").rglob("*/*"))) == 3


def test_the_same_files_are_the_same_snapshot(store: Store, source: Path) -> None:
    assert store.seal(members(source)).root == store.seal(list(reversed(members(source)))).root


@pytest.mark.parametrize("change", [b"{1", b"{} ", b""], ids=["other bytes", "longer", "shorter"])
def test_a_file_that_changed_since_it_was_verified_is_refused(store: Store, source: Path, change: bytes) -> None:
    wanted = members(source)
    (source / "config.json").write_bytes(change)
    with pytest.raises(StoreError, match="changed since"):
        store.seal(wanted)
    assert store.snapshots() == []
    assert list((store.root / "temporary").iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../x", "a//x", ".", "a\\x", "", "config.json/x"])
def test_a_path_that_is_not_plain_is_refused(store: Store, source: Path, path: str) -> None:
    (one, *_) = members(source)
    other = Member(path=path, location=one.location, size=one.size, sha256=one.sha256)
    with pytest.raises(StoreError):
        store.seal([one, other])
    assert store.snapshots() == []


def test_a_file_that_is_not_there_is_refused_with_its_name(store: Store, source: Path) -> None:
    wanted = members(source)
    (source / "config.json").unlink()
    with pytest.raises(StoreError, match=r"config\.json: cannot be sealed"):
        store.seal(wanted)


def test_a_folder_that_cannot_be_a_store_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made a store") as caught:
        Store(tmp_path / "file" / "store")
    assert "AIVERIFY_STORE" in caught.value.diagnostics()


sealed = st.builds(Sealed, sha256=st.sampled_from(("a" * 64, "b" * 64)), size=st.integers(0, 3))
contents = st.dictionaries(st.sampled_from(("a", "b", "a:a", "1:a", "a\nb")), sealed, max_size=4)


@effort(300)
@given(contents, contents)
def test_different_contents_have_different_names(one: dict[str, Sealed], other: dict[str, Sealed]) -> None:
    assert (identity(one) == identity(other)) == (one == other)


# recalling


def test_a_verdict_is_recalled_under_its_question_only(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    store.record(question(), "pass", "{}", snapshot)
    answer, found = store.recall(question()) or pytest.fail("nothing was recalled")
    assert (answer.outcome, found.root if found else None) == ("pass", snapshot.root)
    for part in ("subject", "policy", "rules", "engines", "tool"):
        assert store.recall(question(**{part: "other"})) is None


def test_a_verdict_without_a_snapshot_is_recalled(store: Store) -> None:
    store.record(question(), "block", "{}", None)
    answer, found = store.recall(question()) or pytest.fail("nothing was recalled")
    assert (answer.outcome, found) == ("block", None)


def unlink(place: Path) -> None:
    place.parent.chmod(0o755)
    place.unlink()


def rewrite(place: Path) -> None:
    place.chmod(0o644)
    place.write_bytes(b"[]"[: place.stat().st_size])
    place.chmod(0o444)


def rewrite_and_set_back(place: Path) -> None:
    state = place.stat()
    rewrite(place)
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))


def swap(place: Path) -> None:
    unlink(place)
    place.write_bytes(b"{}")
    place.chmod(0o444)


def add(place: Path) -> None:
    place.parent.chmod(0o755)
    (place.parent / "extra.py").write_text("")


def make_writable(place: Path) -> None:
    place.chmod(0o644)


TAMPERING = [unlink, rewrite, rewrite_and_set_back, swap, add, make_writable]


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
def test_a_snapshot_that_was_tampered_with_is_not_recalled(
    store: Store, source: Path, tamper: Callable[[Path], None]
) -> None:
    snapshot = store.seal(members(source))
    store.record(question(), "pass", "{}", snapshot)
    age(snapshot.root / "config.json")
    assert store.recall(question()) is not None
    tamper(snapshot.root / "config.json")
    assert store.recall(question()) is None
    assert list(store.faults())


def test_a_whole_store_has_no_faults(store: Store, source: Path) -> None:
    store.seal(members(source))
    assert list(store.faults()) == []


def test_what_was_damaged_is_sealed_anew(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    rewrite(snapshot.root / "config.json")
    blob = store.root / "blobs" / hashlib.sha256(b"{}").hexdigest()[:2] / hashlib.sha256(b"{}").hexdigest()
    assert blob.read_bytes() == b"[]"
    store.prune(lambda _: False)
    assert (store.seal(members(source)).root / "config.json").read_bytes() == b"{}"


# digests


def test_a_digest_is_remembered_for_the_state_that_it_was_taken_in(store: Store, source: Path) -> None:
    place = members(source)[0].location
    age(place)
    assert store.index.digest(place.stat()) is None
    assert store.index.keep_digest(place.stat(), "d" * 64, hashed_at=time.time())
    assert store.index.digest(place.stat()) == "d" * 64
    state = place.stat()
    place.write_bytes(b"[]")
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert store.index.digest(place.stat()) is None


def test_a_digest_of_a_file_that_just_changed_is_not_remembered(store: Store, source: Path) -> None:
    place = members(source)[0].location
    assert not store.index.keep_digest(place.stat(), "d" * 64, hashed_at=time.time())
    assert store.index.digest(place.stat()) is None


# housekeeping


def test_pruning_removes_what_is_not_kept_and_nothing_else(store: Store, source: Path) -> None:
    kept = store.seal(members(source))
    other = store.seal(members(source, {"other.bin": b"other" * 100, "config.json": b"{}"}))
    store.record(question(), "pass", "{}", other)
    (store.root / "temporary" / "left").write_bytes(b"left behind")
    pruned = store.prune(lambda snapshot: snapshot.id == kept.id)
    assert pruned.snapshots == (other.id,)
    assert pruned.freed == 500
    assert not other.root.exists()
    assert store.recall(question()) is None
    assert [snapshot.id for snapshot in store.snapshots()] == [kept.id]
    assert list(store.faults()) == []
    assert list((store.root / "temporary").iterdir()) == []


def test_what_was_used_lately_is_kept(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    old = Snapshot(id="x", root=snapshot.root, files={}, sealed_at="", used_at="2020-01-01T00:00:00Z")
    assert unused_for(1)(snapshot)
    assert not unused_for(1)(old)


# the index


def test_a_store_of_a_newer_format_is_refused_and_left_alone(store: Store, source: Path) -> None:
    store.seal(members(source))
    store.close()
    place = store.root / "index.sqlite"
    with sqlite3.connect(place) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="format 99 is newer"):
        Store(store.root).snapshots()
    with sqlite3.connect(place) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)


def test_a_broken_index_is_refused_with_the_way_out(store: Store) -> None:
    (store.root / "index.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError) as caught:
        store.snapshots()
    assert "--store" in caught.value.diagnostics()


def test_an_older_index_is_migrated(store: Store, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = store.seal(members(source))
    store.close()
    monkeypatch.setattr(index, "FORMAT", index.FORMAT + 1)
    monkeypatch.setattr(index, "_MIGRATIONS", {index.FORMAT - 1: "ALTER TABLE snapshots ADD COLUMN note TEXT"})
    assert Store(store.root).index.subjects(snapshot.id) == []
    with sqlite3.connect(store.root / "index.sqlite") as connection:
        assert connection.execute("SELECT note FROM snapshots").fetchall() == [(None,)]


def test_a_forked_process_opens_its_own_connection(store: Store, source: Path) -> None:
    snapshot = store.seal(members(source))
    child = os.fork()
    if child == 0:
        os._exit(0 if store.snapshot(snapshot.id) and store.seal(members(source)).root == snapshot.root else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.snapshot(snapshot.id)


# many at once

RACE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from aiverify.store.interface import Member
from aiverify.store.store import Store
import hashlib, json
store, source = Store(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for round in range(20):
    members = []
    for place in sorted(source.iterdir()):
        data = place.read_bytes()
        members.append(Member(path=place.name, location=place, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
    snapshot = store.seal(members[round % 3:])
    assert all((snapshot.root / each.path).read_bytes() == each.location.read_bytes() for each in members[round % 3:])
    if round % 7 == 3:
        store.prune(lambda kept: True)
print(json.dumps(sorted(snapshot.files)))
"""


def racers(store: Store, source: Path, count: int) -> list[subprocess.Popen[str]]:
    source.mkdir()
    for number in range(6):
        (source / f"{number}.bin").write_bytes(os.urandom(1000) * (number * 500 + 1))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(store.root), str(source), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for racer in started:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    return started


def go(racer: subprocess.Popen[str]) -> None:
    assert racer.stdin is not None
    racer.stdin.write("\n")
    racer.stdin.flush()


def test_eight_processes_leave_the_store_whole(store: Store, source: Path) -> None:
    started = racers(store, source, 8)
    for racer in started:
        go(racer)
    outputs = [racer.communicate(timeout=120)[0] for racer in started]
    assert [racer.returncode for racer in started] == [0] * 8
    assert len({json.dumps(json.loads(output)) for output in outputs}) == 1
    assert list(store.faults()) == []


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_process_that_is_killed_leaves_the_store_whole(store: Store, source: Path, after: float) -> None:
    (racer,) = racers(store, source, 1)
    go(racer)
    time.sleep(after)
    racer.send_signal(signal.SIGKILL)
    racer.communicate()
    assert list(store.faults()) == []
    store.prune(lambda _: False)
    assert list((store.root / "temporary").iterdir()) == []
    assert list((store.root / "snapshots").iterdir()) == []
    assert list(store.faults()) == []
