"""Trying again where the Hub does not serve for now, and where what arrived was damaged.

A server that is busy is asked again after a pause, at most once for each of ``PAUSES`` and no longer than ``DEADLINE``
seconds in all. A server that names a longer pause gets it, up to ``MAX_PATIENCE`` seconds. What arrived damaged is
fetched once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from aiverify.sources.hubclient.watch import MAX_PATIENCE
from aiverify.sources.interface import BusyError, DamagedError

PAUSES: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
DEADLINE = 120.0

Result = TypeVar("Result")


def patiently(attempt: Callable[[], Result]) -> Result:
    """What ``attempt`` returns, tried again as the rules say. Raises what it raises in the end."""
    end = time.monotonic() + DEADLINE
    pauses = list(PAUSES)
    spare = True
    while True:
        try:
            return attempt()
        except DamagedError:
            if not spare:
                raise
            spare = False
        except BusyError as error:
            pause = max(pauses.pop(0), error.patience) if pauses else None
            if pause is None or error.patience > MAX_PATIENCE or time.monotonic() + pause > end:
                raise
            time.sleep(pause)
