"""The advisories at hand: the snapshot that is shipped, and what ``aiverify advisories update`` brought.

The shipped snapshot is the floor: an update adds to it, and takes nothing away. A cache that cannot be read is an
error, so that nobody takes old knowledge for new.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from aiverify.advisories.osv import MAX_ENTRIES, Advisory, AdvisoryError, read_osv
from aiverify.files import cache_folder

MAX_FILE = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Advisories, and the day (YYYY-MM-DD) on which they were right."""

    date: str
    advisories: tuple[Advisory, ...]


def cache_path() -> Path:
    """Where an update is kept: ``$XDG_CACHE_HOME/aiverify/advisories.json``, else below ``~/.cache``."""
    return cache_folder() / "advisories.json"


def shipped() -> Snapshot:
    """The snapshot that is part of this version of aiverify."""
    return read_snapshot(Path(__file__).parent / "data" / "snapshot.json")


def known(cache: Path | None = None) -> Snapshot:
    """All that is known: the shipped snapshot, and beside it what was fetched. Raises AdvisoryError."""
    floor = shipped()
    path = cache or cache_path()
    if not path.is_file():
        return floor
    fetched = read_snapshot(path)
    ours = {name for item in floor.advisories for name in (item.id, *item.aliases)}
    added = tuple(item for item in fetched.advisories if ours.isdisjoint((item.id, *item.aliases)))
    return Snapshot(date=max(floor.date, fetched.date), advisories=(*floor.advisories, *added))


def fetched() -> str:
    """The SHA-256 of what an update brought; nothing if there was none. Raises AdvisoryError."""
    try:
        return hashlib.sha256(cache_path().read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise AdvisoryError(f"{cache_path()}: cannot be read: {error}", hint=_HINT) from error


def read_snapshot(path: Path) -> Snapshot:
    """Read a file that ``written`` made. Raises AdvisoryError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        content = json.loads(raw) if len(raw) <= MAX_FILE else None
    except (OSError, ValueError, RecursionError) as error:
        raise AdvisoryError(f"{path}: cannot be read: {error}", hint=_HINT) from error
    if not isinstance(content, dict) or not isinstance(content.get("vulns"), list):
        raise AdvisoryError(f"{path}: not advisories", hint=_HINT)
    if len(content["vulns"]) > MAX_ENTRIES:
        raise AdvisoryError(f"{path}: more than {MAX_ENTRIES} advisories", hint=_HINT)
    try:
        advisories = tuple(advisory for entry in content["vulns"] for advisory in read_osv(entry))
    except AdvisoryError as error:
        raise AdvisoryError(f"{path}: {error}", hint=_HINT) from error
    return Snapshot(date=str(content.get("date"))[:10], advisories=advisories)


def written(entries: list[object], date: str) -> bytes:
    """The file for ``entries``, in the form of OSV, as of ``date``. Raises AdvisoryError if one is not of that form."""
    for entry in entries:
        read_osv(entry)
    return json.dumps({"date": date, "vulns": entries}, indent=1).encode() + b"\n"


_HINT = "Remove the file, or fetch it again with `aiverify advisories update`."
