"""Sealed folders, made of hard links to the store's own blobs.

The rules:

- A snapshot is called after its contents. The same files are the same folder.
- Its files are read-only (0444), its folders, too (0555). It appears whole, by a rename, or not at all.
- Paths are plain: relative, without ``..``, and none is a folder of another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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
        if final.is_dir():
            return final
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".", dir=self._root))
            try:
                self._link(unfinished, files)
                unfinished.rename(final)  # in one folder, which needs no right to write to the snapshot itself
            finally:
                remove(unfinished)
            sync_folder(self._root)
        except OSError as error:
            if final.is_dir():  # somebody else made it in the meantime
                return final
            raise StoreError(f"{final}: cannot be written: {error.strerror or error}") from error
        return final

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
        if not root.is_dir():
            yield f"{root}: missing"
            return
        there = {
            path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir() or path.is_symlink()
        }
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
        if self._root.is_dir():
            yield from (path.name for path in self._root.iterdir())


def remove(root: Path) -> None:
    """Remove a folder whose folders are read-only, if it is there."""
    if not root.is_dir():
        return
    for folder, _, _ in os.walk(root):
        with contextlib.suppress(OSError):
            Path(folder).chmod(_OPEN)
    shutil.rmtree(root, ignore_errors=True)


def _require_plain(path: str, files: Mapping[str, Sealed]) -> None:
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in path or "\\" in path:
        raise StoreError(f"{path!a} is no path that can be sealed")
    if any(parent.as_posix() in files for parent in PurePosixPath(path).parents):
        raise StoreError(f"{path!a} lies in a folder that is also a file")
