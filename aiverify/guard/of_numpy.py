"""numpy.load.

With ``allow_pickle`` the sealed copy is loaded. Without it, no pickle can be in what is read: the file is loaded where
it lies, as large arrays of a data set are, and any pickle that is met all the same may name nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiverify.guard.deciding import Decider
from aiverify.guard.loading import loading_nothing
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
        with loading_nothing(str(file) if is_path(file) else "a stream"):
            return original(file, mmap_mode, allow_pickle, *arguments, **named)
    with admitted(gate, file, ".npy") as (_, opened):
        return original(opened, mmap_mode, allow_pickle, *arguments, **named)


PLACES = (("numpy.lib._npyio_impl", "load", load), ("numpy.lib.npyio", "load", load), ("numpy", "load", load))
