"""The bytes of the store, each content once, under its SHA-256.

The rules:

- Bytes enter by reflink or copy, never by hard link: whoever can write the source could write the blob.
- What is hashed are the bytes of the store's own file, or those on their way into it. Only a file with the expected
  digest gets a name.
- A blob is read-only (0444), and sealed with fs-verity where the file system has it.
- A name appears by linking a synced file: there is no half-written blob, and none is replaced by another.

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
from collections.abc import Callable, Iterator
from pathlib import Path

from aiverify.store.interface import StoreError

_FICLONE = 0x40049409
_ENABLE_VERITY = 0x40806685
_MEASURE_VERITY = 0xC0046686
_SHA256, _BLOCK = 1, 4096
_BUFFER = 4 << 20
_READ_ONLY = 0o444

Advance = Callable[[int], None]


class Blobs:
    """The blobs below ``root``; ``temporary`` is a folder on the same file system."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self._root = root
        self._temporary = temporary

    def place(self, sha256: str) -> Path:
        """Where the blob with this digest lies, if it is there."""
        return self._root / sha256[:2] / sha256

    def put(self, source: Path, sha256: str, size: int, advance: Advance = lambda _: None) -> Path:
        """Bring the file at ``source`` in, unless its content is there. ``advance`` is told of bytes.

        Raises StoreError when the bytes are not the expected ones, or cannot be read or written.
        """
        place = self.place(sha256)
        if is_sealed(place, size):
            advance(size)
            return place
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._bring(source, place, sha256, size, advance)
        except OSError as error:
            raise StoreError(f"{source}: cannot be sealed in the store: {error.strerror or error}") from error
        return place

    def _bring(self, source: Path, place: Path, sha256: str, size: int, advance: Advance) -> None:
        handle, name = tempfile.mkstemp(dir=self._temporary)
        try:
            with os.fdopen(handle, "w+b", buffering=0) as ours, source.open("rb", buffering=0) as theirs:
                found, count = _copied(theirs.fileno(), ours.fileno(), advance)
                if (found, count) != (sha256, size):
                    raise StoreError(
                        f"{source}: changed since it was verified", hint="Find out what writes to it, and verify again."
                    )
                os.fchmod(ours.fileno(), _READ_ONLY)
                os.fsync(ours.fileno())
            _seal(Path(name))
            _name(Path(name), place, size)
            sync_folder(place.parent)
        finally:
            with contextlib.suppress(OSError):
                Path(name).unlink()

    def __iter__(self) -> Iterator[Path]:
        """Every blob, by digest."""
        for folder in sorted(self._root.iterdir()) if self._root.is_dir() else ():
            yield from sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


def is_sealed(place: Path, size: int) -> bool:
    """Whether a regular read-only file of ``size`` bytes lies there."""
    try:
        state = place.lstat()
    except OSError:
        return False
    return state.st_mode == 0o100000 | _READ_ONLY and state.st_size == size


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


def sync_folder(folder: Path) -> None:
    """Make names that were given in ``folder`` last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copied(source: int, target: int, advance: Advance) -> tuple[str, int]:
    """Clone or copy, and the digest and size of what is now there."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM):
            raise
    else:
        return _digest(target, advance)
    return _digest(source, advance, into=target)


def _digest(source: int, advance: Advance, into: int | None = None) -> tuple[str, int]:
    digest, count = hashlib.sha256(), 0
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    os.lseek(source, 0, os.SEEK_SET)
    while length := os.readv(source, [buffer]):
        part = view[:length]
        digest.update(part)
        if into is not None:
            written = 0
            while written < length:
                written += os.write(into, part[written:])
        count += length
        advance(length)
    return digest.hexdigest(), count


def _name(temporary: Path, place: Path, size: int) -> None:
    """Give the finished file its name. One that is there stays: snapshots may be linked to it already."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        if not is_sealed(place, size):  # somebody was at it; the snapshots that hold it are broken with or without it
            temporary.replace(place)


def _seal(place: Path) -> None:
    """Have the file system itself refuse changes, where it can. That it cannot is no error."""
    request = struct.pack("<IIII QI 4x Q 88x", 1, _SHA256, _BLOCK, 0, 0, 0, 0)
    with contextlib.suppress(OSError), place.open("rb") as file:
        fcntl.ioctl(file.fileno(), _ENABLE_VERITY, request)
