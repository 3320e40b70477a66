"""Wrappers take the place of load functions, wherever these are bound, now and when a library is imported later.

While the guard is not active they pass everything on. Every guarded interpreter imports this module when it starts: it
imports next to nothing, and the finder below is none by inheritance.
"""

from __future__ import annotations

import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, TypeAlias

    from aiverify.guard.deciding import Decider

    Guarded: TypeAlias = Callable[..., Any]
    Place: TypeAlias = tuple[str, str, Guarded]

_MARK = "__aiverify_original__"

_active: Decider | None = None
_wrappers: dict[int, tuple[object, object]] = {}
_lock = RLock()


def set_active(gate: Decider | None) -> None:
    """Have wrappers ask ``gate``; ``None``: they pass everything on."""
    global _active
    _active = gate


def rebind(places: Sequence[Place]) -> None:
    """Put wrappers in the place of functions of modules that are imported: (module, name, what is done instead) each.

    Every module that holds the original under any name gets the wrapper.
    """
    with _lock:
        known = len(_wrappers)
        for module, name, guarded in places:
            original = getattr(sys.modules.get(module), name, None)
            if original is not None and not hasattr(original, _MARK) and id(original) not in _wrappers:
                _wrappers[id(original)] = original, _wrapped(original, guarded)
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
    import functools

    @functools.wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        gate = _active
        if gate is None:
            return original(*arguments, **named)
        return guarded(gate, original, *arguments, **named)

    setattr(wrapper, _MARK, original)
    return wrapper


class ImportWatch:
    """A finder that finds nothing itself, and tells when one of ``watched`` was imported: what is done then."""

    def __init__(self, watched: Mapping[str, Callable[[], None]]) -> None:
        self._watched = watched

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that another finder gives, with a loader that tells."""
        done = self._watched.get(name)
        if done is None:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if finder is not self and find is not None else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Telling(spec.loader, done)  # type: ignore[assignment]  # a loader by its methods
                return spec
        return None


class _Telling:
    def __init__(self, loader: Any, done: Callable[[], None]) -> None:
        self._loader = loader
        self._done = done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, which sees its own loader, and tell."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._done()
