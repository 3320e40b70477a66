"""The bytes of the store, each content once, under its SHA-256.

The rules:

- Bytes enter by reflink or copy, never by hard link from elsewhere: whoever can write the source could write the blob.
  Only a file that the store made itself gets its name without being copied.
- What is hashed are the bytes of the store's own file, or those on their way into it. Only a file with the expected
  digest gets a name.
- A blob is read-only (0444), and sealed with fs-verity where the file system has it.
- A name appears by linking a synced file: there is no half-written blob, and a whole one is never replaced.
- A blob counts as there if it is in the very state that its digest was taken in, or else has its digest now. Links to
  it, and their removal, change its state; they are made where that is noted (``renewed``).

Source: Linux ``include/uapi/linux/{fs,fsverity}.h`` for the two ioctls.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from aiverify.store.index import Index
from aiverify.store.interface import StoreError
from aiverify.store.locks import alone

_FICLONE = 0x40049409
_ENABLE_VERITY = 0x40806685
_MEASURE_VERITY = 0xC0046686
_SHA256, _BLOCK = 1, 4096
_BUFFER = 4 << 20
_READ_ONLY = 0o444
_CANNOT_CLONE = (
    *(errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EACCES),
    *(errno.EBADF, errno.ETXTBSY),
)

Advance = Callable[[int], None]


class Blobs:
    """The blobs below ``root``, whose states ``index`` remembers. ``lock`` is the file to lock while links are made."""

    def __init__(self, root: Path, index: Index, lock: Path) -> None:
        self._root = root
        self._index = index
        self._lock = lock

    def place(self, sha256: str) -> Path:
        """Where the blob with this digest lies, if it is there."""
        return self._root / sha256[:2] / sha256

    def holds(self, sha256: str, size: int) -> bool:
        """Whether the blob is there, sealed and with its bytes."""
        return self.is_whole(self.place(sha256), sha256, size)

    def is_whole(self, place: Path, sha256: str, size: int) -> bool:
        """Whether a sealed file with this digest lies at ``place``: as remembered for its state, or taken now."""
        try:
            if not is_sealed(place, size):
                return False
            state = place.lstat()
            if self._index.digest(state) == sha256:
                return True
            if digest_of(place) != sha256:
                return False
            if place.lstat().st_ctime_ns == state.st_ctime_ns:
                self._keep(state, sha256)
        except OSError:
            return False
        return True

    def put(self, source: Path, sha256: str, size: int, workshop: Path, advance: Advance = lambda _: None) -> Path:
        """Bring the file at ``source`` in, unless its content is there. ``advance`` is told of bytes.

        Raises StoreError when the bytes are not the expected ones, or cannot be read or written.
        """
        if self.holds(sha256, size):
            advance(size)
            return self.place(sha256)
        try:
            handle, name = tempfile.mkstemp(dir=workshop)
            with os.fdopen(handle, "w+b", buffering=0) as ours, source.open("rb", buffering=0) as theirs:
                cloned = clone(theirs.fileno(), ours.fileno())
                read = ours.fileno() if cloned else theirs.fileno()
                found, count = _digest(read, advance, into=None if cloned else ours.fileno())
        except OSError as error:
            raise StoreError(f"{source}: cannot be sealed in the store: {error.strerror or error}") from error
        if (found, count) != (sha256, size):
            raise StoreError(
                f"{source}: changed since it was verified", hint="Find out what writes to it, and verify again."
            )
        return self.adopt(Path(name), sha256, size)

    def adopt(self, draft: Path, sha256: str, size: int) -> Path:
        """Make the finished file ``draft`` of a workshop, all of whose bytes were hashed, a blob. Raises StoreError."""
        place = self.place(sha256)
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            with draft.open("rb") as file:
                os.fchmod(file.fileno(), _READ_ONLY)
                os.fsync(file.fileno())
            _seal(draft)
            with alone(self._lock):
                self._name(draft, place, sha256, size)
            sync_folder(place.parent)
        except OSError as error:
            raise StoreError(f"{place}: cannot be written: {error.strerror or error}") from error
        return place

    def _name(self, draft: Path, place: Path, sha256: str, size: int) -> None:
        """Give the finished file its name. A whole one that is there stays: snapshots may be linked to it already."""
        try:
            os.link(draft, place)
            draft.unlink()
        except FileExistsError:
            if self.is_whole(place, sha256, size):
                return
            draft.replace(place)  # somebody was at it; the snapshots that hold it are broken with or without it
        self._keep(place.lstat(), sha256)

    @contextlib.contextmanager
    def renewed(self, digests: Iterable[str]) -> Iterator[None]:
        """Make or remove links to blobs in the block; what was in the state of its digest before it still is."""
        with alone(self._lock):
            vouched = []
            for sha256 in set(digests):
                with contextlib.suppress(OSError):
                    if self._index.digest(self.place(sha256).lstat()) == sha256:
                        vouched.append(sha256)
            try:
                yield
            finally:
                states = []
                for sha256 in vouched:
                    with contextlib.suppress(OSError):
                        states.append((self.place(sha256).lstat(), sha256))
                with contextlib.suppress(StoreError):
                    self._index.keep_sealed(states)

    def _keep(self, state: os.stat_result, sha256: str) -> None:
        with contextlib.suppress(StoreError):  # it is only slower without
            self._index.keep_sealed([(state, sha256)])

    def __iter__(self) -> Iterator[Path]:
        """Every blob, by digest, and whatever else lies where blobs do."""
        try:
            for folder in sorted(self._root.iterdir()):
                yield from sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else [folder]
        except OSError as error:
            raise StoreError(f"{self._root}: cannot be read: {error.strerror or error}") from error


def is_sealed(place: Path, size: int) -> bool:
    """Whether a regular read-only file of ``size`` bytes lies there, which belongs to us or to root."""
    try:
        state = place.lstat()
    except OSError:
        return False
    ours = state.st_uid in (os.geteuid(), 0)
    return ours and state.st_mode == 0o100000 | _READ_ONLY and state.st_size == size


def digest_of(place: Path, advance: Advance = lambda _: None) -> str:
    """The SHA-256 of a file. Raises OSError."""
    with place.open("rb", buffering=0) as file:
        return _digest(file.fileno(), advance)[0]


def measured(place: Path) -> bool:
    """Whether the file system vouches for the bytes of the file itself (fs-verity)."""
    with contextlib.suppress(OSError), place.open("rb") as file:
        fcntl.ioctl(file.fileno(), _MEASURE_VERITY, bytearray(struct.pack("<HH", 0, 64) + bytes(64)))
        return True
    return False


def clone(source: int, target: int) -> bool:
    """Have the file ``target`` share the blocks of ``source``; ``False`` where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_CLONE:
            raise
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make names that were given in ``folder`` last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(target: int, part: memoryview) -> None:
    """Write all of ``part``. Raises OSError."""
    written = 0
    while written < len(part):
        written += os.write(target, part[written:])


def _digest(source: int, advance: Advance, into: int | None = None) -> tuple[str, int]:
    digest, count = hashlib.sha256(), 0
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    os.lseek(source, 0, os.SEEK_SET)
    while length := os.readv(source, [buffer]):
        part = view[:length]
        digest.update(part)
        if into is not None:
            write_all(into, part)
        count += length
        advance(length)
    return digest.hexdigest(), count


def _seal(place: Path) -> None:
    """Have the file system itself refuse changes, where it can. That it cannot is no error."""
    request = struct.pack("<IIII QI 4x Q 88x", 1, _SHA256, _BLOCK, 0, 0, 0, 0)
    with contextlib.suppress(OSError), place.open("rb") as file:
        fcntl.ioctl(file.fileno(), _ENABLE_VERITY, request)
