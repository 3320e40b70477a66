"""Sealed folders, made of hard links to the store's own blobs.

The rules:

- A snapshot is called after its contents. The same files are the same folder.
- Its files are read-only (0444), its folders, too (0555). It appears whole, by a rename, or not at all. One that is no
  longer what was sealed is put away and made anew.
- Paths are plain: relative, without ``..``, and none is a folder of another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from aiverify.store.blobs import Blobs, sync_folder
from aiverify.store.interface import Sealed, StoreError

_FOLDER = 0o555
_OPEN = 0o755


class Snapshots:
    """The snapshots below ``root``, whose files are links to ``blobs``."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._root = root
        self._blobs = blobs

    def place(self, identity: str) -> Path:
        """Where the snapshot lies, if it is there."""
        return self._root / identity

    def make(self, identity: str, files: Mapping[str, Sealed]) -> Path:
        """The folder with these files, all of whose blobs are there. Raises StoreError."""
        for path in files:
            _require_plain(path, files)
        final = self.place(identity)
        try:
            if os.path.lexists(final):
                if self.is_whole(identity, files):
                    return final
                final.rename(self._root / f".damaged-{identity}-{os.urandom(4).hex()}")
            unfinished = Path(tempfile.mkdtemp(prefix=".", dir=self._root))
            try:
                self._link(unfinished, files)
                unfinished.rename(final)  # in one folder, which needs no right to write to the snapshot itself
            finally:
                remove(unfinished)
            sync_folder(self._root)
        except OSError as error:
            raise StoreError(f"{final}: cannot be written: {error.strerror or error}") from error
        return final

    def is_whole(self, identity: str, files: Mapping[str, Sealed]) -> bool:
        """Whether the snapshot has these files and no others, as links to the blobs, whose bytes are not looked at."""
        return next(self.faults(identity, files), None) is None

    def _link(self, root: Path, files: Mapping[str, Sealed]) -> None:
        for path, file in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(self._blobs.place(file.sha256), place)
        for folder, _, _ in os.walk(root, topdown=False):
            sync_folder(Path(folder))
            Path(folder).chmod(_FOLDER)

    def faults(self, identity: str, files: Mapping[str, Sealed]) -> Iterator[str]:
        """What is wrong with a snapshot, apart from the bytes of its blobs."""
        root = self.place(identity)
        if root.is_symlink() or not root.is_dir():
            yield f"{root}: missing"
            return
        there = set()
        for folder, folders, names in os.walk(root):
            if stat.S_IMODE(os.lstat(folder).st_mode) != _FOLDER:
                yield f"{folder}: is not sealed"
            linked = [name for name in folders if (Path(folder) / name).is_symlink()]
            there |= {(Path(folder) / name).relative_to(root).as_posix() for name in (*names, *linked)}
        for path in sorted(there - files.keys()):
            yield f"{root / path}: was added"
        for path, file in files.items():
            place, blob = root / path, self._blobs.place(file.sha256)
            try:
                if not os.path.samestat(place.lstat(), blob.lstat()):
                    yield f"{place}: is not the sealed file"
            except OSError:
                yield f"{place}: missing"

    def drop(self, identity: str) -> None:
        """Remove a snapshot; its blobs stay."""
        remove(self.place(identity))

    def __iter__(self) -> Iterator[str]:
        """The name of every folder there, finished or not."""
        try:
            yield from (path.name for path in self._root.iterdir())
        except OSError as error:
            raise StoreError(f"{self._root}: cannot be read: {error.strerror or error}") from error


def remove(root: Path) -> None:
    """Remove a folder whose folders are read-only, if it is there. A link is removed, not what it leads to."""
    if root.is_symlink() or not root.is_dir():
        with contextlib.suppress(OSError):
            root.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(root):
        with contextlib.suppress(OSError):
            Path(folder).chmod(_OPEN)
    shutil.rmtree(root, ignore_errors=True)


def _require_plain(path: str, files: Mapping[str, Sealed]) -> None:
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in path or "\\" in path or not _is_encodable(path):
        raise StoreError(f"{path!a} is no path that can be sealed")
    if any(parent.as_posix() in files for parent in PurePosixPath(path).parents):
        raise StoreError(f"{path!a} lies in a folder that is also a file")


def _is_encodable(path: str) -> bool:
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False
