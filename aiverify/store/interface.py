"""Values and errors of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiverify.errors import AiverifyError


class StoreError(AiverifyError):
    """The store cannot be read or written, or what it was given is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file to be sealed: the path that it gets, where its bytes lie now, and what they are.

    ``sha256`` is ``None`` for a file that this very run made in its workshop: its digest is taken as it comes in.
    """

    path: str
    location: Path
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One file of a snapshot: the SHA-256 of its bytes, and how many they are."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sealed folder. ``id`` is the digest of its contents, ``files`` are by path, ``used_at`` is RFC 3339 in UTC."""

    id: str
    root: Path
    files: Mapping[str, Sealed]
    sealed_at: str
    used_at: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a verdict is an answer to: any change asks anew.

    ``subject`` are the bytes: a repository at a commit, or the digest of a local artifact's files, with the selection.
    ``policy`` and ``rules`` are digests, ``engines`` and ``tool`` names with versions.
    """

    subject: str
    policy: str
    rules: str
    engines: str
    tool: str

    @property
    def key(self) -> str:
        """One digest for all of it."""
        parts = (self.subject, self.policy, self.rules, self.engines, self.tool)
        return hashlib.sha256("\0".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def identity(files: Mapping[str, Sealed]) -> str:
    """The digest of a set of files: over the paths in order, each with its digest and size."""
    digest = hashlib.sha256(b"aiverify snapshot 1\n")
    for path in sorted(files):
        file = files[path]
        digest.update(f"{len(path.encode())}:{path}:{file.sha256}:{file.size}\n".encode())
    return digest.hexdigest()
