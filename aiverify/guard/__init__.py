"""What runs inside the user's process at load time: what is loaded is what was verified.

The package has the name of the function ``aiverify.guard``, and is called as such.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)  # without the import: every guarded interpreter begins with this module


class _Callable(ModuleType):
    def __call__(self, *arguments: "Any", **named: "Any") -> "AbstractContextManager[None]":
        """The guard for a scope: see ``aiverify.guard.session.guard``."""
        from aiverify.guard.session import guard

        return guard(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
