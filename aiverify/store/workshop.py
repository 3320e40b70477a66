"""What one run is bringing into the store: a folder of its own, which goes when the run ends.

While digests are taken, the bytes of large files are copied here in the same pass (``begin``): what gets sealed later
has been hashed on its way in and need not be read again. Twins are written here, too.

The folder is locked as long as the run lives. One that a killed run left behind is not, and is removed by the next.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiverify.artifact import FetchedFile
from aiverify.store.blobs import Blobs, clone, write_all
from aiverify.store.interface import StoreError
from aiverify.store.locks import claim

#: A smaller file is as well read twice.
SMALL = 1 << 20
#: Names of files that a load takes as they are, the first that is there: of a checkpoint, the twin is sealed instead.
_TAKEN_AS_THEY_ARE = (".safetensors", ".gguf")


class Draft:
    """A copy in the making. ``descriptor`` is where to read it from if it is complete from the start, as a clone.

    Only the thread that hashes the file has to do with it, until it is finished.
    """

    def __init__(self, place: Path, source: int) -> None:
        self.place = place
        self.known: tuple[str, int] | None = None
        self.descriptor: int | None = None
        self._handle: int | None = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if clone(source, self._handle):
                self.descriptor = self._handle
        except OSError:
            self._give_up()

    def write(self, part: memoryview) -> None:
        """Take the next bytes. A copy that cannot be written is given up; the file can still be sealed later."""
        if self._handle is None or self.descriptor is not None:
            return
        try:
            write_all(self._handle, part)
        except OSError:
            self._give_up()

    def finish(self, sha256: str, size: int) -> None:
        """No more bytes come, and this is the digest of those that came."""
        if self._handle is not None:
            self.known = (sha256, size)
            os.close(self._handle)
            self._handle = self.descriptor = None

    def _give_up(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = self.descriptor = None
            with contextlib.suppress(OSError):
                self.place.unlink()


class Workshop:
    """The folder of one run below ``temporary``. ``twins`` is the folder for what the run makes."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self.folder = folder
        self.twins = folder / "twins"
        self._blobs = blobs
        self._drafts: dict[Path, Draft] = {}

    def wanted(self, files: Sequence[FetchedFile]) -> frozenset[str]:
        """The paths of the files that will probably be sealed, and are worth copying while they are hashed."""
        for suffix in _TAKEN_AS_THEY_ARE:
            found = [file for file in files if file.path.lower().endswith(suffix)]
            if found:
                return frozenset(file.path for file in found if file.size >= SMALL and not self._is_there(file))
        return frozenset()

    def begin(self, file: FetchedFile, descriptor: int) -> Draft | None:
        """A draft of ``file``, which is open as ``descriptor``; ``None`` if there can be none."""
        try:
            draft = Draft(self.folder / f"draft-{len(self._drafts)}-{os.urandom(4).hex()}", descriptor)
        except OSError:
            return None
        self._drafts[file.location] = draft
        return draft

    def draft(self, location: Path, sha256: str, size: int) -> Path | None:
        """The finished copy of the file at ``location``, if its bytes were the expected ones."""
        draft = self._drafts.get(location)
        return draft.place if draft is not None and draft.known == (sha256, size) else None

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_there(self, file: FetchedFile) -> bool:
        return file.sha256 is not None and self._blobs.place(file.sha256).exists()


@contextlib.contextmanager
def opened(temporary: Path, blobs: Blobs, lock: contextlib.AbstractContextManager[None]) -> Iterator[Workshop]:
    """A workshop for the block. ``lock`` keeps others from clearing up while it is made. Raises StoreError."""
    try:
        with lock:
            folder = Path(tempfile.mkdtemp(dir=temporary))
            handle = claim(folder)
    except OSError as error:
        raise StoreError(f"{temporary}: cannot be written: {error.strerror or error}") from error
    if handle is None:
        raise StoreError(f"{folder}: cannot be locked", hint="Name another folder with --store or AIVERIFY_STORE.")
    workshop = Workshop(folder, blobs)
    try:
        yield workshop
    finally:
        workshop.close()
        os.close(handle)


def clear_up(temporary: Path) -> None:
    """Remove what killed runs left behind, as far as it can be. Nobody may be opening a workshop meanwhile."""
    with contextlib.suppress(OSError):
        for left in temporary.iterdir():
            if left.is_symlink() or not left.is_dir():
                left.unlink(missing_ok=True)
                continue
            handle = claim(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)
