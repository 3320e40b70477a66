"""joblib.load. Arrays in files beside an old pickle are not found beside the sealed copy: such a load fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiverify.guard.deciding import Decider
from aiverify.guard.streams import admitted


def load(
    gate: Decider,
    original: Callable[..., Any],
    filename: Any,
    mmap_mode: str | None = None,
    *arguments: Any,
    **named: Any,
) -> Any:
    """As ``joblib.load``. What is written to a map stays in memory: a sealed file is not written to."""
    mode = "c" if mmap_mode in ("r+", "w+") else mmap_mode
    with admitted(gate, filename, ".joblib") as (_, opened):
        return original(opened, mode, *arguments, **named)


# not load_temporary_memmap, which reads what joblib itself has just written
PLACES = (("joblib.numpy_pickle", "load", load), ("joblib", "load", load))
