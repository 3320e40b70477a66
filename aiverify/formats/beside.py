"""Files that belong together: a model and, beside it, the file that holds its numbers.

Only what lies in the model's own folder is looked at. A link counts if it ends in there, or if the folder is a snapshot
of the Hub's cache and it ends where the Hub's client keeps that repository's bytes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aiverify.formats.markup import root_of

_TABLE = bytes.fromhex("57fb808b247547db")  # the end of a LevelDB table, as TensorFlow writes one
_HEAD = 1 << 12
_ONNX_DATA = re.compile(r"(.+\.onnx)[._]data(?:_\d+)?", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"(?:models|datasets|spaces|kernels)--.+")
_SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")


def ends_like_table(tail: bytes) -> bool:
    """Whether a file that ends with ``tail`` ends like the index of a TensorFlow checkpoint."""
    return tail.endswith(_TABLE)


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of the file at ``location``."""

    location: Path

    def size_of(self, name: str) -> int | None:
        """The size in bytes of the file ``name``, a path below the folder; ``None`` if it is not there to be read."""
        place = self._place(name)
        try:
            return place.stat().st_size if place is not None and place.is_file() else None
        except OSError:
            return None

    def numbers_of(self) -> str | None:
        """The name of the model that this file holds the numbers of, if there is such a model beside it."""
        name = self.location.name
        if name.endswith(".bin"):
            owner = f"{name.removesuffix('.bin')}.xml"
            return owner if root_of(self._read(owner, 0)) == "net" else None
        found = _ONNX_DATA.fullmatch(name)
        if found is not None:
            return found[1] if self.size_of(found[1]) is not None else None
        found = _SHARD.fullmatch(name)
        if found is not None:
            owner = f"{found[1]}.index"
            return owner if ends_like_table(self._read(owner, -_HEAD)) else None
        return None

    def _read(self, name: str, start: int) -> bytes:
        """Up to 4 KiB of a file; from the end if ``start`` is negative. Empty if there is nothing to read."""
        place, size = self._place(name), self.size_of(name)
        if place is None or not size:
            return b""
        try:
            with place.open("rb") as file:
                file.seek(max(0, size + start) if start < 0 else start)
                return file.read(_HEAD)
        except OSError:
            return b""

    def _place(self, name: str) -> Path | None:
        if PurePosixPath(name).is_absolute() or "\0" in name:
            return None
        root = Path(os.path.realpath(self.location.parent))
        try:
            end = Path(os.path.realpath(root / name))
        except (OSError, ValueError):
            return None
        inside = end.is_relative_to(root) or any(end.is_relative_to(blobs) for blobs in _blobs(root))
        return end if inside else None


def _blobs(folder: Path) -> tuple[Path, ...]:
    """Where links may end because ``folder`` lies in a snapshot: ``<repository>/blobs`` and ``<cache>/blobs``."""
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent
        named = _COMMIT.fullmatch(snapshot.name) and _REPOSITORY.fullmatch(repository.name)
        if snapshot.parent.name == "snapshots" and named:
            return repository / "blobs", repository.parent / "blobs"
    return ()
