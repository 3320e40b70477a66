"""What the digest stage can use of a store, without knowing one: digests of earlier runs, and copies in one pass."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from typing import Protocol

from aiverify.artifact import FetchedFile


class Memory(Protocol):
    """Digests of earlier runs. What it cannot do, it leaves undone: its methods raise nothing."""

    def digest(self, state: os.stat_result) -> str | None:
        """The SHA-256 of the file with this state, if it was taken in this very state."""

    def keep_digest(self, state: os.stat_result, sha256: str, *, hashed_at: float) -> bool:
        """Keep a digest that was begun to be taken at ``hashed_at`` (seconds of ``time.time``); whether it was kept."""


class Copy(Protocol):
    """A copy of one file in the making. ``descriptor`` is where to read the file from instead, if it is set."""

    descriptor: int | None

    def write(self, part: memoryview) -> None:
        """Take the next bytes that were hashed. Raises nothing."""

    def finish(self, sha256: str, size: int) -> None:
        """No more bytes come, and this is the digest of those that came. Raises nothing."""


class Copies(Protocol):
    """Takes copies of files while they are hashed."""

    def wanted(self, files: Sequence[FetchedFile]) -> Container[str]:
        """The paths of those of ``files`` that a copy is wanted of."""

    def begin(self, file: FetchedFile, descriptor: int) -> Copy | None:
        """A copy of ``file``, which is open as ``descriptor``; ``None`` if there can be none."""
