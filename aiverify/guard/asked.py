"""A file that is asked about: its digest, and the states by which files are known again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from aiverify.guard.interface import Admission, refusal
from aiverify.store.index import RACY, Index
from aiverify.store.interface import Member, Sealed, StoreError

#: Device, inode, size, mtime and ctime.
State = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A file that was opened: its name, its state, and what its bytes are."""

    path: Path
    sha256: str
    size: int
    sealing: bool
    state: State

    @property
    def member(self) -> Member:
        """What the store is given."""
        return Member(path=self.path.name, location=self.path, size=self.size, sha256=self.sha256)

    @property
    def files(self) -> dict[str, Sealed]:
        """What a snapshot of it holds."""
        return {self.path.name: Sealed(sha256=self.sha256, size=self.size)}


def state_of(found: os.stat_result) -> State:
    """The state in a stat result."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def states(admission: Admission) -> tuple[State, ...] | None:
    """The states of everything that is opened because of ``admission``; ``None`` if something is not there."""
    twin = admission.twin
    try:
        return tuple(state_of(path.stat()) for path in (admission.sealed, *((twin.recipe,) if twin else ())))
    except OSError:
        return None


def digest(handle: int, path: Path, index: Index, *, fresh: bool) -> tuple[str, int, bool]:
    """SHA-256 and size of the open file, and whether it changed too recently to be remembered by its state.

    ``fresh``: what ``index`` remembers is not believed. Raises LoadRefused if the file changes meanwhile.
    """
    before, began = os.fstat(handle), time.time()
    known = None if fresh else index.digest(before)
    if known is not None:
        return known, before.st_size, False
    with os.fdopen(os.dup(handle), "rb", buffering=0) as file:
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if state_of(os.fstat(handle)) != state_of(before):
        raise refusal(path, "block", ("it changed while it was read (AIV103)",), rules=("AIV103",))
    with contextlib.suppress(StoreError):  # a store that can only be read is of use all the same
        index.keep_digest(before, sha256, hashed_at=began)
    return sha256, before.st_size, before.st_ctime > began - RACY
