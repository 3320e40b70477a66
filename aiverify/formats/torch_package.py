"""Packages of ``torch.package``: Python modules, and pickles that are loaded with them.

What an archive imports from itself it runs, and a pickle in it gets its classes from these modules first, even under
names that are trusted elsewhere. The reader inside PyTorch ignores letter case.

Source: torch 2.13, ``package/package_importer.py`` and ``package_exporter.py``.
"""

from __future__ import annotations

from aiverify.finding import Severity
from aiverify.formats.torch import Members
from aiverify.rules import finding

_MARK = ".data/extern_modules"  # without which PyTorch imports nothing
_MOST_SHOWN = 3


def judge_package(archive: Members) -> None:
    """Report the modules of ``archive`` if PyTorch would import from it."""
    marks = [entry for entry in archive.entries if _within(entry.name) == _MARK]
    modules = [entry.name for entry in archive.entries if entry.name.casefold().endswith(".py")]
    if not marks or not modules:
        return
    shown = ", ".join(modules[:_MOST_SHOWN]) + (", …" if len(modules) > _MOST_SHOWN else "")
    text = f"it is a package of torch.package, and runs modules of its own: {shown}"
    archive.examination.findings.append(
        finding("AIV411", text, file=archive.path, member=marks[0].name, severity=Severity.MEDIUM)
    )


def _within(name: str) -> str:
    """The name of an entry below the folder that an archive of PyTorch consists of."""
    return name.partition("/")[2].casefold()
