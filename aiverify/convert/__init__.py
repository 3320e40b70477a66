"""Tensors without the danger: safetensors twins of checkpoints.

The package has the name of the function ``aiverify.convert``, and is called as such.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiverify.report import Report


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Report:
        """Verify, and write twins: see ``aiverify.api.convert``."""
        from aiverify.api import convert

        return convert(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
