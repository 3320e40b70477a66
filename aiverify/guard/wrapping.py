"""Wrappers take the place of load functions, wherever these are bound.

While the guard is not active they pass everything on.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from aiverify.guard.deciding import asked

Guarded: TypeAlias = Callable[..., Any]
Place: TypeAlias = tuple[str, str, Guarded]

_MARK = "__aiverify_original__"

_wrappers: dict[int, tuple[object, object]] = {}
_lock = threading.RLock()


def rebind(places: Sequence[Place]) -> None:
    """Put wrappers in the place of functions of modules that are imported: (module, name, what is done instead) each.

    Every module that holds the original under any name gets the wrapper. A name with a dot is that of a method.
    """
    with _lock:
        known = len(_wrappers)
        for module, dotted, guarded in places:
            held_by, _, name = dotted.rpartition(".")
            holder = sys.modules.get(module)
            holder = getattr(holder, held_by, None) if held_by else holder
            original = getattr(holder, name, None)
            if original is None or hasattr(original, _MARK) or id(original) in _wrappers:
                continue
            wrapper = _wrapped(original, guarded)
            if held_by:
                setattr(holder, name, wrapper)
            else:
                _wrappers[id(original)] = original, wrapper
        if len(_wrappers) > known:
            rebind_again()


def rebind_again() -> None:
    """Put the wrappers where originals were bound meanwhile."""
    if not _wrappers:
        return
    with _lock:
        for holder in list(sys.modules.values()):
            names = getattr(holder, "__dict__", None)
            if isinstance(names, dict) and not str(names.get("__name__")).startswith("aiverify."):
                for name, value in list(names.items()):
                    known = _wrappers.get(id(value))
                    if known is not None and known[0] is value:
                        names[name] = known[1]


def _wrapped(original: Callable[..., Any], guarded: Guarded) -> Callable[..., Any]:
    """``original`` while the guard is not active, and otherwise ``guarded(gate, original, …)``."""

    @functools.wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        gate = asked()
        if gate is None:
            return original(*arguments, **named)
        return guarded(gate, original, *arguments, **named)

    setattr(wrapper, _MARK, original)
    return wrapper
