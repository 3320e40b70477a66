"""What an examination can say: a finding, or that it could not look."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Severity(enum.StrEnum):
    """How much a finding matters. What it does to a verdict is the policy's business."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position in the order info < low < medium < high < critical."""
        return list(type(self)).index(self)


@dataclass(frozen=True, slots=True)
class Location:
    """A place inside a file: the archive member, if any, and the byte offset inside that member or the file."""

    member: str | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation. ``file`` is the path inside the artifact; ``None`` speaks of the artifact as a whole.

    ``evidence`` holds JSON values only.
    """

    rule: str
    severity: Severity
    message: str
    file: str | None = None
    location: Location = Location()
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexamined:
    """A file, or a member of it, that could not be read, and why. It never counts as clean."""

    file: str
    reason: str
    member: str | None = None
