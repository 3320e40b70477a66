"""Whether transformers has an architecture itself, so that the code of its repository is not needed.

The table is read as text from the installed package, which is not imported; where none is installed, from a list of
what one version of it has (``data/native_types.txt``).
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from aiverify.finding import Finding
from aiverify.repository.subject import Repository
from aiverify.repository.words import words
from aiverify.rules import finding

LISTED = "5.23.0"
_TABLES = ("auto_mappings.py", "configuration_auto.py")
_MAX_TABLE = 4 << 20
_ENTRY = re.compile(r'\(\s*"([A-Za-z0-9_.-]{1,80})",\s*"\w{1,80}Config",?\s*\)')


def not_needed(repository: Repository, findings: Sequence[Finding]) -> Iterator[Finding]:
    """AIV509 for each configuration that names code for an architecture that transformers has."""
    for path in dict.fromkeys(item.file for item in findings if item.rule == "AIV501" and item.file):
        part = repository.parts.get(path)
        if part is None or PurePosixPath(path).name != "config.json":
            continue
        kind = _model_type(part.read())
        version, native = native_types()
        if kind in native:
            text = f"{kind} is an architecture of transformers {version} itself: its remote code is not needed"
            yield finding("AIV509", text, file=path, evidence={"model_type": kind, "transformers": version})


@functools.cache
def native_types() -> tuple[str, frozenset[str]]:
    """The version of transformers that was asked, and the model types that it has."""
    try:
        spec = importlib.util.find_spec("transformers")  # finds a top-level package without importing it
        version = metadata.version("transformers")
    except (ImportError, ValueError, metadata.PackageNotFoundError):
        spec, version = None, LISTED
    found: set[str] = set()
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for name in _TABLES:
            table = Path(folder) / "models" / "auto" / name
            try:
                with table.open(encoding="utf-8") as file:
                    found |= set(_ENTRY.findall(file.read(_MAX_TABLE)))
            except (OSError, ValueError):
                continue
    return (version, frozenset(found)) if found else (LISTED, words("native_types"))


def _model_type(content: bytes | None) -> str | None:
    try:
        value = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None
    kind = value.get("model_type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None
