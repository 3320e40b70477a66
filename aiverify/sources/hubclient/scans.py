"""What the Hub's own scanners say of its files: information for a person, never a part of a verdict.

The Hub gives it in the tree of a commit, under ``securityFileStatus``: a ``status`` for the file, and one for each of
its scanners. Which scanners there are may change; whatever has a status is taken. A file without a word on it has not
been scanned, or not yet: that never means that it is safe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiverify.sources.hubclient.listing import json_answer, malformed, require_path

Scans = Mapping[str, Mapping[str, str]]

MAX_SCANNERS = 32
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


def parse_scans(body: bytes, repo: str) -> dict[str, dict[str, str]]:
    """For the files on one page of an expanded tree, the status by scanner; ``status`` is that of the whole file.

    Files that the answer says nothing of are not there. Raises SourceError for an answer that is no listing.
    """
    entries = json_answer(body, repo)
    if not isinstance(entries, list):
        raise malformed(repo, "the file listing is no list")
    found = {}
    for entry in entries:
        told = entry.get("securityFileStatus") if isinstance(entry, dict) else None
        if isinstance(told, dict) and entry.get("type") == "file":
            words = _words(told)
            if words:
                found[require_path(entry.get("path"), repo)] = words
    return found


def _words(told: Mapping[str, object]) -> dict[str, str]:
    words = {}
    for name, value in sorted(told.items())[:MAX_SCANNERS]:
        status = value.get("status") if isinstance(value, dict) else value if name == "status" else None
        if isinstance(status, str) and _WORD.fullmatch(status) and _WORD.fullmatch(name):
            words[name] = status
    return words
