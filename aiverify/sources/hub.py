"""Artifacts from a Hub repository, pinned to a commit and brought to disk by the Hub's own client.

The rules:

- A revision becomes a commit id first, and everything after speaks of that commit.
- What the Hub states about the files is checked before the client may act on it; see ``hubclient``.
- The artifact is what the Hub states. A stated file that is not on disk is an error. A file in the download folder that
  the Hub does not state is a finding, whatever was selected: a loader would read it.
- Offline means that nothing is sent, not even a question about a token. Then the listing that the client kept from the
  last download states the digests; without one, none are stated.
- When the Hub cannot be reached, nothing falls back to the cache by itself: old bytes are used on request only.
- The bytes themselves are not read here.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import Fetched, FetchedFile, SourceKind
from aiverify.errors import UsageError
from aiverify.finding import Finding, Severity
from aiverify.progress import Progress
from aiverify.rules import finding
from aiverify.sources.hubclient.cache import RepoCache, is_revision
from aiverify.sources.hubclient.listing import COMMIT, Listing, StatedFile
from aiverify.sources.interface import HubOptions, Preview, Selection, Source, SourceError
from aiverify.sources.local import HOUSEKEEPING, FolderSource, strangers

if TYPE_CHECKING:
    from aiverify.sources.hubclient.client import HubClient

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")


class HubSource(Source):
    """The repository ``repo`` on a Hub, at ``revision``. ``timeout`` bounds each wait for the server, in seconds.

    Raises SourceError for a name that no repository can have, UsageError for such a revision.
    """

    def __init__(self, repo: str, options: HubOptions, target: str | None = None, *, timeout: float | None = None):
        if not is_repo(repo):
            raise SourceError(f"{repo!r} is no repository name", hint="A name looks like org/name.")
        self.repo = repo
        self.revision = options.revision or "main"
        if not is_revision(self.revision):
            raise UsageError(f"{self.revision!r} is no revision", hint="A revision is a branch, a tag or a commit id.")
        self._options = options
        self._target = target if target is not None else repo
        self._timeout = timeout

    def fetch(self, selection: Selection, progress: Progress) -> Fetched:
        """Download the selected files, or find them in the cache.

        Raises SourceError, and HostileSourceError when the Hub gives answers that would steer the client.
        """
        return self._fetched_from_hub(selection, progress, None)

    def fetch_previewed(self, selection: Selection, progress: Progress, preview: Preview) -> Fetched:
        """As ``fetch``; the preview takes place if there is anything left to download after it."""
        return self._fetched_from_hub(selection, progress, preview)

    def _fetched_from_hub(self, selection: Selection, progress: Progress, preview: Preview | None) -> Fetched:
        progress.stage("fetch")
        progress.detail(self.repo)
        try:
            return self._fetch(selection, progress, preview)
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = f"{self.repo}@{self.revision}: the Hub cache cannot be read: {reason}"
            raise SourceError(message, hint="Check its permissions, or name another --cache-dir.") from error

    def _fetch(self, selection: Selection, progress: Progress, preview: Preview | None) -> Fetched:
        from huggingface_hub import constants

        cache = RepoCache(
            _absolute(self._options.cache_dir or Path(constants.HF_HUB_CACHE)),
            self.repo,
            None if self._options.local_dir is None else _absolute(self._options.local_dir),
        )
        if self._options.offline or constants.is_offline_mode():
            return self._cached(cache, selection, progress)
        return self._downloaded(cache, selection, progress, preview)

    def _downloaded(
        self, cache: RepoCache, selection: Selection, progress: Progress, preview: Preview | None
    ) -> Fetched:
        try:
            from aiverify.sources.hubclient.client import HubClient
            from aiverify.sources.hubclient.failures import redacted
            from aiverify.sources.hubclient.session import attached
        except ImportError as error:
            # Some of the client's inner parts are used to hold it; without them nothing is downloaded.
            raise SourceError(
                f"the installed huggingface_hub cannot be used: {error.name} has changed",
                hint="Install a version that aiverify names in its requirements.",
            ) from error

        client = HubClient(self.repo, self._options, cache, self._timeout)
        try:
            with attached():
                return self._at_commit(client, cache, selection, progress, preview)
        except SourceError as error:
            raise redacted(error, client.secret) from None

    def _at_commit(
        self, client: HubClient, cache: RepoCache, selection: Selection, progress: Progress, preview: Preview | None
    ) -> Fetched:
        commit = self.revision if COMMIT.fullmatch(self.revision) else client.standing(self.revision).commit
        listing = client.listing(commit)
        self._require_files(listing, selection, cache)
        if preview is not None:
            self._preview(client, cache, commit, listing, selection, progress, preview)
        client.download(commit, listing, selection, progress)
        cache.remember(self.revision, commit)
        return self._fetched(cache, commit, listing, selection)

    def _preview(
        self,
        client: HubClient,
        cache: RepoCache,
        commit: str,
        listing: Listing,
        selection: Selection,
        progress: Progress,
        preview: Preview,
    ) -> None:
        """Fetch the files that the preview asks for, and let it look at the listing, unless all files are here."""
        wanted = [path for path in listing if selection.wants(path)]
        if all(cache.has(commit, path) for path in wanted):
            return
        first = [path for path in wanted if preview.wants(path)]
        if first:
            client.download(commit, listing, Selection(include=[glob.escape(path) for path in first]), progress)
        root = cache.root(commit)
        preview.look(
            Fetched(
                target=self._target,
                kind=SourceKind.HUB,
                root=root,
                repo=self.repo,
                revision=commit,
                files=tuple(_fetched_file(root, listing[path]) for path in wanted),
                left_out=tuple(path for path in listing if not selection.wants(path)),
            )
        )

    def _cached(self, cache: RepoCache, selection: Selection, progress: Progress) -> Fetched:
        commit = cache.commit(self.revision)
        if commit is None or not cache.root(commit).is_dir():
            raise SourceError(
                f"{self.repo}@{self.revision} is not in the Hub cache, and the network is off limits",
                hint="Download it once without --offline and HF_HUB_OFFLINE, or name another --cache-dir.",
            )
        listing = cache.listing(commit)
        if listing is not None:
            self._require_files(listing, selection, cache)
            return self._fetched(cache, commit, listing, selection)
        folder = FolderSource(cache.root(commit), self._target).fetch(selection, progress)
        return dataclasses.replace(folder, kind=SourceKind.HUB, repo=self.repo, revision=commit)

    def _require_files(self, listing: Listing, selection: Selection, cache: RepoCache) -> None:
        if not listing:
            raise SourceError(f"{self.repo}@{self.revision} has no files")
        if not any(selection.wants(path) for path in listing):
            raise SourceError(
                f"no files are left of {self.repo}@{self.revision}: everything was left out",
                hint="Change --include and --exclude.",
            )
        kept = tuple(f"{folder}/" for folder in HOUSEKEEPING)
        if cache.local_dir is not None and any(path.startswith(kept) for path in listing):
            raise SourceError(
                f"{self.repo} has files where the Hub client keeps its own in a --local-dir",
                hint="Download to the Hub cache instead, without --local-dir.",
            )

    def _fetched(self, cache: RepoCache, commit: str, listing: Listing, selection: Selection) -> Fetched:
        root = cache.root(commit)
        wanted = [file for file in listing.values() if selection.wants(file.path)]
        missing = [file.path for file in wanted if not cache.has(commit, file.path)]
        if missing:
            raise SourceError(
                f"{self.repo}@{commit}: {len(missing)} files are not on disk, {missing[0]} for one",
                hint="Download them again, without --offline and HF_HUB_OFFLINE.",
            )
        return Fetched(
            target=self._target,
            kind=SourceKind.HUB,
            root=root,
            repo=self.repo,
            revision=commit,
            files=tuple(_fetched_file(root, file) for file in wanted),
            left_out=tuple(path for path in listing if not selection.wants(path)),
            findings=(*_unstated(cache, root, listing), *_astray(cache, root, wanted)),
        )


def is_repo(name: str) -> bool:
    """Whether ``name`` can be a repository's, with or without its organisation. The rules are the Hub client's."""
    parts = name.split("/")
    return (
        len(parts) <= 2
        and all(_NAME.fullmatch(part) for part in parts)
        and not ("--" in name or ".." in name or name.endswith(".git"))
    )


def _fetched_file(root: Path, file: StatedFile) -> FetchedFile:
    return FetchedFile(
        path=file.path,
        location=root / file.path,
        size=file.size,
        sha256=file.sha256,
        # The blob id of an LFS file is that of a pointer, which is not on disk.
        git_sha1=None if file.sha256 else file.blob_id,
    )


def _unstated(cache: RepoCache, root: Path, listing: Listing) -> list[Finding]:
    """What lies beside the stated files, where a loader would find it."""
    housekeeping = HOUSEKEEPING if cache.local_dir is not None else ()
    return [
        finding(
            "AIV101",
            f"{path} lies in the download folder, but the Hub does not state it",
            file=path,
            severity=Severity.HIGH,
        )
        for path in strangers(root, listing, housekeeping)
    ]


def _astray(cache: RepoCache, root: Path, files: Sequence[StatedFile]) -> list[Finding]:
    """Stated files that are links to somewhere else than the client's store."""
    homes = (Path(os.path.realpath(root)), *(Path(os.path.realpath(blobs)) for blobs in cache.blobs))
    found = []
    for file in files:
        end = Path(os.path.realpath(root / file.path))
        if not any(end.is_relative_to(home) for home in homes):
            message = f"the link {file.path} leads out of the Hub cache, to {str(end)!a}"
            found.append(finding("AIV409", message, file=file.path, evidence={"leads_to": f"{str(end)!a}"}))
    return found


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()
