"""The store: what passed, sealed under its digest, so that what is loaded is what was verified.

    root/
      index.sqlite         what is there, and the verdicts (``index``)
      blobs/aa/aa…         contents, by SHA-256, read-only (``blobs``)
      snapshots/id/…       folders of links to blobs, read-only (``snapshots``)
      temporary/           what runs are bringing in (``workshop``)
      lock, links          what processes wait for each other by (``locks``)

Sealing and using happen side by side in any number of processes; removing waits until nobody else is at it, and others
wait for it. The store is its owner's: 0700 (``folders``).
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiverify.store.blobs import Advance, Blobs, digest_of, is_sealed
from aiverify.store.folders import default_root, make_private
from aiverify.store.index import Answer, Index, Row
from aiverify.store.interface import Member, Question, Sealed, Snapshot, StoreError, identity
from aiverify.store.locks import alone, alone_if_free, shared
from aiverify.store.snapshots import Snapshots
from aiverify.store.workshop import Workshop, clear_up, opened

__all__ = ["Pruned", "Store", "default_root", "unused_for"]

#: A use is noted when the last one that was noted is this long ago, in seconds.
_NOTED = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, or would be: snapshots by id, and the bytes that became free."""

    snapshots: tuple[str, ...]
    freed: int


class Store:
    """The store at ``root``, made if it is not there. Raises StoreError if it cannot be."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()
        make_private(self.root, above=True)
        self._temporary = self.root / "temporary"
        for folder in (self._temporary, self.root / "blobs", self.root / "snapshots"):
            make_private(folder)
        self._lock = self.root / "lock"
        self.index = Index(self.root / "index.sqlite")
        self._blobs = Blobs(self.root / "blobs", self.index, self.root / "links")
        self._snapshots = Snapshots(self.root / "snapshots", self._blobs)

    def close(self) -> None:
        """Give back what the store holds open."""
        self.index.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # sealing and using

    def workshop(self) -> contextlib.AbstractContextManager[Workshop]:
        """A folder for one run to bring files in by. Raises StoreError."""
        with alone_if_free(self._lock) as free:
            if free:
                clear_up(self._temporary)
        return opened(self._temporary, self._blobs, shared(self._lock))

    def seal(
        self, members: Iterable[Member], advance: Advance = lambda _: None, workshop: Workshop | None = None
    ) -> Snapshot:
        """Bring the files in, and make a snapshot of them. Raises StoreError when one is not what it was said to be.

        ``workshop`` has the copies that were made while the files were hashed, and the files that the run made itself.
        """
        if workshop is None:
            with self.workshop() as made:
                return self.seal(members, advance, made)
        with shared(self._lock):
            files = {member.path: self._sealed(member, workshop, advance) for member in members}
            name = identity(files)
            with self._blobs.renewed(file.sha256 for file in files.values()):
                root = self._snapshots.make(name, files)
            now = _now()
            self.index.remember(Row(id=name, files=files, sealed_at=now, used_at=now))
        return Snapshot(id=name, root=root, files=files, sealed_at=now, used_at=now)

    def _sealed(self, member: Member, workshop: Workshop, advance: Advance) -> Sealed:
        if member.sha256 is None:
            return self._adopted(member, workshop, advance)
        draft = workshop.draft(member.location, member.sha256, member.size)
        if draft is not None and not self._blobs.place(member.sha256).exists():
            self._blobs.adopt(draft, member.sha256, member.size)
            advance(member.size)
        else:
            self._blobs.put(member.location, member.sha256, member.size, workshop.folder, advance)
        return Sealed(sha256=member.sha256, size=member.size)

    def _adopted(self, member: Member, workshop: Workshop, advance: Advance) -> Sealed:
        if not member.location.is_relative_to(workshop.folder) or member.location.is_symlink():
            raise StoreError(f"{member.location}: was not made by this run")
        try:
            digest = digest_of(member.location, advance)
        except OSError as error:
            raise StoreError(f"{member.location}: cannot be read: {error.strerror or error}") from error
        self._blobs.adopt(member.location, digest, member.size)
        return Sealed(sha256=digest, size=member.size)

    def record(self, question: Question, outcome: str, report: str, snapshot: Snapshot | None) -> None:
        """Keep a verdict, and the snapshot that may be loaded because of it."""
        answer = Answer(outcome=outcome, snapshot=snapshot.id if snapshot else None, report=report, examined_at=_now())
        self.index.record(question, answer)

    def recall(self, question: Question) -> tuple[Answer, Snapshot | None] | None:
        """The verdict under exactly this question, and its snapshot if that is still whole; ``None`` if not."""
        with shared(self._lock):
            answer = self.index.answer(question)
            if answer is None or answer.snapshot is None:
                return None if answer is None else (answer, None)
            snapshot = self.snapshot(answer.snapshot)
            if snapshot is None or not self._is_whole(snapshot):
                return None
            if _seconds(snapshot.used_at) < time.time() - _NOTED:
                row = Row(id=snapshot.id, files=snapshot.files, sealed_at=snapshot.sealed_at, used_at=_now())
                with contextlib.suppress(StoreError):  # a store that can only be read is of use all the same
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
        if identity(snapshot.files) != snapshot.id or not self._snapshots.is_whole(snapshot.id, snapshot.files):
            return False
        return all(
            self._blobs.is_whole(snapshot.root / path, file.sha256, file.size) for path, file in snapshot.files.items()
        )

    # housekeeping

    def blob_bytes(self) -> int:
        """Bytes of all contents, each counted once."""
        return sum(_size(blob) for blob in self._blobs)

    def faults(self, advance: Advance = lambda _: None) -> Iterator[str]:
        """What is wrong with the store: every blob is hashed, every snapshot compared with what is remembered."""
        for row in self.index.snapshots():
            if identity(row.files) != row.id:
                yield f"{self._snapshots.place(row.id)}: what is remembered of it was changed"
            yield from self._snapshots.faults(row.id, row.files)
        for blob in self._blobs:
            try:
                state = blob.lstat()
                if not is_sealed(blob, state.st_size):
                    yield f"{blob}: is not sealed (mode {state.st_mode & 0o7777:o})"
                elif digest_of(blob, advance) != blob.name:
                    yield f"{blob}: its bytes were changed"
            except FileNotFoundError:  # pruned in the meantime
                continue
            except OSError as error:
                yield f"{blob}: cannot be read: {error.strerror or error}"

    def prune(self, keep: Callable[[Snapshot], bool]) -> Pruned:
        """Remove the snapshots that ``keep`` says no to, contents that no snapshot holds, and what was left behind."""
        freed = 0
        with alone(self._lock):
            everything = self.snapshots()
            gone = [snapshot for snapshot in everything if not keep(snapshot)]
            kept = {snapshot.id: snapshot for snapshot in everything if snapshot not in gone}
            for snapshot in gone:
                self.index.forget(snapshot.id)
            shared_contents = {file.sha256 for snapshot in kept.values() for file in snapshot.files.values()}
            with self._blobs.renewed(shared_contents):
                for name in set(self._snapshots) - kept.keys():  # also what was left behind by a run that was killed
                    self._snapshots.drop(name)
            for blob in self._blobs:
                if blob.name not in shared_contents:
                    freed += _removed(blob)
            clear_up(self._temporary)
        return Pruned(snapshots=tuple(snapshot.id for snapshot in gone), freed=freed)

    def prunable(self, keep: Callable[[Snapshot], bool]) -> Pruned:
        """What ``prune`` would remove now."""
        everything = self.snapshots()
        kept = [snapshot for snapshot in everything if keep(snapshot)]
        held = {file.sha256 for snapshot in kept for file in snapshot.files.values()}
        return Pruned(
            snapshots=tuple(snapshot.id for snapshot in everything if snapshot not in kept),
            freed=sum(_size(blob) for blob in self._blobs if blob.name not in held),
        )


def unused_for(days: float) -> Callable[[Snapshot], bool]:
    """Keeps what was used within the last ``days``."""
    before = time.time() - days * 86400

    def keep(snapshot: Snapshot) -> bool:
        return _seconds(snapshot.used_at) >= before

    return keep


def _removed(blob: Path) -> int:
    """Remove a content; the bytes that became free."""
    size = _size(blob)
    try:
        blob.unlink()
    except OSError:
        return 0
    return size


def _size(blob: Path) -> int:
    try:
        return blob.lstat().st_size
    except OSError:
        return 0


def _snapshot(row: Row, root: Path) -> Snapshot:
    return Snapshot(id=row.id, root=root, files=row.files, sealed_at=row.sealed_at, used_at=row.used_at)


def _seconds(moment: str) -> float:
    """RFC 3339 as seconds; 0 for what is none."""
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
