"""Advisories in the form of OSV, read as data.

Rules it keeps:

1. An entry that is not of the form is an error; so is a number of them, or a text, beyond the limits.
2. A version is affected if it is listed, or if an event of a range introduced it and none before it fixed it. A version
   or an event that cannot be ordered counts as affected: what is not known is not safe.

Source: the OSV schema 1.7, https://ossf.github.io/osv-schema/. What is ours stands in ``database_specific.aiverify``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiverify.advisories.versions import key
from aiverify.errors import AiverifyError
from aiverify.finding import Severity

MAX_ENTRIES = 20_000
_LONGEST_ID = 100
_LONGEST_SUMMARY = 500
_MAX_EVENTS = 2_000


class AdvisoryError(AiverifyError):
    """Advisories cannot be read, or are not in the form of OSV."""


@dataclass(frozen=True, slots=True)
class Range:
    """Events in order: each introduces, fixes, or is the last that is affected, at a version."""

    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One vulnerability of one package of PyPI.

    ``formats`` and ``files`` are what it takes to meet it, where the advisory says more than its package does.
    ``code`` tells that it takes a configuration that names code. ``severity`` is what it comes to in a finding.
    """

    id: str
    package: str
    summary: str = ""
    aliases: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    versions: frozenset[str] = frozenset()
    formats: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    code: bool = False
    severity: Severity = Severity.LOW

    def affects(self, version: str) -> bool:
        """Whether ``version`` of the package is affected."""
        return version in self.versions or any(_holds(item, version) for item in self.ranges)

    def fixed_after(self, version: str) -> str | None:
        """The first version after ``version`` that is fixed, if one is named."""
        fixed = [at for item in self.ranges for kind, at in item.events if kind == "fixed" and not _before(at, version)]
        return min(fixed, key=_order, default=None)


def read_osv(entry: object) -> list[Advisory]:
    """The advisories in one OSV entry: one for each package of PyPI that it affects. Raises AdvisoryError."""
    table = _table(entry, "an entry")
    if table.get("withdrawn"):
        return []
    own = table.get("database_specific")
    own = own.get("aiverify") if isinstance(own, dict) else None
    own = own if isinstance(own, dict) else {}
    made = []
    for item in _list(table.get("affected", []), "affected", MAX_ENTRIES):
        affected = _table(item, "affected")
        package = _table(affected.get("package", {}), "package")
        if package.get("ecosystem") != "PyPI":
            continue
        ranges = [_table(each, "a range") for each in _list(affected.get("ranges", []), "ranges", _MAX_EVENTS)]
        made.append(
            Advisory(
                id=_text(table.get("id"), "id")[:_LONGEST_ID],
                package=_text(package.get("name"), "name").lower().replace("_", "-"),
                summary=_shown(str(table.get("summary") or "")[:_LONGEST_SUMMARY]),
                aliases=_texts(table.get("aliases", []), "aliases"),
                ranges=tuple(_range(each) for each in ranges if each.get("type") == "ECOSYSTEM"),
                versions=frozenset(_texts(affected.get("versions", []), "versions")),
                formats=_texts(own.get("formats", []), "formats"),
                files=_texts(own.get("files", []), "files"),
                code=own.get("when") == "code",
                severity=_severity(own.get("severity")),
            )
        )
    return made


def _range(table: dict[str, object]) -> Range:
    events = []
    for item in _list(table.get("events", []), "events", _MAX_EVENTS):
        events += [
            (kind, _text(at, kind))
            for kind, at in _table(item, "an event").items()
            if kind in ("introduced", "fixed", "last_affected")
        ]
    return Range(tuple(events))


def _holds(item: Range, version: str) -> bool:
    try:
        place = key(version)
        events = sorted(
            ((key(at), _RANKS[kind], kind) for kind, at in item.events), key=lambda event: (event[0], event[1])
        )
    except ValueError:
        return bool(item.events)
    inside = False
    for at, _, kind in events:
        if kind == "introduced" and at <= place:
            inside = True
        elif (kind == "fixed" and at <= place) or (kind == "last_affected" and at < place):
            inside = False
    return inside


_RANKS = {"introduced": 2, "fixed": 0, "last_affected": 1}


def _before(version: str, other: str) -> bool:
    try:
        return key(version) <= key(other)
    except ValueError:
        return False


def _order(version: str) -> tuple[bool, object]:
    try:
        return False, key(version)
    except ValueError:
        return True, version


def _severity(value: object) -> Severity:
    return Severity(value) if value in ("info", "low", "medium") else Severity.LOW


def _table(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise AdvisoryError(f"{what} of an advisory is not a table")
    return value


def _list(value: object, what: str, most: int) -> Sequence[object]:
    if not isinstance(value, list) or len(value) > most:
        raise AdvisoryError(f"{what} of an advisory is not a list of at most {most}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST_SUMMARY:
        raise AdvisoryError(f"{what} of an advisory is not a short text")
    return _shown(value)


def _texts(value: object, what: str) -> tuple[str, ...]:
    return tuple(_text(item, what) for item in _list(value, what, MAX_ENTRIES))


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
