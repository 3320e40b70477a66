"""The progress bars that the Hub's client is given: they draw nothing and pass the bytes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

from aiverify.progress import Progress


class Bytes:
    """Counts the bytes of one download towards ``total`` and tells ``progress`` about each only once."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._told = 0
        self._lock = threading.Lock()

    def reached(self, count: int) -> None:
        """``count`` bytes are done in all; a smaller number than before (a restart) is kept quiet about."""
        with self._lock:
            step = min(count, self._total) - self._told
            if step <= 0:
                return
            self._told += step
        self._progress.advance(step)

    def complete(self) -> None:
        """Everything is there, whatever was transferred for it."""
        self.reached(self._total)


def bar_class(done: Bytes, require_running: Callable[[], None]) -> type[Any]:
    """A class that the client takes for tqdm's.

    The client makes three bars of it: bytes received, bytes written, and files. The first two count the same bytes, so
    the larger count holds. ``require_running`` is called at every step and raises to end the transfer.
    """

    class Bar:
        def __init__(self, *_: object, total: float | None = None, initial: float = 0, **options: Any) -> None:
            self.total = total
            self.n = initial
            self.format_dict: dict[str, object] = {}
            self._counts_bytes = options.get("unit") == "B"
            self._lock = threading.Lock()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            with self._lock:
                self.n += n or 0
                count = int(self.n)
            if self._counts_bytes:
                done.reached(count)
                require_running()

        def __getattr__(self, name: str) -> Callable[..., None]:
            """Whatever else a bar can do, this one does nothing."""
            if name.startswith("_"):
                raise AttributeError(name)
            return lambda *_, **__: None

    return Bar
