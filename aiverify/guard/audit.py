"""The layer below the wrappers: what CPython itself tells of.

Rules it keeps:

1. Inside the load of an artifact, ``pickle.find_class`` is denied by default: only names are given out that the machine
   recorded in the very file that is being loaded, or that alone belong into one of its kind.
2. Outside, only dangerous names are denied (``dangerous``), and a file that is called like a model is verified before
   it is opened for reading. A name counts, and so does what a link leads to; the wrappers of the loaders look at every
   name. What no unpickler makes anything of may be opened whatever the verdict.
3. Code of a repository (``transformers_modules``, what torch.hub fetched) runs only if its source was verified, and
   only as that source says: no bytecode without a source, and no native code.
4. Inside the load of an artifact, marshalled code is given only to the import system.

An audit hook cannot be removed. It is set once; while nobody is asked it does nothing.

Every guarded interpreter imports this module when it starts: what costs time is imported when it is needed, and not
even ``__future__`` is free.
"""

import os
import sys

from aiverify.guard.deciding import asked
from aiverify.guard.loading import current, examining, is_examining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any

    from aiverify.guard.deciding import Decider

_SUFFIXES = (
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".safetensors"),
    *(".h5", ".hdf5", ".keras", ".mar", ".nemo", ".skops", ".pt2", ".th", ".t7", ".p", ".pk", ".pck", ".pcl"),
    *(".sav", ".model", ".ptl", ".pklz", ".pdparams", ".pdopt", ".cloudpickle", ".jbl"),
)
#: Behind one of these: compressed, or as PyTorch's own examples call a checkpoint (.pth.tar).
_PACKED = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".zip", ".z", ".tar")
_REMOTE = frozenset(("transformers_modules", "diffusers_modules", "datasets_modules", "evaluate_modules"))
_IMPORTS = frozenset(("<frozen importlib._bootstrap_external>", "<frozen zipimport>"))
_CACHED = f".{sys.implementation.cache_tag}."
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

_installed = False
_fetched: "tuple[str, ...]" = ()  # folders of code that a loader fetched, each with a slash at its end


def code_lies_in(folder: str) -> None:
    """From here on, what lies in ``folder`` is code of repositories, by that path and by where it leads."""
    global _fetched
    places = (os.path.abspath(folder), os.path.realpath(folder))  # noqa: PTH100 - as bytecode names them
    _fetched = tuple(dict.fromkeys((*_fetched, *(f"{place}/" for place in places))))


def install() -> None:
    """Set the hook, if it is not set yet."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True


def _hook(event: str, arguments: "tuple[Any, ...]") -> None:
    handler = _HANDLERS.get(event)
    gate = asked() if handler is not None else None
    if handler is None or gate is None or is_examining():
        return
    try:
        handler(gate, *arguments)
    except Exception as error:
        if type(error).__name__ == "LoadRefused":
            raise
        raise gate.refuse(event, f"the guard failed: {type(error).__name__}: {error}") from error


def _opened(gate: "Decider", path: object, _mode: object = None, flags: object = 0) -> None:
    if isinstance(flags, int) and (flags & _ACCESS == os.O_WRONLY or flags & os.O_TRUNC):
        return  # nothing can be read, or nothing is left to be read
    name = _model_file(path)
    if name is None:
        if isinstance(path, str) and path.endswith(".pyc") and _is_remote(path) and not _is_cached(path):
            raise gate.refuse(path, "it is bytecode of a repository without its source")
        return
    load = current()
    if _is_of_site() or _is_ours() or (load is not None and name == load.opens) or os.path.isdir(name):  # noqa: PTH112
        return
    try:
        gate.look(name)
    except OSError:
        return  # the open itself fails in the same way


def _model_file(path: object) -> str | None:
    """The path that an open names if that is called like a model, by its own name or by that of what it leads to."""
    if not isinstance(path, str):
        try:
            path = os.fsdecode(path)  # type: ignore[arg-type]  # whatever an open is given
        except TypeError:
            return None  # a descriptor, which somebody opened before
    if _is_called_so(path):
        return path
    try:
        os.readlink(path)  # noqa: PTH115 - asked at every open of the process
    except (OSError, ValueError):
        return None
    return path if _is_called_so(os.path.realpath(path)) else None


def _is_called_so(path: str) -> bool:
    name = path.lower()
    return name.endswith(_SUFFIXES) or (name.endswith(_PACKED) and name.rpartition(".")[0].endswith(_SUFFIXES))


def _is_of_site() -> bool:
    """Whether the file is opened as text with paths for an interpreter that starts: a ``.pth`` file of that kind."""
    opening = sys._getframe(3)  # behind this function, the handler and the hook
    return opening.f_code.co_name == "addpackage" and opening.f_globals.get("__name__") == "site"


def _is_ours() -> bool:
    """Whether aiverify itself opens the file, to look at it: in a thread of its own, perhaps."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if isinstance(name, str) and name.startswith("aiverify.") and not name.startswith("aiverify.guard."):
            return True
        frame = frame.f_back
    return False


def _named(gate: "Decider", module: object, name: object) -> None:
    from aiverify.guard.dangerous import is_dangerous

    module, name = str(module), str(name)
    load = current()
    if load is not None and load.names is not None:
        if (module, name) not in load.names:
            raise gate.refuse(load.file, f"its pickle asks for {module}.{name}, which may not stand in it")
    elif is_dangerous(module, name):
        raise gate.refuse(load.file if load else "a pickle", f"it asks for {module}.{name}")


def _is_remote(place: str) -> bool:
    """Whether a path leads into code of repositories."""
    return place.startswith(_fetched) or ("_modules" in place and not _REMOTE.isdisjoint(place.split("/")))


def _is_cached(place: str) -> bool:
    """Whether a file has the name of bytecode that the import system keeps, and so takes for that of a source."""
    return _CACHED in os.path.basename(place)  # noqa: PTH119 - asked at every open of bytecode


def _imported(gate: "Decider", _name: object, place: object = None, *_: object) -> None:
    if isinstance(place, str) and _is_remote(place):
        raise gate.refuse(place, "it is native code of a repository, which nobody can read")


def _executed(gate: "Decider", code: object) -> None:
    place = getattr(code, "co_filename", None)
    if not isinstance(place, str) or not _is_remote(place):
        return
    try:
        admission = gate.run(place)
        with examining():
            same = compile(admission.sealed.read_bytes(), place, "exec", dont_inherit=True) == code
    except (OSError, ValueError, SyntaxError) as error:
        raise gate.refuse(place, f"its source cannot be read: {error}") from error
    if not same:
        raise gate.refuse(place, "the code that was to run is not that of the source")


def _unmarshalled(gate: "Decider", *_: object) -> None:
    load = current()
    if load is not None and sys._getframe(2).f_code.co_filename not in _IMPORTS:
        raise gate.refuse(load.file, "it holds marshalled code (a Lambda layer)")


_HANDLERS: "Mapping[str, Callable[..., None]]" = {
    "open": _opened,
    "pickle.find_class": _named,
    "exec": _executed,
    "import": _imported,
    "marshal.loads": _unmarshalled,
}
