"""SHA-256 of every file as it lies on disk, streamed and in parallel, compared with what the source states.

The files are told apart from others by device, inode, size and times before anybody reads them. The digests are taken
in threads of their own while other work on the same files goes on; a file that is not the same when it is opened for
its digest, or at the end of the run, is a finding. Where the source states a git blob id instead of a SHA-256, that is
computed in the same pass.

A digest that an earlier run took of a file in this very state is as good as one that is taken now; only large files are
worth remembering. A copy that somebody wants of a file is made in the same pass.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiverify.artifact import FetchedFile
from aiverify.digests.interface import Copies, Memory
from aiverify.errors import AiverifyError
from aiverify.finding import Finding
from aiverify.progress import Progress
from aiverify.rules import finding

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_CHUNK = 4 << 20  # long enough that a thread seldom waits for the interpreter lock
_THREADS = 8
#: Digests of smaller files are taken anew: that takes no longer than asking.
REMEMBERED = 1 << 20


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
    than a git blob id. ``replaced`` tells that another file lay there when this one was to be read. ``hashed_at`` is
    when its bytes began to be read (seconds of ``time.time``), ``None`` if they were not.
    """

    path: str
    location: Path
    size: int
    sha256: str | None
    git_sha1: str | None
    identity: Identity
    replaced: bool = False
    hashed_at: float | None = None


class Digesting:
    """The digests of ``files``, in the making. Use it as a context manager: leaving it ends its threads."""

    def __init__(
        self, files: Sequence[FetchedFile], *, memory: Memory | None = None, copies: Copies | None = None
    ) -> None:
        """Settle which files are meant. Nothing is read yet. Raises DigestError for a file that is not there.

        ``memory`` has digests of earlier runs, ``copies`` takes copies of what is read.
        """
        self.files = tuple(files)
        self.identities: dict[str, Identity] = {}
        self._states: dict[str, os.stat_result] = {}
        for file in files:
            try:
                self._states[file.path] = file.location.stat()
                self.identities[file.path] = Identity.of(self._states[file.path])
            except OSError as error:
                raise _unreadable(file, error) from error
        self._memory = memory
        self._copies = copies
        self._remembered: dict[str, Digest] = {}
        self._tally = _Tally()
        self._pool: ThreadPoolExecutor | None = None
        self._begun: dict[str, Future[Digest]] = {}

    def begin(self, spared: Container[str] = ()) -> None:
        """Read the files from now on, but not those at the paths ``spared`` if the source states nothing about them."""
        from concurrent.futures import ThreadPoolExecutor  # a run that takes no digests starts faster

        self._pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _THREADS))
        copied = self._copies.wanted(self.files) if self._copies is not None else ()
        for file in self.files:
            if file.path in spared and (file.sha256, file.git_sha1) == (None, None):
                continue
            known = self._known(file)
            if known is not None:
                self._remembered[file.path] = known
                continue
            identity = self.identities[file.path]
            copies = self._copies if file.path in copied else None
            self._begun[file.path] = self._pool.submit(_digest, file, identity, self._tally, copies)

    def _known(self, file: FetchedFile) -> Digest | None:
        """The digest that an earlier run took of the file in its present state, if that is all that is needed."""
        by_git = file.sha256 is None and file.git_sha1 is not None
        if self._memory is None or by_git or self.identities[file.path].size < REMEMBERED:
            return None
        sha256 = self._memory.digest(self._states[file.path])
        return replace(self._spared(file), sha256=sha256) if sha256 is not None else None

    def meant(self) -> list[Digest]:
        """The files, in their order, without digests."""
        return [self._spared(file) for file in self.files]

    def finish(self, progress: Progress) -> list[Digest]:
        """The digest of each file, in their order. Raises DigestError for a file that cannot be read."""
        if self._begun:
            progress.stage("digest", sum(file.size for file in self.files if file.path in self._begun))
            self._tally.listen(progress)
        return [self._taken(file) for file in self.files]

    def _taken(self, file: FetchedFile) -> Digest:
        if file.path not in self._begun:
            return self._remembered.get(file.path) or self._spared(file)
        digest = self._begun[file.path].result()
        large = digest.size >= REMEMBERED and not digest.replaced
        if self._memory is not None and large and digest.sha256 is not None and digest.hashed_at is not None:
            self._memory.keep_digest(self._states[file.path], digest.sha256, hashed_at=digest.hashed_at)
        return digest

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


def changed(digests: Sequence[Digest], said: Iterable[Finding] = ()) -> Iterator[Finding]:
    """A finding for every file that is no longer, or was not all the time, the one that was meant.

    Of those whose change was ``said`` nothing is said again.
    """
    known = {item.file for item in said if item.rule == "AIV103"}
    for digest in digests:
        if digest.path in known:
            continue
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


def _digest(file: FetchedFile, identity: Identity, tally: _Tally, copies: Copies | None) -> Digest:
    buffer = memoryview(bytearray(min(_CHUNK, identity.size + 1)))
    sha256 = hashlib.sha256()
    count = 0
    try:
        with file.location.open("rb", buffering=0) as opened:
            hashed_at = time.time()
            found = Identity.of(os.fstat(opened.fileno()))
            git = None
            if file.sha256 is None and file.git_sha1 is not None:
                git = hashlib.sha1(b"blob %d\0" % found.size, usedforsecurity=False)
            copy = copies.begin(file, opened.fileno()) if copies is not None else None
            try:
                reading = copy.descriptor if copy is not None and copy.descriptor is not None else opened.fileno()
                while (length := os.readv(reading, [buffer])) and not tally.stopped:
                    sha256.update(buffer[:length])
                    if git is not None:
                        git.update(buffer[:length])
                    if copy is not None:
                        copy.write(buffer[:length])
                    count += length
                    tally.advance(length)
            finally:
                if copy is not None:
                    copy.finish(sha256.hexdigest(), count)
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
        hashed_at=hashed_at,
    )


def _unreadable(file: FetchedFile, error: OSError) -> DigestError:
    return DigestError(
        f"{file.path}: cannot be read: {error.strerror or error}", hint="Check the file's permissions and the disk."
    )


def _mismatch(path: str, kind: str, stated: str, found: str) -> Finding:
    text = f"the {kind} is {found[:12]}…, the Hub states {stated[:12]}…"
    return finding("AIV101", text, file=path, evidence={"stated": stated, "found": found})
