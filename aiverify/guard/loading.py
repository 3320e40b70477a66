"""Who is inside the load of an artifact right now: each thread for itself.

Loads are synchronous: no other task of an event loop runs in the same thread while one is under way. What another
thread does meanwhile, or another load inside this one, is its own business.

Every guarded interpreter imports this module when it starts: it imports next to nothing, not even ``__future__``.
"""

from _thread import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiverify.guard.interface import Admission, Name


class Load:
    """One load: what it is of, the names that its pickles may ask for (``None``: not known), and what it opens."""

    __slots__ = ("file", "names", "opens")

    def __init__(self, file: str, names: "frozenset[Name] | None", opens: str = "") -> None:
        self.file = file
        self.names = names
        self.opens = opens


class _State(_local):
    load: Load | None = None
    examining = False


_STATE = _State()


def current() -> Load | None:
    """The innermost load that this thread is in."""
    return _STATE.load


def is_examining() -> bool:
    """Whether this thread is looking at a file for the guard, so that the guard must not look at that again."""
    return _STATE.examining


class _Within:
    """This thread is inside a load while the context lasts."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._before: Load | None = None

    def __enter__(self) -> None:
        import copyreg

        self._before, _STATE.load = _STATE.load, self._load
        # An extension code is looked up here first, and what is found here is given out without any event.
        copyreg.clear_extension_cache()

    def __exit__(self, *_: object) -> None:
        _STATE.load = self._before


def loading(admission: "Admission") -> _Within:
    """This thread loads what was admitted."""
    return _Within(Load(admission.file, admission.globals, str(admission.sealed)))


def loading_only(file: str, names: "frozenset[Name]") -> _Within:
    """This thread loads what was not admitted, and so may hold no pickle that asks for anything but ``names``."""
    return _Within(Load(file, names))


class examining:  # noqa: N801 - used like a function
    """This thread looks at a file for the guard while the context lasts."""

    def __enter__(self) -> None:
        self._before, _STATE.examining = _STATE.examining, True

    def __exit__(self, *_: object) -> None:
        _STATE.examining = self._before
