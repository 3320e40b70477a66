"""SHA-256 of every file as it lies on disk, streamed and in parallel, compared with what the source states.

The files are told apart from others by device, inode, size and times before anybody reads them. The digests are taken
in threads of their own while other work on the same files goes on; a file that is not the same when it is opened for
its digest, or at the end of the run, is a finding. Where the source states a git blob id instead of a SHA-256, that is
computed in the same pass.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiverify.artifact import FetchedFile
from aiverify.errors import AiverifyError
from aiverify.finding import Finding
from aiverify.progress import Progress
from aiverify.rules import finding

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_CHUNK = 4 << 20  # long enough that a thread seldom waits for the interpreter lock
_THREADS = 8


class DigestError(AiverifyError):
    """A file could not be read."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a changed file from an unchanged one, without reading it: a write or a replacement changes a field."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """The identity in a stat result."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The digests of one file (lower-case hex), its size in bytes, and its identity before anybody read it.

    ``sha256`` is ``None`` for a file that was spared. ``git_sha1`` is only there when the source states nothing better
    than a git blob id. ``replaced`` tells that another file lay there when this one was to be read.
    """

    path: str
    location: Path
    size: int
    sha256: str | None
    git_sha1: str | None
    identity: Identity
    replaced: bool = False


class Digesting:
    """The digests of ``files``, in the making. Use it as a context manager: leaving it ends its threads."""

    def __init__(self, files: Sequence[FetchedFile]) -> None:
        """Settle which files are meant. Nothing is read yet. Raises DigestError for a file that is not there."""
        self.files = tuple(files)
        self.identities = {file.path: _identity(file) for file in files}
        self._tally = _Tally()
        self._pool: ThreadPoolExecutor | None = None
        self._begun: dict[str, Future[Digest]] = {}

    def begin(self, spared: Container[str] = ()) -> None:
        """Read the files from now on, but not those at the paths ``spared`` if the source states nothing about them."""
        from concurrent.futures import ThreadPoolExecutor  # a run that takes no digests starts faster

        self._pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _THREADS))
        for file in self.files:
            if file.path not in spared or (file.sha256, file.git_sha1) != (None, None):
                identity = self.identities[file.path]
                self._begun[file.path] = self._pool.submit(_digest, file, identity, self._tally)

    def meant(self) -> list[Digest]:
        """The files, in their order, without digests."""
        return [self._spared(file) for file in self.files]

    def finish(self, progress: Progress) -> list[Digest]:
        """The digest of each file, in their order. Raises DigestError for a file that cannot be read."""
        if self._begun:
            progress.stage("digest", sum(file.size for file in self.files if file.path in self._begun))
            self._tally.listen(progress)
        return [
            self._begun[file.path].result() if file.path in self._begun else self._spared(file) for file in self.files
        ]

    def _spared(self, file: FetchedFile) -> Digest:
        identity = self.identities[file.path]
        return Digest(
            path=file.path,
            location=file.location,
            size=identity.size,
            sha256=None,
            git_sha1=None,
            identity=identity,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tally.stopped = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def compare(files: Sequence[FetchedFile], digests: Sequence[Digest], *, stated: bool) -> Iterator[Finding]:
    """What the digests say about the source's statements. ``stated`` tells that the source should have made some."""
    for file, digest in zip(files, digests, strict=True):
        if file.sha256 is not None:
            if digest.sha256 != file.sha256:
                yield _mismatch(file.path, "SHA-256", file.sha256, digest.sha256 or "nothing")
        elif file.git_sha1 is not None:
            if digest.git_sha1 != file.git_sha1:
                yield _mismatch(file.path, "git blob id", file.git_sha1, digest.git_sha1 or "nothing")
        elif stated:
            yield finding("AIV104", "the Hub states no digest for it", file=file.path)


def changed(digests: Sequence[Digest]) -> Iterator[Finding]:
    """A finding for every file that is no longer, or was not all the time, the one that was meant."""
    for digest in digests:
        try:
            same = Identity.of(digest.location.stat()) == digest.identity and not digest.replaced
        except OSError:
            same = False
        if not same:
            yield finding("AIV103", "changed on disk during the run", file=digest.path)


class _Tally:
    """Counts what the threads have read until somebody listens, and tells them when nobody waits for them any more."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = Lock()
        self._count = 0
        self._listener: Progress | None = None

    def advance(self, count: int) -> None:
        with self._lock:
            if self._listener is None:
                self._count += count
                return
        self._listener.advance(count)

    def listen(self, progress: Progress) -> None:
        with self._lock:
            self._listener = progress
        progress.advance(self._count)


def _identity(file: FetchedFile) -> Identity:
    try:
        return Identity.of(file.location.stat())
    except OSError as error:
        raise _unreadable(file, error) from error


def _digest(file: FetchedFile, identity: Identity, tally: _Tally) -> Digest:
    buffer = memoryview(bytearray(min(_CHUNK, identity.size + 1)))
    sha256 = hashlib.sha256()
    try:
        with file.location.open("rb", buffering=0) as opened:
            found = Identity.of(os.fstat(opened.fileno()))
            git = None
            if file.sha256 is None and file.git_sha1 is not None:
                git = hashlib.sha1(b"blob %d\0" % found.size, usedforsecurity=False)
            while (count := opened.readinto(buffer)) and not tally.stopped:
                sha256.update(buffer[:count])
                if git is not None:
                    git.update(buffer[:count])
                tally.advance(count)
    except OSError as error:
        raise _unreadable(file, error) from error
    return Digest(
        path=file.path,
        location=file.location,
        size=found.size,
        sha256=sha256.hexdigest(),
        git_sha1=git.hexdigest() if git is not None else None,
        identity=identity,
        replaced=found != identity,
    )


def _unreadable(file: FetchedFile, error: OSError) -> DigestError:
    return DigestError(
        f"{file.path}: cannot be read: {error.strerror or error}", hint="Check the file's permissions and the disk."
    )


def _mismatch(path: str, kind: str, stated: str, found: str) -> Finding:
    text = f"the {kind} is {found[:12]}…, the Hub states {stated[:12]}…"
    return finding("AIV101", text, file=path, evidence={"stated": stated, "found": found})
