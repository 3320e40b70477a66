"""One repository in the Hub client's cache on disk, read without the client.

The layout is the client's (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): below
``<cache>/models--<org>--<name>`` there are ``refs/<revision>`` (a commit id), ``trees/<commit>.json`` (what the Hub
stated) and ``snapshots/<commit>/``. A download into a folder of the user's keeps the listing in that folder, under
``.cache/huggingface``.

All of it is local and unauthenticated: it is parsed with the same distrust as an answer from the network.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from aiverify.sources.hubclient.listing import COMMIT, MAX_FILES, Listing, parse_cached
from aiverify.sources.interface import SourceError

MAX_REF = 100
MAX_TREE = MAX_FILES * 512
_MAX_LINKS = 4  # a snapshot's, a repository's and the shared store's, and one more

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
# What `git check-ref-format` allows, without a leading dash.
_REVISION = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\/@.-][^\x00-\x20\x7f~^:?*\[\\]*")


def is_repo(name: str) -> bool:
    """Whether ``name`` can be a repository's, with or without its organisation. The rules are the Hub client's."""
    parts = name.split("/")
    return (
        len(parts) <= 2
        and all(_NAME.fullmatch(part) for part in parts)
        and not ("--" in name or ".." in name or name.endswith(".git"))
    )


def is_revision(text: str) -> bool:
    """Whether ``text`` can be the name of a branch or tag, or a commit id; never a path that climbs out of a folder."""
    parts = text.split("/")
    return (
        len(text) <= 250
        and bool(_REVISION.fullmatch(text))
        and not any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
        and ".." not in text
        and "@{" not in text
    )


@dataclass(frozen=True, slots=True)
class RepoCache:
    """The part of the cache at ``cache_dir`` that belongs to ``repo``. Files go to ``local_dir`` if there is one."""

    cache_dir: Path
    repo: str
    local_dir: Path | None = None

    @property
    def folder(self) -> Path:
        """The repository's folder in the cache."""
        return self.cache_dir / f"models--{self.repo.replace('/', '--')}"

    @property
    def trees(self) -> Path:
        """The folder that holds the ``trees`` folder."""
        return self.folder if self.local_dir is None else self.local_dir / ".cache" / "huggingface"

    @property
    def blobs(self) -> tuple[Path, ...]:
        """Where the links of a snapshot may lead."""
        return () if self.local_dir is not None else (self.folder / "blobs", self.cache_dir / "blobs")

    def root(self, commit: str) -> Path:
        """The folder that the files of ``commit`` are downloaded to."""
        return self.folder / "snapshots" / commit if self.local_dir is None else self.local_dir

    def has(self, commit: str, path: str) -> bool:
        """Whether a file lies at ``path`` of ``commit``; one that cannot be looked at does not count."""
        try:
            return (self.root(commit) / path).is_file()
        except OSError:
            return False

    def discard(self, commit: str, path: str) -> None:
        """Remove the file at ``path`` of ``commit``, and the blobs that it is a link to. Raises OSError.

        A link that leads out of the client's store is removed, and what it leads to stays.
        """
        homes = [Path(os.path.realpath(home)) for home in (self.root(commit), *self.blobs)]
        place: Path | None = self.root(commit) / path
        for _ in range(_MAX_LINKS):
            if place is None or not any(Path(os.path.realpath(place.parent)).is_relative_to(home) for home in homes):
                return
            following = place.parent / place.readlink() if place.is_symlink() else None
            place.unlink(missing_ok=True)
            place = following

    def commit(self, revision: str) -> str | None:
        """The commit that ``revision`` led to when it was last asked for."""
        if COMMIT.fullmatch(revision):
            return revision
        text = _read(self.folder / "refs" / revision, MAX_REF)
        commit = "" if text is None else text.decode("ascii", "replace").strip()
        return commit if COMMIT.fullmatch(commit) else None

    def remember(self, revision: str, commit: str) -> None:
        """Note where ``revision`` leads, for use without a network. Does nothing if that cannot be written."""
        ref = self.folder / "refs" / revision
        with contextlib.suppress(OSError, SourceError):
            if self.commit(revision) == commit:
                return
            ref.parent.mkdir(parents=True, exist_ok=True)
            fresh = ref.with_name(f"{ref.name}.{secrets.token_hex(4)}.tmp")
            try:
                fresh.write_text(commit, "ascii")
                fresh.replace(ref)
            finally:
                fresh.unlink(missing_ok=True)

    def listing(self, commit: str) -> Listing | None:
        """What the Hub stated about ``commit`` when it was last asked; ``None`` if that was not kept.

        Raises SourceError for a listing that cannot be read or is none.
        """
        body = _read(self.trees / "trees" / f"{commit}.json", MAX_TREE)
        return None if body is None else parse_cached(body, self.repo)


def _read(path: Path, limit: int) -> bytes | None:
    """The content of a small file, ``None`` if there is no such file. Raises SourceError."""
    try:
        with path.open("rb") as stream:
            body = stream.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="Check the Hub cache.") from error
    if len(body) > limit:
        raise SourceError(f"{path} is longer than {limit} bytes", hint="Remove the file from the Hub cache.")
    return body
