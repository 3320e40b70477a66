"""aiverify: know what a checkpoint would do before anything loads it.

``verify`` is the main job, ``scan`` the static part of it, ``convert`` makes safetensors twins. All return a ``Report``
and raise ``AiverifyError``.
Names are loaded when they are first asked for: importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from aiverify.version import __version__

if TYPE_CHECKING:
    from aiverify.api import convert, scan, verify
    from aiverify.errors import AiverifyError
    from aiverify.policy import Policy
    from aiverify.report import Outcome, Report

_HOMES = {
    "AiverifyError": "aiverify.errors",
    "Outcome": "aiverify.report",
    "Policy": "aiverify.policy",
    "Report": "aiverify.report",
    "convert": "aiverify.api",
    "scan": "aiverify.api",
    "verify": "aiverify.api",
}

__all__ = ["AiverifyError", "Outcome", "Policy", "Report", "__version__", "convert", "scan", "verify"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
