"""How the guard decides: its settings, and a gate that is made when it is asked for the first time.

Most guarded interpreters never load anything, and every one imports this module when it starts: it imports nothing, not
even ``__future__``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiverify.guard.gate import StoreGate
    from aiverify.guard.interface import Admission, LoadRefused, Twin
    from aiverify.policy import Policy

ENFORCE = "enforce"
#: What the policy does not pass is loaded all the same, with a warning; what it blocks is not.
WARN = "warn"
MODES = (ENFORCE, WARN)


class Settings:
    """``policy`` is a policy, the full path of one, or ``None`` for the one that is found from ``working_directory``.

    ``store`` is the folder of the store, ``None`` for the usual one. ``rehash_always``: no digest is remembered.
    """

    __slots__ = ("mode", "policy", "rehash_always", "store", "working_directory")

    def __init__(
        self,
        *,
        mode: str = ENFORCE,
        policy: "Policy | str | None" = None,
        store: str | None = None,
        rehash_always: bool = False,
        working_directory: str | None = None,
    ) -> None:
        self.mode = mode
        self.policy = policy
        self.store = store
        self.rehash_always = rehash_always
        self.working_directory = working_directory

    def same(self, other: "Settings") -> bool:
        """Whether both decide alike."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)


class Decider:
    """Asks the gate of these settings, which may be exchanged for stricter ones."""

    __slots__ = ("_gate", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._gate: StoreGate | None = None

    def admit(
        self, path: str, suits: "Callable[[Twin], bool] | None" = None, copy_of: str | None = None
    ) -> "Admission":
        """Leave to load the file at ``path`` from its sealed copy, or from a twin of it that ``suits``.

        ``copy_of`` is what messages name instead of a file that is a copy. Raises LoadRefused, and OSError as an open
        does.
        """
        return self._made().admit(path, suits=suits, copy_of=copy_of)

    def run(self, path: str) -> "Admission":
        """Leave to run the source code at ``path``. Raises LoadRefused, and OSError as an open does."""
        return self._made().admit(path, running=True)

    def look(self, path: str) -> None:
        """Leave to open the file at ``path`` where it lies. Raises LoadRefused, and OSError as an open does."""
        self._made().admit(path, sealing=False)

    def refuse(self, file: str, reason: str) -> "LoadRefused":
        """The refusal, recorded, of something that no policy allows."""
        return self._made().refuse(file, reason)

    def _made(self) -> "StoreGate":
        from aiverify.guard.loading import examining

        gate, settings = self._gate, self.settings
        if gate is None or gate.settings is not settings:  # nobody decides by settings that were made stricter
            with examining():
                from aiverify.guard.gate import StoreGate

                gate = self._gate = StoreGate(settings)  # if two threads make one each, both decide alike
        return gate


_asked: Decider | None = None


def ask(decider: Decider | None) -> None:
    """Have ``decider`` asked about what happens from now on, or nobody."""
    global _asked
    _asked = decider


def asked() -> Decider | None:
    """Who is asked; ``None`` while the guard is not switched on."""
    return _asked
