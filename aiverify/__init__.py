"""aiverify: know what a checkpoint would do before anything loads it.

``verify`` is the main job, ``scan`` the static part of it, ``convert`` makes safetensors twins. All return a ``Report``
and raise ``AiverifyError``. ``ensure`` gives the sealed copy of what passed, or raises ``LoadRefused``.
Names are loaded when they are first asked for: importing this package costs nothing.
"""

TYPE_CHECKING = False  # as in typing, which takes longer to import than this package
if TYPE_CHECKING:
    from aiverify.api import convert, ensure, scan, verify
    from aiverify.attesting import attest
    from aiverify.errors import AiverifyError
    from aiverify.guard.interface import LoadRefused
    from aiverify.guard.session import guard, protect
    from aiverify.policy import Policy
    from aiverify.report import Outcome, Report
    from aiverify.signing import sign
    from aiverify.version import __version__

_HOMES = {
    "AiverifyError": "aiverify.errors",
    "LoadRefused": "aiverify.guard.interface",
    "Outcome": "aiverify.report",
    "Policy": "aiverify.policy",
    "Report": "aiverify.report",
    "__version__": "aiverify.version",
    "attest": "aiverify.attesting",
    "convert": "aiverify.api",
    "ensure": "aiverify.api",
    "guard": "aiverify.guard.session",
    "protect": "aiverify.guard.session",
    "scan": "aiverify.api",
    "sign": "aiverify.signing",
    "verify": "aiverify.api",
}

__all__ = [
    "AiverifyError",
    "LoadRefused",
    "Outcome",
    "Policy",
    "Report",
    "__version__",
    "attest",
    "convert",
    "ensure",
    "guard",
    "protect",
    "scan",
    "sign",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        home = __import__(_HOMES[name], fromlist=(name,))  # the package importlib takes longer than all of the guard
        return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
