"""The names that no pickle may ask for, whoever reads it: they run what they are given.

Outside the load of an artifact, pickles are the program's own: results of processes, caches, messages. They are denied
only what nobody sends: names that run commands or code, and ways to them by a detour (a module as a value, a path
through one). ``getattr`` and functions by value stay possible, because multiprocessing and cloudpickle need them; so
this list is a net below other layers, and no judgement on a stream. Functions that load or unpickle are not on it: a
pool may be told to call them, and what they read is under the same rules.
"""

from __future__ import annotations

import importlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from types import ModuleType

#: Modules of which no name is given out, nor of those below them.
_MODULES = frozenset(
    (
        *(
            "subprocess",
            "_posixsubprocess",
            "pty",
            "runpy",
            "code",
            "codeop",
            "pdb",
            "bdb",
            "timeit",
            "ctypes",
            "_ctypes",
        ),
        *("commands", "popen2", "webbrowser", "antigravity", "pexpect", "_testcapi", "_xxsubinterpreters"),
    )
)
_OF_OS = (
    *("system", "popen", "startfile", "fork", "forkpty", "posix_spawn", "posix_spawnp", "putenv", "unsetenv"),
    *("execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"),
    *("spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve", "spawnvp", "spawnvpe"),
    *("remove", "unlink", "rmdir", "removedirs", "rename", "renames", "replace", "kill", "killpg", "chmod", "chown"),
)
_NAMES = frozenset(
    (
        *(("builtins", name) for name in ("eval", "exec", "compile", "__import__", "breakpoint", "open", "globals")),
        *((module, name) for module in ("os", "posix", "nt") for name in _OF_OS),
        *(("importlib", name) for name in ("import_module", "reload", "__import__")),
        *(("importlib._bootstrap", name) for name in ("_gcd_import", "__import__", "_find_and_load", "_load")),
        *(("shutil", name) for name in ("rmtree", "move", "copyfile", "copy", "copytree")),
        *(("asyncio.subprocess", name) for name in ("create_subprocess_exec", "create_subprocess_shell")),
        *(("marshal", name) for name in ("loads", "load")),
        *(("dill", name) for name in ("load_module", "load_session")),
        *(("dill._dill", name) for name in ("load_module", "load_session")),
        *(("io", "open"), ("_io", "open"), ("torch.hub", "load")),
        *(("numpy.testing._private.utils", "runstring"), ("numpy.testing", "runstring"), ("platform", "popen")),
        *(("pip", "main"), ("pip._internal", "main"), ("setuptools", "setup"), ("cProfile", "run"), ("profile", "run")),
        *(("doctest", "debug_script"), ("trace", "Trace"), ("site", "execsitecustomize"), ("sys", "setprofile")),
        *(("sys", "settrace"), ("sys", "modules"), ("code", "interact"), ("copyreg", "add_extension")),
        *(("_frozen_importlib", "_gcd_import"), ("imp", "load_source")),
    )
)
_PATHS = frozenset(
    ("__globals__", "__builtins__", "__dict__", "__subclasses__", "__code__", "__loader__", "__getattribute__")
)


def is_dangerous(module: str, name: str) -> bool:
    """Whether a pickle may not have ``name`` of ``module``, as it stands in the stream or as CPython renames it."""
    renamed = NAME_MAPPING.get((module, name)) or (IMPORT_MAPPING.get(module, module), name)
    return any(_listed(*pair) or _leads_to_danger(*pair) for pair in dict.fromkeys(((module, name), renamed)))


def _listed(module: str, name: str) -> bool:
    return (
        (module, name) in _NAMES
        or (module, name.partition(".")[0]) in _NAMES
        or module in _MODULES
        or module.partition(".")[0] in _MODULES
        or ("." in name and not _PATHS.isdisjoint(name.split(".")))
    )


def _leads_to_danger(module: str, name: str) -> bool:
    """Whether the name is an alias of such a name, a module, or leads through one of these.

    The module is imported and its attributes are taken to find out, as the unpickler is about to do.
    """
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
            if isinstance(found, ModuleType) or _is_alias(found, module, name):
                return True
    except Exception:  # noqa: BLE001 - the unpickler fails in the same way
        return False
    return False


def _is_alias(found: object, module: str, name: str) -> bool:
    home, own = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return isinstance(home, str) and isinstance(own, str) and (home, own) != (module, name) and _listed(home, own)
