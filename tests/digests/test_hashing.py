"""Digests of the bytes on disk, and whether those bytes are still there at the end."""

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiverify.artifact import FetchedFile
from aiverify.digests import hashing
from aiverify.digests.hashing import DigestError, Digesting, changed, compare
from aiverify.progress import Silent


class Counting(Silent):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.total = self.done = 0

    def stage(self, name, total=None):
        self.total = total

    def advance(self, count):
        with self.lock:
            self.done += count


@pytest.fixture
def put(tmp_path):
    def put(name: str, content: bytes, **stated) -> FetchedFile:
        location = tmp_path / name
        location.write_bytes(content)
        return FetchedFile(path=name, location=location, size=len(content), **stated)

    return put


def digests(*files, progress=None):
    with Digesting(files) as digesting:
        digesting.begin()
        return digesting.finish(progress or Silent())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(30))
@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_every_file_is_digested_in_order(put, contents):
    files = [put(f"f{number}", content) for number, content in enumerate(contents)]
    progress = Counting()
    found = digests(*files, progress=progress)
    assert [digest.sha256 for digest in found] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert [digest.path for digest in found] == [file.path for file in files]
    assert progress.total == progress.done == sum(map(len, contents))


def test_a_file_longer_than_a_chunk_is_digested_whole(put):
    content = os.urandom((1 << 20) * 3 + 17)
    (found,) = digests(put("big", content))
    assert (found.sha256, found.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert found.git_sha1 is None


def test_many_files_all_get_their_own_digest(put):
    contents = [b"x" * number for number in range(300)]
    found = digests(*(put(f"f{number}", content) for number, content in enumerate(contents)))
    assert [digest.sha256 for digest in found] == [hashlib.sha256(content).hexdigest() for content in contents]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("content", [b"", b"x", b"a\r\nb\n", b"\0" * 2_000_000])
def test_the_git_blob_id_is_what_git_computes(put, content):
    file = put("f", content, git_sha1="0" * 40)
    (found,) = digests(file)
    theirs = subprocess.run(
        ["git", "hash-object", "--no-filters", file.location], capture_output=True, text=True, check=True
    )
    assert found.git_sha1 == theirs.stdout.strip()


def test_a_stated_sha256_makes_the_git_blob_id_needless(put):
    (found,) = digests(put("f", b"x", sha256="0" * 64, git_sha1="0" * 40))
    assert found.git_sha1 is None


def test_bytes_that_are_the_stated_ones_are_no_finding(put):
    sha256 = hashlib.sha256(b"x").hexdigest()
    git = hashlib.sha1(b"blob 1\0x").hexdigest()
    files = [
        put("a", b"x", sha256=sha256),
        put("b", b"x", git_sha1=git),
        put("c", b"x"),
        put("d", b"x", sha256=sha256, git_sha1="0" * 40),
    ]
    assert list(compare(files, digests(*files), stated=False)) == []


@pytest.mark.parametrize("stated", [{"sha256": "0" * 64}, {"git_sha1": "0" * 40}])
def test_bytes_that_are_not_the_stated_ones_are_critical(put, stated):
    files = [put("a", b"x", **stated), put("b", b"y")]
    (item,) = compare(files, digests(*files), stated=False)
    assert (item.rule, item.severity, item.file) == ("AIV101", "critical", "a")
    assert item.evidence["stated"] == next(iter(stated.values()))
    assert item.evidence["found"] != item.evidence["stated"]


def test_a_digest_that_a_hub_should_have_stated_is_missed(put):
    files = [put("a", b"x"), put("b", b"x", sha256=hashlib.sha256(b"x").hexdigest())]
    (item,) = compare(files, digests(*files), stated=True)
    assert (item.rule, item.file) == ("AIV104", "a")


def test_comparing_other_files_than_were_digested_is_a_mistake_of_ours(put):
    with pytest.raises(ValueError):
        list(compare([put("a", b"x"), put("b", b"x")], digests(put("a", b"x")), stated=False))


def rewritten_in_place(path: Path) -> None:
    path.write_bytes(b"new content")


def rewritten_with_the_old_times(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.replace(path)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def removed(path: Path) -> None:
    path.unlink()


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "change", [rewritten_in_place, rewritten_with_the_old_times, replaced, grown, removed, made_a_folder]
)
def test_a_file_that_changes_during_the_run_is_seen(put, change):
    files = [put("a", b"old content"), put("b", b"kept")]
    found = digests(*files)
    assert list(changed(found)) == []
    change(files[0].location)
    (item,) = changed(found)
    assert (item.rule, item.severity, item.file) == ("AIV103", "critical", "a")


def test_a_file_that_is_read_is_not_a_changed_file(put):
    file = put("a", b"x")
    found = digests(file)
    file.location.read_bytes()
    assert list(changed(found)) == []


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(put, tmp_path):
    good = put("good", b"x")
    for missing in (tmp_path / "missing", tmp_path):
        bad = FetchedFile(path="the/file", location=missing, size=1)
        with pytest.raises(DigestError, match="the/file: cannot be read") as caught:
            digests(good, bad)
        assert "permissions" in caught.value.diagnostics()


def test_an_error_while_reading_is_an_error(put, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashing.Identity, "of", broken)
    with pytest.raises(DigestError, match="Input/output error"):
        digests(put("a", b"x"))


def test_leaving_the_block_ends_the_threads_at_once(put, tmp_path):
    """A sparse file of terabytes would take an hour; the threads stop at their next chunk."""
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    files = [put("small", b"x"), FetchedFile(path="huge", location=huge, size=1 << 40)]
    with Digesting(files) as digesting:
        digesting.begin()
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(timeout=20)
            assert not thread.is_alive()


def test_an_interruption_while_waiting_ends_the_threads_too(put, tmp_path):
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)

    class Impatient(Silent):
        def advance(self, count):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digests(FetchedFile(path="huge", location=huge, size=1 << 40), progress=Impatient())


def test_work_that_goes_on_meanwhile_hears_of_no_progress_but_the_listener_hears_of_all(put):
    content = os.urandom(10_000_000)
    progress = Counting()
    with Digesting([put("a", content), put("b", b"x")]) as digesting:
        digesting.begin()
        assert progress.done == 0
        digesting.finish(progress)
    assert progress.total == progress.done == len(content) + 1


def test_files_are_settled_before_they_are_read(put):
    file = put("a", b"old content")
    with Digesting([file]) as digesting:
        replaced(file.location)
        digesting.begin()
        (found,) = digesting.finish(Silent())
    assert found.sha256 == hashlib.sha256(b"old content").hexdigest()
    (item,) = changed([found])
    assert (item.rule, item.file) == ("AIV103", "a")


def test_a_file_that_is_swapped_and_swapped_back_while_it_is_digested_is_seen(put, tmp_path, monkeypatch):
    file = put("a", b"honest")
    kept = tmp_path / "kept"
    real = hashing.Identity.of
    with Digesting([file]) as digesting:
        meant = digesting.meant()[0].identity
        file.location.rename(kept)
        file.location.write_bytes(b"hostile")
        digesting.begin()
        (found,) = digesting.finish(Silent())
        kept.replace(file.location)
    # A file system that does not note the renaming: what lies there at the end is what was meant.
    monkeypatch.setattr(hashing.Identity, "of", lambda status: meant if status.st_ino == meant.inode else real(status))
    assert [item.rule for item in changed([found])] == ["AIV103"]


def test_a_spared_file_has_no_digest_unless_the_source_states_one(put):
    files = [put("a", b"x"), put("b", b"y", sha256=hashlib.sha256(b"y").hexdigest()), put("c", b"z", git_sha1="0" * 40)]
    progress = Counting()
    with Digesting(files) as digesting:
        digesting.begin(spared={"a", "b", "c"})
        found = digesting.finish(progress)
    assert [item.sha256 is None for item in found] == [True, False, False]
    assert progress.total == progress.done == 2
    assert [item.file for item in compare(files, found, stated=False)] == ["c"]
    files[0].location.write_bytes(b"X")
    assert [item.file for item in changed(found)] == ["a"]


def test_what_was_never_begun_has_no_digests_but_can_still_be_seen_to_change(put):
    progress = Counting()
    with Digesting([put("a", b"x", sha256="0" * 64)]) as digesting:
        found = digesting.finish(progress)
    assert (found, progress.total) == (digesting.meant(), 0)
    assert [item.rule for item in compare(digesting.files, found, stated=True)] == ["AIV101"]
