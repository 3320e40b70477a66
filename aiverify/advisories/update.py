"""Newer advisories, from OSV's interface: one query for each library that loads models.

Rules it keeps:

1. Every answer has a limit and must be of the form before anything is written; the file is replaced as a whole.
2. What fails leaves the file as it was, and is an error.

Source: https://google.github.io/osv.dev/post-v1-query/. The data of GitHub and PyPI are under CC-BY-4.0.
"""

from __future__ import annotations

import datetime
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from aiverify.advisories.loaders import loaders
from aiverify.advisories.osv import MAX_ENTRIES, AdvisoryError
from aiverify.advisories.snapshot import cache_path, written
from aiverify.files import write_whole

OSV = "https://api.osv.dev"
MAX_ANSWER = 32 << 20
_MAX_PAGES = 50
_SECONDS = 30.0
_KEPT = ("id", "aliases", "modified", "withdrawn", "summary", "affected")


def update(url: str = OSV, cache: Path | None = None) -> int:
    """Fetch the advisories of every loader from ``url`` and keep them; how many there are. Raises AdvisoryError."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("https", "http"):
        raise AdvisoryError(f"{url}: not an address of the web")
    entries: dict[str, object] = {}
    for package in loaders():
        for entry in _of(package, url):
            if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                entries[entry["id"]] = _shortened(entry, package)
        if len(entries) > MAX_ENTRIES:
            raise AdvisoryError(f"{url}: more than {MAX_ENTRIES} advisories")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    content = written(list(entries.values()), today)
    path = cache or cache_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AdvisoryError(f"{path.parent}: cannot be made: {error.strerror or error}") from error
    write_whole(path, content)
    return len(entries)


def _shortened(entry: dict[str, object], package: str) -> dict[str, object]:
    """What is used of an entry: the facts, without the texts and links."""
    kept = {key: entry[key] for key in _KEPT if key in entry}
    affected = entry.get("affected")
    mine = []
    for item in affected if isinstance(affected, list) else []:
        if isinstance(item, dict):
            name = item.get("package")
            if isinstance(name, dict) and str(name.get("name")).lower() == package:
                mine.append({key: item[key] for key in ("package", "ranges", "versions") if key in item})
    kept["affected"] = mine
    kept["summary"] = str(entry.get("summary") or "")[:300]
    return kept


def _of(package: str, url: str) -> list[object]:
    """Every entry about one package, page after page."""
    found: list[object] = []
    token: object = None
    for _ in range(_MAX_PAGES):
        question: dict[str, object] = {"package": {"ecosystem": "PyPI", "name": package}}
        if token:
            question["page_token"] = token
        answer = _asked(f"{url.rstrip('/')}/v1/query", question)
        page = answer.get("vulns", [])
        if not isinstance(page, list):
            raise AdvisoryError(f"{url}: an answer without a list of advisories")
        found += page
        token = answer.get("next_page_token")
        if not token:
            return found
    raise AdvisoryError(f"{url}: more than {_MAX_PAGES} pages about {package}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Nobody is followed elsewhere: a redirect of a POST is an error of the server, or of somebody between."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""
        return


def _asked(url: str, question: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, data=json.dumps(question).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_SECONDS) as response:
            raw = response.read(MAX_ANSWER + 1)
        answer = json.loads(raw) if len(raw) <= MAX_ANSWER else None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise AdvisoryError(f"{url}: no advisories: {reason}", hint="What is known already stays in use.") from error
    if not isinstance(answer, dict):
        raise AdvisoryError(f"{url}: an answer that is no table, or longer than {MAX_ANSWER} bytes")
    return answer
