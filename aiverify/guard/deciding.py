"""The gate, made when it is asked for the first time: most guarded interpreters never load anything."""

from __future__ import annotations

from aiverify.guard.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiverify.guard.gate import StoreGate
    from aiverify.guard.interface import Admission, LoadRefused, Twin


class Decider:
    """Asks the gate of these settings."""

    __slots__ = ("_gate", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._gate: StoreGate | None = None

    def admit(self, path: str, suits: Callable[[Twin], bool] | None = None) -> Admission:
        """Leave to load the file at ``path`` from its sealed copy, or from a twin of it that ``suits``.

        Raises LoadRefused, and OSError as an open does.
        """
        return self._made().admit(path, suits=suits)

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

        gate = self._gate
        if gate is None:
            with examining():
                from aiverify.guard.gate import StoreGate

                gate = self._gate = StoreGate(self.settings)  # if two threads make one each, both decide alike
        return gate
