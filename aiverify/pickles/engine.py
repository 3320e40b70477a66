"""Second opinions: what another engine says about a stream that the machine has judged.

An engine's severity is evidence for the reader, never a verdict. Only one thing counts: a name that it found and the
machine did not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aiverify.errors import AiverifyError


class EngineError(AiverifyError):
    """An engine could not be started at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What an engine said about one stream.

    ``names`` are the imports it saw, as (module, name). ``severity`` is its own word. ``source`` is the stream as it
    decompiles it, cut to a readable length. ``incomplete`` says why it did not finish, ``None`` when it did.
    """

    engine: str
    names: frozenset[tuple[str, str]] = frozenset()
    severity: str | None = None
    source: str | None = None
    incomplete: str | None = None


class Engine(Protocol):
    """Something that reads pickle streams without running them."""

    def examine(self, stream: bytes, *, opcodes: int) -> Opinion:
        """An opinion about one stream of ``opcodes`` opcodes. Never raises for what the bytes hold."""

    def close(self) -> None:
        """Give back what the engine holds."""
