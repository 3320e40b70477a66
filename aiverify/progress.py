"""How long work tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of one run. Implementations must accept calls from several threads."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins. ``total`` is its size in bytes where that is known."""

    def advance(self, count: int) -> None:
        """``count`` more bytes of the current stage are done."""

    def detail(self, text: str) -> None:
        """What is being worked on now: usually a file name."""


class Silent:
    """Listens to nothing."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, count: int) -> None:
        """Ignored."""

    def detail(self, text: str) -> None:
        """Ignored."""
