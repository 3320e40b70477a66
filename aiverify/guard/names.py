"""Which names a file's pickles ask for, as the inert machine records them.

The file is examined once more, with an engine that judges nothing and only writes down. So every stream is met that
the examination meets: in archives, behind other streams, between the arrays of joblib.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from aiverify.finding import Finding, Unexamined
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions, State, state_of
from aiverify.guard.interface import Name
from aiverify.pickles.engine import Engines, Opinion
from aiverify.pickles.machine import interpret

#: What no loader makes anything else of than bytes, text or an error.
_PLAIN = frozenset((Format.UNKNOWN, Format.EMPTY, Format.TEXT, Format.MEDIA, Format.SAFETENSORS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was written down about one file. ``complaints`` are the rules of what this examination found or left out."""

    names: frozenset[Name]
    inert: bool
    complaints: frozenset[str]


def record_names(file: Path, name: str, trust: Set[str], state: State | None = None) -> Recorded:
    """The names in the pickles of ``file``, which is called ``name``; ``trust`` and ``state`` as for any examination.

    Raises FormatError if it cannot be read.
    """
    writer = _Writer()
    examination = examine(file, name, ScanOptions(trust=trust, engines=Engines([("names", writer)])), state)
    return Recorded(
        names=frozenset(writer.names),
        inert=not writer.names and _is_inert(file, examination.format, state),
        complaints=complaints(examination.findings, examination.unexamined),
    )


def complaints(findings: Sequence[Finding], unexamined: Sequence[Unexamined]) -> frozenset[str]:
    """The rules of findings, without what second engines add, and whether something was not examined."""
    gaps = {"unexamined"} if unexamined else set()
    return frozenset(item.rule for item in findings) - {"AIV309", "AIV312"} | gaps


def _is_inert(file: Path, kind: Format, state: State | None) -> bool:
    """Whether the bytes name nothing, call nothing, and hold nothing that is opened in its turn."""
    if kind in _PLAIN:
        return True
    if kind is not Format.PICKLE:
        return False
    with file.open("rb") as raw:
        found = os.fstat(raw.fileno())
        if found.st_size == 0 or state not in (None, state_of(found)):
            return False
        with contextlib.closing(mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            graph = interpret(data)
    asks = graph.globals or graph.extensions or graph.persistents or graph.calls or graph.budget_hit
    return graph.failure is not None and not asks


class _Writer:
    """An engine of the examination that writes down names."""

    def __init__(self) -> None:
        self.names: set[Name] = set()

    def declines(self, *, size: int, opcodes: int) -> str | None:  # noqa: ARG002 - as the interface has it
        return None

    def examine(self, stream: bytes, *, opcodes: int, shown: bool) -> Opinion:  # noqa: ARG002 - as the interface has it
        found = {item.written for item in interpret(stream).globals}
        found |= {(item.module, item.name) for item in interpret(stream).globals if item.module is not None}
        self.names |= found
        return Opinion(engine="names", names=frozenset(found))

    def close(self) -> None:
        pass
