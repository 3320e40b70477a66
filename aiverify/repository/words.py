"""The lists of names beside this module, in ``data/``."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def words(name: str) -> frozenset[str]:
    """The words of one list; a line that begins with ``#`` says what the list is."""
    text = (Path(__file__).parent / "data" / f"{name}.txt").read_text("utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
