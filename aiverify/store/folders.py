"""The folder of a store, and whether it is its owner's alone.

The rules:

- A store is made 0700. A folder that belongs to another user than us and root, or that others may write to, is none:
  whoever can write there decides what is loaded. Our own folder is closed to others instead.
- What the store keeps in it are folders and files of its own, never links.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aiverify.store.interface import StoreError

_HINT = "Name another folder with --store or AIVERIFY_STORE."
_OTHERS = 0o022


def default_root() -> Path:
    """``AIVERIFY_STORE``, else ``$XDG_CACHE_HOME/aiverify``, else ``~/.cache/aiverify``. Raises StoreError."""
    chosen = os.environ.get("AIVERIFY_STORE")
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return (Path(home) if home else Path("~/.cache").expanduser()) / "aiverify"
    except RuntimeError as error:  # there is no home
        raise StoreError("there is no home folder for the store", hint=_HINT) from error


def make_private(folder: Path, *, above: bool = False) -> None:
    """Make ``folder`` unless it is there, with ``above`` in new folders. Raises StoreError if it is not private."""
    try:
        folder.mkdir(mode=0o700, parents=above, exist_ok=True)
        _require_private(folder, linked=above)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StoreError(f"{folder}: cannot be made a store: {reason}", hint=_HINT) from error


def require_plain(place: Path) -> None:
    """Raise StoreError if something else than a file of ours lies at ``place``."""
    try:
        state = place.lstat()
    except OSError:
        return
    if not stat.S_ISREG(state.st_mode) or not _is_trusted(state) or state.st_mode & _OTHERS:
        raise StoreError(f"{place}: is not a file of this user alone", hint=_HINT)


def _require_private(folder: Path, *, linked: bool) -> None:
    state = folder.stat() if linked else folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise StoreError(f"{folder}: is not a folder", hint=_HINT)
    if not _is_trusted(state):
        raise StoreError(f"{folder}: belongs to another user, who could change what is in it", hint=_HINT)
    if state.st_mode & _OTHERS:
        if state.st_uid != os.geteuid():
            raise StoreError(f"{folder}: others may write to it", hint=_HINT)
        folder.chmod(0o700)


def _is_trusted(state: os.stat_result) -> bool:
    return state.st_uid in (os.geteuid(), 0)
