"""A policy file as it was read: its tables, and where in it each key stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiverify.files import read_at_most
from aiverify.policy.lines import line_numbers
from aiverify.policy.values import Place, PolicyError
from aiverify.report import PolicySource
from aiverify.toml import parse_toml

#: The largest policy file, in bytes.
MAX_POLICY = 1 << 20
PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = "tool.aiverify"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """``name`` is a path, or an address of the web; then there is no ``folder``. ``lines`` are by dotted key."""

    name: str
    folder: Path | None
    digest: str
    content: object
    lines: Mapping[str, int]
    table: str = ""

    @property
    def source(self) -> PolicySource:
        """What a report says about this file."""
        return PolicySource(name=self.name, digest=self.digest)

    def place(self, key: str) -> Place:
        """Where ``key`` stands; if it is missing, where the table stands that misses it."""
        path = f"{self.table}.{key}" if self.table and key else self.table or key
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return Place(self.name, self.lines.get(path))

    def error(self, key: str, problem: str, hint: str = "") -> PolicyError:
        """The error that says what is wrong with ``key``."""
        return PolicyError(problem, hint=hint, source=self.name, line=self.place(key).line, key=key)


def opened(path: Path, table: str | None) -> PolicyFile:
    """The file ``path``. Raises PolicyError."""
    try:
        raw = read_at_most(path, MAX_POLICY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise PolicyError(f"cannot be read: {reason or error}", source=str(path)) from error
    return parsed(raw, str(path), path.parent, table)


def parsed(raw: bytes, name: str, folder: Path | None, table: str | None = None) -> PolicyFile:
    """What ``raw`` says, which was read from ``name``; ``table`` is the dotted table that holds the policy."""
    if len(raw) > MAX_POLICY:
        raise PolicyError(f"is longer than {MAX_POLICY} bytes", source=name)
    try:
        content: object = parse_toml(raw)
        text = raw.decode("utf-8")
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of too many digits
        raise PolicyError(f"not valid TOML: {error}", source=name) from error
    for key in table.split(".") if table else ():
        content = content.get(key, {}) if isinstance(content, dict) else {}
    return PolicyFile(
        name=name,
        folder=folder,
        digest=hashlib.sha256(raw).hexdigest(),
        content=content,
        lines=line_numbers(text),
        table=table or "",
    )
