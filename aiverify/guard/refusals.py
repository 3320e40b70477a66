"""Refusals are counted where nobody can swallow them.

An exception can be caught and forgotten; the count cannot. It lies in memory that forked children share: this module is
imported before the first fork, and otherwise by the first refusal. Where ``AIVERIFY_REFUSALS`` names a file, each
refusal adds a line to it, for a parent that started other interpreters.
"""

from __future__ import annotations

import mmap
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiverify.guard.interface import LoadRefused

STATUS = 126
_KEPT = 100

_shared = mmap.mmap(-1, mmap.PAGESIZE)
_recent: list[str] = []


def refused(refusal: LoadRefused) -> LoadRefused:
    """Record ``refusal``, which the caller then raises. One that is recorded already is not recorded again."""
    text = str(refusal)
    if getattr(refusal, "recorded", False):
        return refusal
    refusal.recorded = True
    _shared[0] = 1
    if len(_recent) < _KEPT:
        _recent.append(text)
    place = os.environ.get("AIVERIFY_REFUSALS")
    if place:
        _append(place, f"{os.getpid()} {text!a}\n")
    return refusal


def _append(place: str, line: str) -> None:
    try:
        handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError:
        pass  # the count above is what decides about this process


def any_refused() -> bool:
    """Whether a load was refused in this process, or in one forked from it."""
    return _shared[0] != 0


def end_of_process() -> None:
    """At exit: a process in which a load was refused does not end as if nothing had been."""
    if not any_refused() or _uncaught():
        return
    said = [
        f"aiverify: a load was refused, and the program went on; status {STATUS}",
        *(f"  {text}" for text in _recent[:5]),
    ]
    try:
        print("\n".join(said), file=sys.stderr, flush=True)
        sys.stdout.flush()
    finally:  # nothing keeps the process from ending so
        os._exit(STATUS)


def _uncaught() -> bool:
    """Whether a refusal ended the process, as a traceback that was printed: the status is not 0.

    Of other exceptions that says nothing: a test runner leaves those there that it has dealt with.
    """
    error = getattr(sys, "last_value", None)
    for _ in range(_KEPT):
        if error is None or type(error).__name__ == "LoadRefused":
            break
        error = error.__cause__ or error.__context__
    return error is not None
