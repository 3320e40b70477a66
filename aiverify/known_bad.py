"""Models that somebody found to be harmful, from feeds that an organisation keeps: repositories, commits, contents.

A feed is a file in the form of OSV: one entry, a list of them, or a table with ``vulns``. An entry is about models if
its package has the ecosystem ``huggingface``, with the repository as its name and commits as its versions (none: all of
them; a commit that is named as ``fixed`` is not meant), and about contents if it lists SHA-256 digests under ``sha256``
in ``ecosystem_specific`` or ``database_specific``.

Entries about other ecosystems are passed over. What is about models and cannot be read is an error, never passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiverify.artifact import ArtifactFile
from aiverify.errors import AiverifyError
from aiverify.files import read_at_most
from aiverify.finding import Finding
from aiverify.rules import finding

MAX_FEED = 32 << 20
_MAX_ENTRIES = 100_000
_LONGEST = 500
_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{7,40}")
_REPOSITORY = re.compile(r"\w[\w.-]{0,95}(?:/\w[\w.-]{0,95})?")


class FeedError(AiverifyError):
    """A feed of known-bad models cannot be read, or says something that cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadModel:
    """One entry about one repository, about contents, or both.

    Without ``commits`` the entry is about every commit of ``repository`` but those in ``mended``.
    """

    id: str
    summary: str = ""
    repository: str | None = None
    commits: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()

    def speaks_of(self, repository: str | None, revision: str | None) -> bool:
        """Whether a repository at a commit is meant. A commit that is not known may be any."""
        if self.repository is None or repository is None or self.repository.lower() != repository.lower():
            return False
        if revision is None:
            return True
        if self.commits:
            return any(revision.startswith(commit) for commit in self.commits)
        return not any(revision.startswith(commit) for commit in self.mended)


def listed(
    feeds: Sequence[BadModel], repository: str | None, revision: str | None, files: Sequence[ArtifactFile]
) -> Iterator[Finding]:
    """AIV620 for each entry that is about this repository, or about the content of a file."""
    if not feeds:
        return
    contents = {file.sha256: file.path for file in files if file.sha256 is not None}
    for entry in feeds:
        text = f"known to be bad ({entry.id}){': ' if entry.summary else ''}{entry.summary}"
        evidence = {"id": entry.id}
        if entry.speaks_of(repository, revision):
            yield finding("AIV620", f"{repository} is {text}", evidence=evidence)
        for digest in entry.sha256:
            if digest in contents:
                yield finding("AIV620", f"its content is {text}", file=contents[digest], evidence=evidence)


def read_feed(path: Path) -> tuple[BadModel, ...]:
    """The entries of the feed in ``path``. Raises FeedError."""
    try:
        raw = read_at_most(path, MAX_FEED)
        content = json.loads(raw) if len(raw) <= MAX_FEED else None
    except OSError as error:
        raise FeedError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FeedError(f"{path}: not valid JSON: {error}") from error
    entries = content.get("vulns", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
        raise FeedError(f"{path}: not a feed of at most {_MAX_ENTRIES} entries in the form of OSV")
    try:
        return tuple(model for entry in entries for model in _models(entry))
    except (ValueError, TypeError) as error:
        raise FeedError(f"{path}: {error}") from None


def _models(entry: object) -> Iterator[BadModel]:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise ValueError("an entry is not a table with an id")
    if entry.get("withdrawn"):
        return
    name, summary = _shown(entry["id"])[:100], _shown(str(entry.get("summary") or ""))
    everywhere = _digests(entry.get("database_specific"), name)
    if everywhere:
        yield BadModel(id=name, summary=summary, sha256=everywhere)
    affected = entry.get("affected", [])
    if not isinstance(affected, list):
        raise ValueError(f"{name}: affected is not a list")
    for item in affected:
        package = item.get("package") if isinstance(item, dict) else None
        if not isinstance(package, dict):
            raise ValueError(f"{name}: affected without a package")
        if str(package.get("ecosystem")).lower().replace(" ", "") != "huggingface":
            continue
        repository = package.get("name")
        if not isinstance(repository, str) or not _REPOSITORY.fullmatch(repository):
            raise ValueError(f"{name}: {_shown(str(repository))} is not a repository")
        yield BadModel(
            id=name,
            summary=summary,
            repository=repository,
            commits=_commits(item.get("versions", []), name),
            mended=_commits(_fixed(item.get("ranges", []), name), name),
            sha256=_digests(item.get("ecosystem_specific"), name) + _digests(item.get("database_specific"), name),
        )


def _digests(holder: object, name: str) -> tuple[str, ...]:
    value = holder.get("sha256", []) if isinstance(holder, dict) else []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) and _SHA256.fullmatch(item) for item in values):
        raise ValueError(f"{name}: sha256 is not a list of digests of 64 lower-case hex digits")
    return tuple(values)


def _commits(values: object, name: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(item, str) and _COMMIT.fullmatch(item) for item in values):
        raise ValueError(f"{name}: a version is not a commit of 7 to 40 lower-case hex digits")
    return tuple(values)


def _fixed(ranges: object, name: str) -> list[object]:
    fixed: list[object] = []
    for item in ranges if isinstance(ranges, list) else []:
        events = item.get("events") if isinstance(item, dict) else None
        if not isinstance(events, list):
            raise ValueError(f"{name}: a range without events")
        fixed += [event["fixed"] for event in events if isinstance(event, dict) and "fixed" in event]
    return fixed


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST])
