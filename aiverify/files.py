"""Reading files that the user names, and writing files so that an interrupted run leaves the old one or the new one.

Links are followed. A device or a pipe, such as ``/dev/stdout``, is written to and never replaced. What is read has a
limit, and no pipe is waited for that nobody writes to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from aiverify.errors import AiverifyError


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/aiverify``, else ``~/.cache/aiverify``. Without a home, a path at which nothing can be."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - there may be no home
    return Path(os.devnull if home.startswith("~") else home) / "aiverify"


#: The largest file of keys or certificates, in bytes.
MAX_PEM = 16 << 20


class WriteError(AiverifyError):
    """A file could not be written."""


def read_at_most(path: Path, limit: int) -> bytes:
    """The file at ``path``, or of a longer one ``limit`` + 1 bytes, which tell that it is. Raises OSError, ValueError.

    A pipe is read to its end while somebody writes to it, as ``<(command)`` makes one in a shell.
    """
    # Without O_NONBLOCK, opening a pipe waits until somebody opens its other end.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        os.set_blocking(file.fileno(), True)
        content = file.read(limit + 1)
        if not content and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "a pipe that nobody writes to")
    return content


def read_pem(path: Path) -> bytes:
    """The file of keys or certificates at ``path``. Raises OSError, and ValueError if it is too long, or not ASCII."""
    content = read_at_most(path, MAX_PEM)
    if len(content) > MAX_PEM:
        raise ValueError(f"more than {MAX_PEM} bytes")
    content.decode("ascii")
    return content


def is_there(path: Path) -> bool:
    """Whether something lies at ``path``. Nothing lies where the system refuses to look, such as at too long a name."""
    try:
        return path.exists()
    except OSError:
        return False


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file beside it. Raises WriteError."""
    import tempfile  # who only reads does not wait for it

    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        final = Path(os.path.realpath(path))
        begin = f".{final.name[:40]}."  # a name may be as long as names can be
        handle, temporary = tempfile.mkstemp(prefix=begin, dir=final.parent)
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
