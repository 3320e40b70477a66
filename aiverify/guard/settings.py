"""How the guard decides. Every guarded interpreter imports this module when it starts: it imports nothing itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
        policy: Policy | str | None = None,
        store: str | None = None,
        rehash_always: bool = False,
        working_directory: str | None = None,
    ) -> None:
        self.mode = mode
        self.policy = policy
        self.store = store
        self.rehash_always = rehash_always
        self.working_directory = working_directory

    def same(self, other: Settings) -> bool:
        """Whether both decide alike."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)
