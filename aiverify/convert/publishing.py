"""Files that appear complete or not at all, and never in the place of another.

A file is written under a hidden name in its own folder, brought to disk, and only then given its name. Whatever goes
wrong, the keyboard interrupt included, the hidden file is removed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiverify.convert.plan import ConversionError


@dataclass(frozen=True, slots=True)
class Draft:
    """A file in the making: its descriptor, open for reading and writing, and the hidden path that it has for now."""

    file: int
    path: Path


@contextmanager
def new_file(path: Path) -> Iterator[Draft]:
    """Make the file ``path`` from what the block writes into the draft. Its folder must exist.

    Raises ConversionError if there is a file of that name, before the block or after it, and for errors of the system.
    """
    if os.path.lexists(path):
        raise _exists(path)
    hidden = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.partial")
    try:
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            yield Draft(file, hidden)
            os.fsync(file)
            _give_name(hidden, path)
        finally:
            os.close(file)
        _sync_folder(path.parent)
    except OSError as error:
        raise ConversionError(f"{path.name} could not be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)


def _give_name(hidden: Path, path: Path) -> None:
    """Name the file without ever replacing another: by a link, or where there are none, over a placeholder of ours."""
    try:
        path.hardlink_to(hidden)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise _exists(path) from None
        try:
            hidden.replace(path)
        except OSError:
            path.unlink()
            raise


def _exists(path: Path) -> ConversionError:
    return ConversionError(
        f"{path.name} exists already in {path.parent}", hint="Nothing is overwritten. Choose an empty folder."
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
