"""Switching the guard on in an interpreter that has just started, before any other code runs in it.

What ``aiverify run`` tells the interpreters below it, it tells by variables of the environment. What a hook says
stands in its file.

Rules it keeps:

1. Nothing is printed unless something failed.
2. An interpreter under ``aiverify run`` that cannot be guarded ends at once, with status 125.
3. An interpreter with a hook that cannot be guarded goes on, for otherwise nobody could mend it; but it unpickles
   nothing.
4. Where both are at work, the stricter counts. A hook that names a policy keeps it.
5. A child in which aiverify examines bytes for a guard has none of its own, which would start the next child: it
   unpickles nothing.

Every guarded interpreter imports this module when it starts: what costs time is imported when it is needed, and not
even ``__future__`` is free.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiverify.guard.deciding import Settings

#: The file in which each interpreter says that it is guarded. Its folder is private to one ``aiverify run``.
ACTIVE = "AIVERIFY_ACTIVE"
#: The file to which each refusal adds a line.
REFUSALS = "AIVERIFY_REFUSALS"
STORE = "AIVERIFY_STORE"
#: The Python, as its caches are named, that the aiverify of the command is installed for.
PYTHON = "AIVERIFY_RUN_PYTHON"

_MODE = "AIVERIFY_RUN_MODE"
_POLICY = "AIVERIFY_RUN_POLICY"
_REHASH = "AIVERIFY_RUN_REHASH"
_DIRECTORY = "AIVERIFY_RUN_DIRECTORY"
_ALWAYS = "always"

_entered = False


def enter_run() -> None:
    """Guard this interpreter as ``aiverify run`` said. Raises whatever keeps it from that."""
    from aiverify.guard.session import switch_on

    switch_on(_read(os.environ))
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
        from aiverify.guard.deciding import ENFORCE, MODES, Settings
        from aiverify.guard.session import switch_on

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


def written(settings: "Settings") -> dict[str, str]:
    """The variables that stand for ``settings``, whose policy is a path or none. An empty one is as good as none."""
    return {
        _MODE: settings.mode,
        _POLICY: settings.policy if isinstance(settings.policy, str) else "",
        _REHASH: _ALWAYS if settings.rehash_always else "",
        _DIRECTORY: settings.working_directory or "",
        **({STORE: settings.store} if settings.store else {}),
    }


def running(environment: "Mapping[str, str]") -> "Settings | None":
    """The settings of the ``aiverify run`` that we are below, if we are below one."""
    return _read(environment) if ACTIVE in environment else None


def within(outer: "Settings | None", inner: "Settings") -> "Settings":
    """``inner`` with what ``outer`` adds to it: it can only become stricter. Its own policy stays."""
    from aiverify.guard.deciding import ENFORCE, Settings

    if outer is None:
        return inner
    return Settings(
        mode=inner.mode if inner.mode == outer.mode else ENFORCE,
        policy=inner.policy or outer.policy,
        store=inner.store or outer.store,
        rehash_always=inner.rehash_always or outer.rehash_always,
        working_directory=outer.working_directory,
    )


def _read(environment: "Mapping[str, str]") -> "Settings":
    """The settings that the variables stand for. What is not there is the strictest."""
    from aiverify.guard.deciding import ENFORCE, MODES, Settings

    mode = environment.get(_MODE)
    return Settings(
        mode=mode if mode in MODES else ENFORCE,
        policy=environment.get(_POLICY) or None,
        rehash_always=environment.get(_REHASH) == _ALWAYS,
        working_directory=environment.get(_DIRECTORY) or None,
    )
