"""Bytes that come through a pipe: kept in a file without a name for as long as they are examined.

The file lies where temporary files lie (``TMPDIR``) and vanishes with the process, however that ends. Memory does not
grow with the stream; the file may not grow beyond ``LARGEST``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO

from aiverify.artifact import Fetched, FetchedFile, SourceKind
from aiverify.progress import Progress
from aiverify.sources.interface import Selection, Source, SourceError

NAME = "<stdin>"
LARGEST = 16 << 30
_CHUNK = 1 << 20


class StreamSource(Source):
    """One nameless file, read to its end from ``stream``. It lies on disk for as long as the source lives."""

    def __init__(self, stream: BinaryIO, target: str = "-", *, largest: int = LARGEST) -> None:
        self._stream = stream
        self._target = target
        self._largest = largest
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is to outlive this method

    def fetch(self, selection: Selection, progress: Progress) -> Fetched:  # noqa: ARG002 - what is piped in is wanted
        """Read the stream. Raises SourceError when that fails, or when it is longer than the limit."""
        progress.stage("fetch")
        progress.detail(NAME)
        size = 0
        try:
            while chunk := self._stream.read(_CHUNK):
                size += len(chunk)
                if size > self._largest:
                    raise SourceError(
                        f"{NAME}: more than {self._largest} bytes", hint="Write it to a file, and give its path."
                    )
                self._write(chunk)
                progress.advance(len(chunk))
        except (OSError, ValueError) as error:  # ValueError: a stream that has been closed
            reason = error.strerror if isinstance(error, OSError) else None
            raise SourceError(
                f"{NAME}: cannot be read into a temporary file: {reason or error}",
                hint="TMPDIR names the folder for it.",
            ) from error
        place = Path(f"/dev/fd/{self._file.fileno()}")
        file = FetchedFile(path=NAME, location=place, size=size)
        return Fetched(target=self._target, kind=SourceKind.FILE, root=Path("/dev/fd"), files=(file,))

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
