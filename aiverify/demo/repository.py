"""A folder as a repository of the Hub: its files as the Hub states them, and its one commit.

Sizes and digests are computed from the files; the commit id follows from their paths and contents alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LFS_SUFFIXES = (".bin", ".ckpt", ".gguf", ".h5", ".joblib", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".safetensors")
LFS_BYTES = 10 << 20
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file as the Hub states it. ``sha256`` is set for an LFS file, whose ``blob_id`` is that of the pointer."""

    path: str
    location: Path
    size: int
    blob_id: str
    sha256: str | None = None
    pointer_size: int = 0

    @property
    def lfs(self) -> dict[str, object] | None:
        """The LFS part of a listing entry."""
        if self.sha256 is None:
            return None
        return {"oid": self.sha256, "sha256": self.sha256, "size": self.size, "pointerSize": self.pointer_size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One repository at its only commit."""

    name: str
    commit: str
    files: Mapping[str, HubFile]


class Shelf:
    """Repositories that were read once, and are read again only when a file of theirs has changed."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[object, Repository]] = {}

    def repository(self, name: str, folder: Path) -> Repository:
        """What lies in ``folder`` now, as the repository ``name``."""
        found = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
        state = [(path, location.stat().st_size, location.stat().st_mtime_ns) for path, location in found]
        known = self._read.get(folder)
        if known is None or known[0] != state:
            known = self._read[folder] = (state, _repository(name, [_stated(*each) for each in found]))
        return known[1]


def pieces(location: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` to ``end``."""
    with location.open("rb") as stream:
        stream.seek(start)
        while start < end and (piece := stream.read(min(CHUNK, end - start))):
            start += len(piece)
            yield piece


def _repository(name: str, files: list[HubFile]) -> Repository:
    content = json.dumps([(file.path, file.blob_id) for file in files]).encode()
    commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    return Repository(name=name, commit=commit, files={file.path: file for file in files})


def _stated(path: str, location: Path) -> HubFile:
    size = location.stat().st_size
    if not path.endswith(LFS_SUFFIXES) and size <= LFS_BYTES:
        blob_id = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        for piece in pieces(location, 0, size):
            blob_id.update(piece)
        return HubFile(path=path, location=location, size=size, blob_id=blob_id.hexdigest())
    sha256 = hashlib.sha256()
    for piece in pieces(location, 0, size):
        sha256.update(piece)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hexdigest()}\nsize {size}\n".encode()
    return HubFile(
        path=path,
        location=location,
        size=size,
        blob_id=hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest(),
        sha256=sha256.hexdigest(),
        pointer_size=len(pointer),
    )
