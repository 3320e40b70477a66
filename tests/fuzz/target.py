"""What a fuzz target is: one module of this folder with an object ``TARGET``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``check`` says in words what is wrong with the code on these bytes, and nothing when all is well.

    ``counters`` are up to two more numbers worth knowing. ``mutate`` changes an input knowingly; without one, libFuzzer
    changes bytes. Executions are counted for ``sources`` as they stand: the modules whose text the result depends on.
    """

    check: Callable[[bytes], str | None]
    seeds: Callable[[], Iterable[bytes]]
    sources: tuple[str, ...]
    mutate: Callable[[bytes, int, random.Random], bytes] | None = None
    counters: Callable[[], dict[str, int]] = dict
    max_length: int = 192
