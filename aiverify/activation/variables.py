"""What ``aiverify run`` tells the interpreters below it, by variables of the environment.

Every guarded interpreter imports this module when it starts: it imports next to nothing.
"""

from __future__ import annotations

from aiverify.guard.settings import ENFORCE, MODES, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

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


def written(settings: Settings) -> dict[str, str]:
    """The variables that stand for ``settings``, whose policy is a path or none. An empty one is as good as none."""
    return {
        _MODE: settings.mode,
        _POLICY: settings.policy if isinstance(settings.policy, str) else "",
        _REHASH: _ALWAYS if settings.rehash_always else "",
        _DIRECTORY: settings.working_directory or "",
        **({STORE: settings.store} if settings.store else {}),
    }


def running(environment: Mapping[str, str]) -> Settings | None:
    """The settings of the ``aiverify run`` that we are below, if we are below one."""
    return read(environment) if ACTIVE in environment else None


def within(outer: Settings | None, inner: Settings) -> Settings:
    """``inner`` with what ``outer`` adds to it: it can only become stricter. Its own policy stays."""
    if outer is None:
        return inner
    return Settings(
        mode=inner.mode if inner.mode == outer.mode else ENFORCE,
        policy=inner.policy or outer.policy,
        store=inner.store or outer.store,
        rehash_always=inner.rehash_always or outer.rehash_always,
        working_directory=outer.working_directory,
    )


def read(environment: Mapping[str, str]) -> Settings:
    """The settings that the variables stand for. What is not there is the strictest."""
    mode = environment.get(_MODE)
    return Settings(
        mode=mode if mode in MODES else ENFORCE,
        policy=environment.get(_POLICY) or None,
        rehash_always=environment.get(_REHASH) == _ALWAYS,
        working_directory=environment.get(_DIRECTORY) or None,
    )
