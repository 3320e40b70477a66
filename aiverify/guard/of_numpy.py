"""numpy.load.

With ``allow_pickle`` the sealed copy is loaded. Without it, no pickle can be in what is read: the file is loaded where
it lies, as large arrays of a data set are, and any pickle that is met all the same may name nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiverify.guard.deciding import Decider
from aiverify.guard.loading import loading_only
from aiverify.guard.streams import admitted, is_path

_WRITABLE = ("r+", "w+")  # a map of the user's own file; there are no pickles behind it


def load(
    gate: Decider,
    original: Callable[..., Any],
    file: Any,
    mmap_mode: str | None = None,
    allow_pickle: bool = False,
    *arguments: Any,
    **named: Any,
) -> Any:
    """As ``numpy.load``."""
    if not allow_pickle or mmap_mode in _WRITABLE:
        with loading_only(str(file) if is_path(file) else "a stream", frozenset()):
            return original(file, mmap_mode, allow_pickle, *arguments, **named)
    archive = not is_path(file) and _is_archive(file)
    with admitted(gate, file, ".npz" if archive else ".npy") as (admission, opened):
        # arrays of an archive are read later: it must be numpy's own file, which stays open
        return original(str(admission.sealed) if archive else opened, mmap_mode, allow_pickle, *arguments, **named)


def _is_archive(file: Any) -> bool:
    """Whether an open file is an ``.npz``, looked at as numpy does."""
    magic = file.read(4)
    file.seek(-len(magic), 1)
    return bytes(magic) in (b"PK\x03\x04", b"PK\x05\x06")


PLACES = (("numpy.lib._npyio_impl", "load", load), ("numpy.lib.npyio", "load", load), ("numpy", "load", load))
