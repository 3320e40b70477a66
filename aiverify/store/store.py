"""The store: what passed, sealed under its digest, so that what is loaded is what was verified.

    root/
      index.sqlite         what is there, and the verdicts (``index``)
      blobs/aa/aa…         contents, by SHA-256, read-only (``blobs``)
      snapshots/id/…       folders of links to blobs, read-only (``snapshots``)
      temporary/           what is on its way in

Sealing and using happen side by side in any number of processes; removing waits until nobody else is at it, and others
wait for it (a lock on a file). The store is its owner's: 0700.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiverify.store.blobs import Advance, Blobs, digest_of, is_sealed
from aiverify.store.index import Answer, Index, Row
from aiverify.store.interface import Member, Question, Sealed, Snapshot, StoreError, identity
from aiverify.store.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed: snapshots by id, and the bytes that became free."""

    snapshots: tuple[str, ...]
    freed: int


def default_root() -> Path:
    """``AIVERIFY_STORE``, else ``$XDG_CACHE_HOME/aiverify``, else ``~/.cache/aiverify``."""
    chosen = os.environ.get("AIVERIFY_STORE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "aiverify"


class Store:
    """The store at ``root``, made if it is not there. Raises StoreError if it cannot be."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()
        temporary = self.root / "temporary"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (temporary, self.root / "blobs", self.root / "snapshots"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.root}: cannot be made a store: {error.strerror or error}",
                hint="Name another folder with --store or AIVERIFY_STORE.",
            ) from error
        self._temporary = temporary
        self._blobs = Blobs(self.root / "blobs", temporary)
        self._snapshots = Snapshots(self.root / "snapshots", self._blobs)
        self.index = Index(self.root / "index.sqlite")

    def close(self) -> None:
        """Give back what the store holds open."""
        self.index.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # sealing and using

    def seal(self, members: Iterable[Member], advance: Advance = lambda _: None) -> Snapshot:
        """Bring the files in, and make a snapshot of them. Raises StoreError when one is not what it was said to be."""
        wanted = list(members)
        with self._locked(fcntl.LOCK_SH):
            for member in wanted:
                self._blobs.put(member.location, member.sha256, member.size, advance)
            files = {member.path: Sealed(sha256=member.sha256, size=member.size) for member in wanted}
            name = identity(files)
            root = self._snapshots.make(name, files)
            now = _now()
            self.index.remember(Row(id=name, files=files, sealed_at=now, used_at=now))
        return Snapshot(id=name, root=root, files=files, sealed_at=now, used_at=now)

    def record(self, question: Question, outcome: str, report: str, snapshot: Snapshot | None) -> None:
        """Keep a verdict, and the snapshot that may be loaded because of it."""
        answer = Answer(outcome=outcome, snapshot=snapshot.id if snapshot else None, report=report, examined_at=_now())
        self.index.record(question, answer)

    def recall(self, question: Question) -> tuple[Answer, Snapshot | None] | None:
        """The verdict under exactly this question, and its snapshot if that is still whole; ``None`` if not."""
        answer = self.index.answer(question)
        if answer is None or answer.snapshot is None:
            return None if answer is None else (answer, None)
        snapshot = self.snapshot(answer.snapshot)
        if snapshot is None or not self._is_whole(snapshot):
            return None
        row = Row(id=snapshot.id, files=snapshot.files, sealed_at=snapshot.sealed_at, used_at=_now())
        self.index.remember(row)
        return answer, snapshot

    def snapshot(self, name: str) -> Snapshot | None:
        """The snapshot of that id, if it is remembered and there."""
        row = self.index.snapshot(name)
        root = self._snapshots.place(name)
        return None if row is None or not root.is_dir() else _snapshot(row, root)

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot, the one that was used last first."""
        return [_snapshot(row, self._snapshots.place(row.id)) for row in self.index.snapshots()]

    def _is_whole(self, snapshot: Snapshot) -> bool:
        """Whether every file is the sealed one, with the bytes that it was sealed with."""
        if next(self._snapshots.faults(snapshot.id, snapshot.files), None) is not None:
            return False
        return all(self._vouched(snapshot.root / path, file) for path, file in snapshot.files.items())

    def _vouched(self, place: Path, file: Sealed) -> bool:
        """Whether a file has its digest: as remembered for the very state that it is in, or taken now."""
        try:
            if not is_sealed(place, file.size):
                return False
            state = place.lstat()
            if self.index.digest(state) == file.sha256:
                return True
            began = time.time()
            if digest_of(place) != file.sha256:
                return False
        except OSError:
            return False
        if place.lstat().st_ctime_ns == state.st_ctime_ns:
            self.index.keep_digest(state, file.sha256, hashed_at=began)
        return True

    # housekeeping

    def faults(self, advance: Advance = lambda _: None) -> Iterator[str]:
        """What is wrong with the store: every blob is hashed, every snapshot compared with what is remembered."""
        for row in self.index.snapshots():
            yield from self._snapshots.faults(row.id, row.files)
        for blob in self._blobs:
            with contextlib.suppress(FileNotFoundError):
                state = blob.lstat()
                if not is_sealed(blob, state.st_size):
                    yield f"{blob}: is not sealed (mode {state.st_mode & 0o7777:o})"
                if digest_of(blob, advance) != blob.name:
                    yield f"{blob}: its bytes were changed"

    def prune(self, keep: Callable[[Snapshot], bool]) -> Pruned:
        """Remove the snapshots that ``keep`` says no to, contents that no snapshot holds, and what was left behind."""
        removed: list[str] = []
        freed = 0
        with self._locked(fcntl.LOCK_EX):
            for snapshot in self.snapshots():
                if not keep(snapshot):
                    self.index.forget(snapshot.id)
                    self._snapshots.drop(snapshot.id)
                    removed.append(snapshot.id)
            kept = {snapshot.id for snapshot in self.snapshots()}
            for name in set(self._snapshots) - kept:  # left behind by a run that was killed
                self._snapshots.drop(name)
            for blob in list(self._blobs):
                state = blob.lstat()
                if state.st_nlink == 1:
                    blob.unlink()
                    freed += state.st_size
            for part in self._temporary.iterdir():
                part.unlink(missing_ok=True)
        return Pruned(snapshots=tuple(removed), freed=freed)

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        try:
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{self.root}: cannot be locked: {error.strerror or error}") from error
        try:
            fcntl.flock(handle, kind)
            yield
        finally:
            os.close(handle)


def unused_for(days: float) -> Callable[[Snapshot], bool]:
    """Keeps what was used within the last ``days``."""
    before = time.time() - days * 86400

    def keep(snapshot: Snapshot) -> bool:
        return datetime.datetime.fromisoformat(snapshot.used_at).timestamp() >= before

    return keep


def _snapshot(row: Row, root: Path) -> Snapshot:
    return Snapshot(id=row.id, root=root, files=row.files, sealed_at=row.sealed_at, used_at=row.used_at)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
