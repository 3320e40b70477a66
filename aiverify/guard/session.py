"""Switching the guard on: for a process, or for a scope.

Rules it keeps:

1. ``protect`` may be called any number of times; what differs between calls can only become stricter.
2. Switching on imports nothing that loads models: what is imported already is wrapped at once, the rest when it comes.
3. A process that ends as if no load had been refused, ends with status 126 instead (``enforce`` only).

Every guarded interpreter imports this module when it starts: what costs time is imported when it is needed, and not
even ``__future__`` is free.
"""

import atexit
import os
import sys
from _thread import RLock

from aiverify.guard import audit
from aiverify.guard.deciding import ENFORCE, MODES, WARN, Decider, Settings, ask, asked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType
    from typing import Any

    from aiverify.errors import UsageError
    from aiverify.policy import Policy

#: Set where nobody has set them: they hold for loads that no layer of the guard sees, and in child processes.
HARDENED = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "DISABLE_SAFETENSORS_CONVERSION": "1"}
_LIBRARIES = ("torch", "safetensors", "joblib", "numpy", "keras")
#: Their modules that have load functions of their own, and are imported later.
_LATER = (
    *("torch.export.pt2_archive._package", "torch._inductor.package.package"),
    "torch.distributed.checkpoint.filesystem",
)
_REHASH = ("changed", "always")

_lock = RLock()
_deciders: list[Decider] = []  # that of ``protect`` first, if there is one, and those of scopes
_protects = False
_hardened: list[str] = []
_counts = _ends = False


def protect(
    policy: "Policy | Path | str | None" = None,
    mode: str | None = None,
    store: "Path | str | None" = None,
    rehash: str = "changed",
) -> None:
    """From here on, this process loads only what was verified.

    ``policy`` is a Policy or the path of a policy file; without it, the policy is the one that the command line would
    find (``AIVERIFY_POLICY`` may tighten that). ``mode`` is ``enforce`` or ``warn``, by default ``AIVERIFY_MODE`` or
    else ``enforce``; ``warn`` still refuses what is blocked. ``store`` is the folder of the store, by default
    ``AIVERIFY_STORE`` or the user's. ``rehash`` tells when the digest of a file is taken again: when its state
    ``changed``, or ``always``.

    Calling it again does nothing, or makes ``warn`` into ``enforce``. Raises UsageError for anything else that differs,
    and PolicyError for a policy that cannot be read.
    """
    switch_on(chosen(policy, mode, store, rehash))


def switch_on(wanted: Settings) -> None:
    """What ``protect`` does, for settings that are at hand. Raises UsageError."""
    global _protects
    with _lock:
        for decider, stricter in [(each, _stricter(each.settings, wanted)) for each in _deciders]:
            if not stricter.same(decider.settings):
                decider.settings = stricter
        if not _protects:  # it stays when the scopes around this call end
            _deciders.insert(0, Decider(wanted))
            _protects = True
        _switch()


class guard:  # noqa: N801 - used like a function
    """As ``protect``, for a scope: every thread of the process is guarded until it ends.

    Inside ``protect``, or another scope, it adds nothing but what makes it stricter.
    """

    def __init__(
        self,
        policy: "Policy | Path | str | None" = None,
        mode: str | None = None,
        store: "Path | str | None" = None,
        rehash: str = "changed",
    ) -> None:
        self._settings = chosen(policy, mode, store, rehash)
        self._decider: Decider | None = None

    def __enter__(self) -> None:
        with _lock:
            outer = _deciders[-1].settings if _deciders else None
            self._decider = Decider(_stricter(outer, self._settings) if outer else self._settings)
            _deciders.append(self._decider)
            _switch()

    def __exit__(self, *_: object) -> None:
        with _lock:
            if self._decider in _deciders:
                _deciders.remove(self._decider)
            _switch()


def is_active() -> bool:
    """Whether the guard is switched on."""
    return asked() is not None


def settings() -> Settings | None:
    """How the guard decides now, ``None`` while it is not switched on."""
    decider = asked()
    return decider.settings if decider is not None else None


def chosen(policy: "Policy | Path | str | None", mode: str | None, store: "Path | str | None", rehash: str) -> Settings:
    """The settings that the arguments of ``protect`` stand for. Raises UsageError and PolicyError."""
    wanted = mode or os.environ.get("AIVERIFY_MODE") or ENFORCE
    if wanted not in MODES:
        raise _usage(f"mode {wanted!r}: must be one of {', '.join(MODES)}", "AIVERIFY_MODE sets it, too.")
    if rehash not in _REHASH:
        raise _usage(f"rehash {rehash!r}: must be one of {', '.join(_REHASH)}")
    return Settings(
        mode=str(wanted),
        policy=None if policy is None else _policy(policy),
        store=None if store is None else os.path.abspath(store),  # noqa: PTH100 - pathlib is too slow for a start
        rehash_always=rehash == "always",
        working_directory=os.getcwd(),  # noqa: PTH109 - as above
    )


def _policy(policy: "Policy | Path | str") -> "Policy | str":
    """A policy, or the path of one that can be read. Raises PolicyError."""
    from pathlib import Path

    from aiverify.policy import Policy, read_policy

    if isinstance(policy, Policy):
        return policy
    place = Path(policy).absolute()
    read_policy(place, table="tool.aiverify" if place.name == "pyproject.toml" else None)
    return str(place)


def _stricter(old: Settings, new: Settings) -> Settings:
    """``old`` with what ``new`` adds to it. Raises UsageError where they cannot both hold."""
    for name in ("policy", "store"):
        before, after = getattr(old, name), getattr(new, name)
        if after is not None and before != after:
            raise _usage(
                f"the guard is active with another {name}" + (f": {before}" if before else ""),
                "A guard that is active can be made stricter, but its policy and store stay what they are.",
            )
    return Settings(
        mode=ENFORCE if ENFORCE in (old.mode, new.mode) else WARN,
        policy=old.policy,
        store=old.store,
        rehash_always=old.rehash_always or new.rehash_always,
        working_directory=old.working_directory,
    )


def _usage(message: str, hint: str = "") -> "UsageError":
    from aiverify.errors import UsageError

    return UsageError(message, hint=hint)


def _switch() -> None:
    """Make the innermost decider the one that is asked, or switch the guard off."""
    global _counts, _ends
    decider = _deciders[-1] if _deciders else None
    ask(decider)
    _harden(decider is not None)
    if decider is None:
        return
    audit.install()
    if not any(isinstance(finder, _ImportWatch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ImportWatch())
    here = [library for library in _LIBRARIES if library in sys.modules]
    for library in here:
        _wrap(library)
    if here:
        from aiverify.guard.wrapping import rebind_again

        rebind_again()
    if "copyreg" in sys.modules:
        sys.modules["copyreg"].clear_extension_cache()  # what was resolved before would be given out unseen
    if not _counts:
        os.register_at_fork(before=_count_together)
        _counts = True
    if decider.settings.mode == ENFORCE and not _ends:
        atexit.register(_end_of_process)
        _ends = True


def _harden(on: bool) -> None:
    """Set the variables that nobody has set, or take these away again."""
    for name, value in HARDENED.items():
        if on and name not in os.environ:
            os.environ[name] = value
            _hardened.append(name)
        elif not on and name in _hardened and os.environ.get(name) == value:
            del os.environ[name]
    if not on:
        _hardened.clear()


def _count_together() -> None:
    """Before a fork: from here on, refusals in either process count in both."""
    import aiverify.guard.refusals  # noqa: F401 - the memory that they are counted in


def _end_of_process() -> None:
    refusals = sys.modules.get("aiverify.guard.refusals")  # imported by the first refusal, or the first fork
    if refusals is not None:
        refusals.end_of_process()


def _wrap(library: str) -> None:
    """Put the wrappers of one library in place, which is imported."""
    from importlib import import_module

    from aiverify.guard.wrapping import rebind

    rebind(import_module(f"aiverify.guard.of_{library}").PLACES)


class _ImportWatch:
    """A finder that finds nothing itself, and has libraries wrapped when they were imported.

    It is a finder by its methods: what it would inherit from takes longer to import than all of this.
    """

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec that another finder gives, with a loader that tells."""
        if name not in _LIBRARIES and name not in _LATER:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if finder is not self and find is not None else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Wrapping(spec.loader, name.partition(".")[0])  # type: ignore[assignment]  # a loader by its methods
                return spec
        return None


class _Wrapping:
    """The loader of a library, which is wrapped when it was imported."""

    def __init__(self, loader: "Any", library: str) -> None:
        self._loader = loader
        self._library = library

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module, which sees its own loader, and wrap it."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _wrap(self._library)
