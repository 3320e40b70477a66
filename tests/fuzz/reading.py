"""Readers of formats as fuzz targets: whatever the bytes, an answer, without an exception, and soon.

An answer is what an examination may hold. How long one takes is measured against what the input may cost.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterable

from aiverify.formats.interface import Examination
from aiverify.formats.operators import table
from aiverify.pickles.graph import Global
from aiverify.pickles.tables import danger
from aiverify.rules import rules
from tests.fuzz.target import Target

_SECONDS = 1.0  # for at most 4 KiB
_FINDINGS = 400


def target(
    examine: Callable[[bytes], Examination | object],
    seeds: Callable[[], Iterable[bytes]],
    *modules: str,
    refused: type[Exception] | tuple[type[Exception], ...] = (),
) -> Target:
    """A target for ``examine``, which may raise only ``refused``, from ``modules`` of ``aiverify.formats``."""

    for codec in (
        *("utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"),
        *("raw-unicode-escape", "latin-1", "cp437"),
    ):
        codecs.lookup(codec)  # imported when it is needed first
    rules(), table(), danger(Global("os", "system", 0, ("os", "system")))  # tables that are read when they are needed

    def check(data: bytes) -> str | None:
        started = time.process_time()
        try:
            said = examine(data)
        except refused:
            return None
        took = time.process_time() - started
        if took > _SECONDS:
            return f"slow: {took:.1f} s"
        if isinstance(said, Examination) and len(said.findings) > _FINDINGS:
            return f"talkative: {len(said.findings)} findings"
        return None

    return Target(
        check=check,
        seeds=seeds,
        sources=tuple(f"aiverify.formats.{module}" for module in modules),
        max_length=4096,
    )
