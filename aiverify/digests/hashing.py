"""SHA-256 of every file as it lies on disk, streamed and in parallel, compared with what the source states.

Files are opened once; the facts that identify the opened file (device, inode, size, times) are kept, so that the end of
a run can tell whether what was judged is still what lies there. Where the source states a git blob id instead of a
SHA-256, that is computed in the same pass.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from aiverify.artifact import FetchedFile
from aiverify.errors import AiverifyError
from aiverify.finding import Finding
from aiverify.progress import Progress
from aiverify.rules import finding

_CHUNK = 1 << 20


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
    """The digests of one file (lower-case hex), its size in bytes, and the identity of the file that was read.

    ``git_sha1`` is only there when the source states nothing better than a git blob id.
    """

    path: str
    location: Path
    size: int
    sha256: str
    git_sha1: str | None
    identity: Identity


def digest_files(files: Sequence[FetchedFile], progress: Progress) -> Iterator[Digest]:
    """The digest of each file, in the order of ``files``. Raises DigestError for a file that cannot be read."""
    progress.stage("digest", sum(file.size for file in files))
    stop = _Stop()
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            yield from pool.map(lambda file: _digest(file, progress.advance, stop), files)
        except BaseException:
            stop.requested = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def compare(files: Sequence[FetchedFile], digests: Sequence[Digest], *, stated: bool) -> Iterator[Finding]:
    """What the digests say about the source's statements. ``stated`` tells that the source should have made some."""
    for file, digest in zip(files, digests, strict=True):
        if file.sha256 is not None:
            if digest.sha256 != file.sha256:
                yield _mismatch(file.path, "SHA-256", file.sha256, digest.sha256)
        elif file.git_sha1 is not None:
            if digest.git_sha1 != file.git_sha1:
                yield _mismatch(file.path, "git blob id", file.git_sha1, digest.git_sha1 or "nothing")
        elif stated:
            yield finding("AIV104", "the Hub states no digest for it", file=file.path)


def changed(digests: Sequence[Digest]) -> Iterator[Finding]:
    """A finding for every file that is no longer the one that was read."""
    for digest in digests:
        try:
            same = Identity.of(digest.location.stat()) == digest.identity
        except OSError:
            same = False
        if not same:
            yield finding("AIV103", "changed on disk during the run", file=digest.path)


class _Stop:
    """Tells the threads that nobody waits for them any more."""

    requested = False


def _digest(file: FetchedFile, advance: Callable[[int], None], stop: _Stop) -> Digest:
    buffer = memoryview(bytearray(_CHUNK))
    sha256 = hashlib.sha256()
    try:
        with file.location.open("rb", buffering=0) as opened:
            identity = Identity.of(os.fstat(opened.fileno()))
            git = None
            if file.sha256 is None and file.git_sha1 is not None:
                git = hashlib.sha1(b"blob %d\0" % identity.size, usedforsecurity=False)
            while (count := opened.readinto(buffer)) and not stop.requested:
                sha256.update(buffer[:count])
                if git is not None:
                    git.update(buffer[:count])
                advance(count)
    except OSError as error:
        raise DigestError(
            f"{file.path}: cannot be read: {error.strerror or error}", hint="Check the file's permissions and the disk."
        ) from error
    return Digest(
        path=file.path,
        location=file.location,
        size=identity.size,
        sha256=sha256.hexdigest(),
        git_sha1=git.hexdigest() if git is not None else None,
        identity=identity,
    )


def _mismatch(path: str, kind: str, stated: str, found: str) -> Finding:
    text = f"the {kind} is {found[:12]}…, the Hub states {stated[:12]}…"
    return finding("AIV101", text, file=path, evidence={"stated": stated, "found": found})
