"""The gate, made when it is asked for the first time: most guarded interpreters never load anything."""

from __future__ import annotations

from aiverify.guard.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiverify.guard.gate import StoreGate
    from aiverify.guard.interface import Admission, LoadRefused, Twin


class Decider:
    """Asks the gate of these settings, which may be exchanged for stricter ones."""

    __slots__ = ("_gate", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._gate: StoreGate | None = None

    def admit(self, path: str, suits: Callable[[Twin], bool] | None = None, copy_of: str | None = None) -> Admission:
        """Leave to load the file at ``path`` from its sealed copy, or from a twin of it that ``suits``.

        ``copy_of`` is what messages name instead of a file that is a copy. Raises LoadRefused, and OSError as an open
        does.
        """
        return self._made().admit(path, suits=suits, copy_of=copy_of)

    def run(self, path: str) -> Admission:
        """Leave to run the source code at ``path``. Raises LoadRefused, and OSError as an open does."""
        return self._made().admit(path, running=True)

    def look(self, path: str) -> None:
        """Leave to open the file at ``path`` where it lies. Raises LoadRefused, and OSError as an open does."""
        self._made().admit(path, sealing=False)

    def refuse(self, file: str, reason: str) -> LoadRefused:
        """The refusal, recorded, of something that no policy allows."""
        return self._made().refuse(file, reason)

    def _made(self) -> StoreGate:
        from aiverify.guard.loading import examining

        gate, settings = self._gate, self.settings
        if gate is None or gate.settings is not settings:  # nobody decides by settings that were made stricter
            with examining():
                from aiverify.guard.gate import StoreGate

                gate = self._gate = StoreGate(settings)  # if two threads make one each, both decide alike
        return gate
