"""Files that appear complete or not at all, and never in the place of another.

A file is written without a name, brought to disk, and only then given one: whatever ends the program, the power
included, no part of a file is left. Where the system has no files without names, a hidden name in the same folder does
instead; that one is removed whatever goes wrong, the keyboard interrupt included, but stays when the program is killed.
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
    """A file in the making: its descriptor, open for reading and writing, and a path that leads to it for now."""

    file: int
    path: Path
    nameless: bool = False


class ExistsError(ConversionError):
    """There is a file of that name already, and it is not what would be written."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} exists already in {path.parent}", hint="Nothing is overwritten. Choose an empty folder."
        )


@contextmanager
def new_file(path: Path) -> Iterator[Draft]:
    """Make the file ``path`` from what the block writes into the draft. Its folder must exist.

    Raises ExistsError if there is a file of that name, before the block or after it, and ConversionError for errors of
    the system.
    """
    if os.path.lexists(path):
        raise ExistsError(path)
    try:
        draft = _nameless(path.parent) or _hidden(path)
        try:
            yield draft
            os.fsync(draft.file)
            _give_name(draft, path)
        finally:
            os.close(draft.file)
            if not draft.nameless:
                with suppress(OSError):
                    draft.path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise ConversionError(f"{path.name} could not be written: {error.strerror or error}") from error


def _nameless(folder: Path) -> Draft | None:
    """A file without a name on the file system of ``folder``; ``None`` where there is no such thing."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        file = os.open(folder, flag | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    path = Path(f"/proc/{os.getpid()}/fd/{file}")
    if path.exists():
        return Draft(file, path, nameless=True)
    os.close(file)
    return None


def _hidden(path: Path) -> Draft:
    hidden = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.partial")
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return Draft(file, hidden)


def _give_name(draft: Draft, path: Path) -> None:
    """Name the file without ever replacing another: by a link, or where there are none, over a placeholder of ours."""
    try:
        if draft.nameless:
            # A descriptor of a folder, though unused with an absolute path, makes os.link follow the link in /proc.
            os.link(draft.path, path, src_dir_fd=draft.file, follow_symlinks=True)
        else:
            path.hardlink_to(draft.path)
    except FileExistsError:
        raise ExistsError(path) from None
    except OSError:
        if draft.nameless:
            raise
        _rename(draft.path, path)


def _rename(hidden: Path, path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise ExistsError(path) from None
    try:
        hidden.replace(path)
    except OSError:
        path.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
