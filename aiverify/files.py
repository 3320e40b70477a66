"""Writing files so that an interrupted run leaves the old file or the new one, never a part.

Links are followed. A device or a pipe, such as ``/dev/stdout``, is written to and never replaced.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from aiverify.errors import AiverifyError


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/aiverify``, else ``~/.cache/aiverify``. Without a home, a path at which nothing can be."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - there may be no home
    return Path(os.devnull if home.startswith("~") else home) / "aiverify"


class WriteError(AiverifyError):
    """A file could not be written."""


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file beside it. Raises WriteError."""
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        final = Path(os.path.realpath(path))
        handle, temporary = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(final)
        temporary = None
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
