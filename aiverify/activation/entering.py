"""Switching the guard on in an interpreter that has just started, before any other code runs in it.

Rules it keeps:

1. Nothing is printed unless something failed.
2. An interpreter under ``aiverify run`` that cannot be guarded ends at once, with status 125.
3. An interpreter with a hook that cannot be guarded goes on, for otherwise nobody could mend it; but it unpickles
   nothing.
4. Where both are at work, the stricter counts. A hook that names a policy keeps it.
5. A child in which aiverify examines bytes for a guard has none of its own, which would start the next child: it
   unpickles nothing.

Every guarded interpreter imports this module when it starts: what costs time is imported when it is needed.
"""

from __future__ import annotations

import os
import sys

_entered = False


def enter_run() -> None:
    """Guard this interpreter as ``aiverify run`` said. Raises whatever keeps it from that."""
    from aiverify.activation.variables import read
    from aiverify.guard.session import switch_on

    switch_on(read(os.environ))
    _say_active()


def enter_hooked(*, policy: str | None, mode: str, rehash_always: bool) -> None:
    """Guard this interpreter as its hook says: the line in the ``.pth`` file calls this. Raises nothing.

    The site module of a virtual environment calls it twice.
    """
    global _entered
    if _entered:
        return
    _entered = True
    if _examines():
        _unpickle_nothing("what examines a pickle does not load one")
        return
    try:
        from aiverify.activation.variables import running, within
        from aiverify.guard.session import switch_on
        from aiverify.guard.settings import ENFORCE, MODES, Settings

        hooked = Settings(
            mode=mode if mode in MODES else ENFORCE,
            policy=policy,
            rehash_always=rehash_always,
            working_directory=_working_directory(),
        )
        switch_on(within(running(os.environ), hooked))
        _say_active()
    except Exception as error:  # noqa: BLE001 - what the site module does with it is to go on without the guard
        reason = f"the hook cannot switch the guard on: {type(error).__name__}: {error}"
        _unpickle_nothing(reason)
        sys.stderr.write(f"aiverify: {reason}; nothing is unpickled here. `aiverify hook remove` removes the hook.\n")


def _examines() -> bool:
    """Whether this is a child of aiverify, by the way in which these are all started."""
    words = sys.orig_argv[1:4]
    return words[:2] == ["-I", "-c"] and "sys.path[:] =" in words[-1] and "from aiverify." in words[-1]


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is too slow for a start
    except OSError:  # it is gone: the first load will say so
        return None


def _say_active() -> None:
    """Tell ``aiverify run`` that this process is guarded, if it is below one that still waits."""
    from aiverify.activation.variables import ACTIVE

    place = os.environ.get(ACTIVE)
    if not place:
        return
    try:
        handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, b"%d\n" % os.getpid())
        finally:
            os.close(handle)
    except OSError:
        pass  # whoever waits takes silence for a failure


def _unpickle_nothing(reason: str) -> None:
    def refuse(event: str, _: object) -> None:
        if event == "pickle.find_class":
            raise RuntimeError(f"aiverify: {reason}")

    sys.addaudithook(refuse)
