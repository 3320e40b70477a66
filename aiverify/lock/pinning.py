"""The artifact of a lockfile that a target stands for, and how it is to be fetched.

The rules: a target that is not locked is an error with the way out. So is another revision than the locked one, and a
folder where a repository was locked. The commit is that of the lock, wherever the branch leads by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aiverify.lock.lockfile import LockedArtifact, LockError, read_lockfile
from aiverify.lock.naming import named
from aiverify.sources.hub import HubSource
from aiverify.sources.interface import HubOptions, Selection, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What was locked, where to get it, and which files of it."""

    artifact: LockedArtifact
    source: Source
    selection: Selection


def pinned(
    lockfile: Path,
    target: str,
    options: HubOptions,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    all_files: bool = False,
) -> Pinned:
    """What ``lockfile`` says of ``target``. The selection is that of the lock unless one is given. Raises LockError."""
    found = named(target, options)
    artifact = read_lockfile(lockfile).artifacts.get(found.key)
    if artifact is None:
        raise LockError(f"{lockfile}: {target} is not locked", hint=f"Verify and lock it: aiverify lock {target}")
    if (found.repo is None) != (artifact.commit is None):
        was = "a repository" if artifact.commit is not None else "a folder or file"
        raise LockError(f"{lockfile}: {target} was locked as {was}", hint="Lock it again, as what it is now.")
    if found.explicit and found.revision not in (artifact.revision, artifact.commit):
        raise LockError(
            f"{lockfile}: {found.key} is locked at {artifact.revision}, not at {found.revision}",
            hint=f"Leave the revision out, or lock the other one: aiverify lock {found.key}@{found.revision}",
        )
    source = found.source
    if found.repo is not None:
        source = HubSource(found.repo, replace(options, revision=artifact.commit), target)
    return Pinned(
        artifact=artifact,
        source=source,
        selection=selection_of(artifact, include=include, exclude=exclude, all_files=all_files),
    )


def selection_of(
    artifact: LockedArtifact, *, include: Sequence[str] = (), exclude: Sequence[str] = (), all_files: bool = False
) -> Selection:
    """Which files of a locked artifact to fetch: at least those that the lock names, unless a selection is given."""
    given = bool(include or exclude)
    return Selection(
        include=tuple(include) if given else artifact.include,
        exclude=tuple(exclude) if given else artifact.exclude,
        lean=not all_files,
        kept=frozenset(file.path for file in artifact.files),
    )
