"""A model as a set of files at one pinned revision."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from aiverify.finding import Finding


class FileClass(enum.StrEnum):
    """What role a file plays when the model is loaded."""

    WEIGHTS = "weights"
    CODE = "code"
    CONFIG = "config"
    INERT = "inert"
    OTHER_FRAMEWORK = "other-framework"


class SourceKind(enum.StrEnum):
    """Where an artifact came from."""

    HUB = "hub"
    FOLDER = "folder"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """One file as a source hands it over: where it lies on disk, and what the source states about its bytes.

    ``path`` is POSIX, relative and unique within the artifact. ``size`` is in bytes. ``sha256`` and ``git_sha1`` (the
    git blob id) are lower-case hex, or ``None`` where the source states nothing: a local folder states nothing.
    """

    path: str
    location: Path
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What the fetch stage hands over.

    ``revision`` is the commit (40 hex digits) for a Hub repository and ``None`` otherwise. ``left_out`` are the paths
    that the source has but the user's selection excluded; one that ends in ``/`` stands for a whole folder.
    ``findings`` are what the source itself noticed: a link that leads out, a file that the Hub does not state.
    """

    target: str
    kind: SourceKind
    root: Path
    files: tuple[FetchedFile, ...]
    repo: str | None = None
    revision: str | None = None
    left_out: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One file of an artifact: POSIX relative path, size in bytes, SHA-256 of the bytes on disk if it was taken."""

    path: str
    size: int
    sha256: str | None
    format: str
    file_class: FileClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The files that were examined, pinned to the revision they came from."""

    source: SourceKind
    files: tuple[ArtifactFile, ...]
    repo: str | None = None
    revision: str | None = None
