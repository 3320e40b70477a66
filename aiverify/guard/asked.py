"""A file that is asked about, and the states by which files are known again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aiverify.guard.interface import Admission
from aiverify.store.interface import Member, Sealed

#: Device, inode, size, mtime and ctime.
State = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A file that was opened: its name, and what its bytes are."""

    path: Path
    sha256: str
    size: int
    sealing: bool

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
