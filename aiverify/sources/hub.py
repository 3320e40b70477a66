"""Artifacts from a Hub repository, pinned to a commit and brought to disk by the Hub's own client.

The rules:

- A revision becomes a commit id first, and everything after speaks of that commit.
- What the Hub states about the files is checked before the client may act on it; see ``hubclient``.
- The artifact is what the Hub states. A stated file that is not on disk is an error. A file in the download folder that
  the Hub does not state is a finding, whatever was selected: a loader would read it.
- Offline means that nothing is sent, not even a question about a token. Then the listing that the client kept from the
  last download states the digests; without one, none are stated.
- When the Hub cannot be reached, nothing falls back to the cache by itself: old bytes are used on request only.
- The bytes themselves are not read here. Those that turned out not to be what the Hub states are removed from the cache
  and fetched again, if the caller asks for it; what lay in a folder of the user's before is never removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aiverify.artifact import Fetched, SourceKind
from aiverify.errors import UsageError
from aiverify.finding import Finding
from aiverify.progress import Progress
from aiverify.sources.hubclient.cache import RepoCache, is_repo, is_revision
from aiverify.sources.hubclient.listing import COMMIT, Listing, Standing, StatedFile
from aiverify.sources.interface import HubOptions, Preview, Selection, Source, SourceError, Stated
from aiverify.sources.local import HOUSEKEEPING, FolderSource
from aiverify.sources.statements import Pinned, astray, narrowed, told, unstated

if TYPE_CHECKING:
    from aiverify.sources.hubclient.client import HubClient
    from aiverify.sources.hubclient.scans import Scans

Answer = TypeVar("Answer")


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
        self._fresh: frozenset[str] = frozenset()

    def fetch(self, selection: Selection, progress: Progress) -> Fetched:
        """Download the selected files, or find them in the cache.

        Raises SourceError, and HostileSourceError when the Hub gives answers that would steer the client.
        """
        return self._begun(progress, lambda: self._fetch(selection, progress, None))

    def fetch_previewed(self, selection: Selection, progress: Progress, preview: Preview) -> Fetched:
        """As ``fetch``; the preview takes place if there is anything left to download after it."""
        return self._begun(progress, lambda: self._fetch(selection, progress, preview))

    def stated(self, selection: Selection, progress: Progress) -> Stated:
        """As ``fetch``, but only files whose SHA-256 the Hub does not state now are downloaded. Raises SourceError."""
        if self._offline():
            return super().stated(selection, progress)

        def ask(client: HubClient) -> Stated:
            cache = self._cache()
            pinned = self._pinned(client, cache, selection)
            here = [file for file in pinned.wanted() if file.sha256 is None]
            if here:
                only = _only([file.path for file in here])
                client.download(pinned.commit, pinned.listing, only, progress)
            fetched = self._fetched(cache, pinned, here)
            return Stated(fetched=fetched, here=tuple(file for file in fetched.files if file.sha256 is None))

        return self._begun(progress, lambda: self._asking(ask))

    def _begun(self, progress: Progress, work: Callable[[], Answer]) -> Answer:
        progress.stage("fetch")
        progress.detail(self.repo)
        with self._readable():
            return work()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Whatever goes wrong with the cache leaves the block as a SourceError."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # RuntimeError: the home of nobody, or a loop of links
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = f"{self.repo}@{self.revision}: the Hub cache cannot be read: {reason}"
            raise SourceError(message, hint="Check its permissions, or name another --cache-dir.") from error

    def fetch_again(self, fetched: Fetched, damaged: Collection[str], progress: Progress) -> bool:
        """Remove the files at ``damaged`` from the cache and download them again. Raises SourceError."""
        paths = [path for path in damaged if self._options.local_dir is None or path in self._fresh]
        commit, cache = fetched.revision, self._cache()
        if commit is None or not paths or self._offline():
            return False

        def again(client: HubClient) -> None:
            listing = client.listing(commit)
            for path in paths:
                cache.discard(commit, path)
            # Another file that was a link to the same blob is gone with it.
            absent = [file.path for file in fetched.files if not cache.has(commit, file.path)]
            if absent:
                client.download(commit, listing, _only(absent), progress)

        try:
            self._asking(again)
        except OSError as error:
            message = f"{self.repo}@{commit}: a damaged file cannot be removed from the cache: {error.strerror}"
            raise SourceError(message, hint="Check its permissions, or name another --cache-dir.") from error
        return True

    def standing(self, revision: str | None = None) -> Standing:
        """Where the revision leads now, and what the Hub says about the repository. Raises SourceError."""
        return self._asking(lambda client: client.standing(revision or self.revision))

    @property
    def offline(self) -> bool:
        """Whether no request may be sent."""
        return self._offline()

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit already."""
        return COMMIT.fullmatch(self.revision) is not None

    def commit(self) -> str | None:
        """The commit that the revision leads to now; without a network, that it led to when it was last asked for.

        Raises SourceError.
        """
        if self.is_pinned:
            return self.revision
        return self._cache().commit(self.revision) if self._offline() else self.standing().commit

    def listing(self, commit: str) -> Listing:
        """What the Hub states about the files of ``commit`` now. Raises SourceError."""
        return self._asking(lambda client: client.listing(commit))

    def scans(self, commit: str) -> Scans:
        """What the Hub's own scanners say of the files of ``commit``. Raises SourceError."""
        return self._asking(lambda client: client.scans(commit))

    def cached(self, commit: str, path: str) -> bool:
        """Whether a file lies at ``path`` of ``commit`` already."""
        return self._cache().has(commit, path)

    def _cache(self) -> RepoCache:
        from huggingface_hub import constants

        with self._readable():
            return RepoCache(
                _absolute(self._options.cache_dir or Path(constants.HF_HUB_CACHE)),
                self.repo,
                None if self._options.local_dir is None else _absolute(self._options.local_dir),
            )

    def _offline(self) -> bool:
        from huggingface_hub import constants

        return self._options.offline or constants.is_offline_mode()

    def _fetch(self, selection: Selection, progress: Progress, preview: Preview | None) -> Fetched:
        cache = self._cache()
        if self._offline():
            return self._cached(cache, selection, progress)

        def fetch(client: HubClient) -> Fetched:
            pinned = self._pinned(client, cache, selection)
            self._fresh = frozenset(path for path in pinned.listing if not cache.has(pinned.commit, path))
            if preview is not None:
                self._preview(client, cache, pinned, progress, preview)
            client.download(pinned.commit, pinned.listing, pinned.selection, progress)
            cache.remember(self.revision, pinned.commit)
            return self._fetched(cache, pinned, pinned.wanted())

        return self._asking(fetch)

    def _asking(self, question: Callable[[HubClient], Answer]) -> Answer:
        """The answer to ``question``, which may use the client. Raises SourceError."""
        if self._offline():
            raise SourceError(
                f"{self.repo}: the Hub cannot be asked, because the network is off limits",
                hint="Leave out --offline, and unset HF_HUB_OFFLINE.",
            )
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

        client = HubClient(self.repo, self._options, self._cache(), self._timeout)
        try:
            with attached():
                return question(client)
        except SourceError as error:
            raise redacted(error, client.secret) from None

    def _pinned(self, client: HubClient, cache: RepoCache, selection: Selection) -> Pinned:
        standing = None if self.is_pinned else client.standing(self.revision)
        commit = self.revision if standing is None else standing.commit
        listing = client.listing(commit)
        return self._selected(cache, commit, listing, selection, told(self.repo, standing))

    def _selected(
        self, cache: RepoCache, commit: str, listing: Listing, selection: Selection, said: Sequence[Finding] = ()
    ) -> Pinned:
        selection, spared = narrowed(listing, selection)
        self._require_files(listing, selection, cache)
        return Pinned(
            target=self._target,
            repo=self.repo,
            commit=commit,
            listing=listing,
            selection=selection,
            said=(*spared, *said),
        )

    def _preview(
        self, client: HubClient, cache: RepoCache, pinned: Pinned, progress: Progress, preview: Preview
    ) -> None:
        """Fetch the files that the preview asks for, and let it look at the listing, unless all files are here."""
        wanted = [file.path for file in pinned.wanted()]
        if all(cache.has(pinned.commit, path) for path in wanted):
            return
        first = [path for path in wanted if preview.wants(path)]
        if first:
            client.download(pinned.commit, pinned.listing, _only(first), progress)
        preview.look(pinned.fetched(cache.root(pinned.commit)))

    def _cached(self, cache: RepoCache, selection: Selection, progress: Progress) -> Fetched:
        commit = cache.commit(self.revision)
        if commit is None or not cache.root(commit).is_dir():
            raise SourceError(
                f"{self.repo}@{self.revision} is not in the Hub cache, and the network is off limits",
                hint="Download it once without --offline and HF_HUB_OFFLINE, or name another --cache-dir.",
            )
        listing = cache.listing(commit)
        if listing is not None:
            pinned = self._selected(cache, commit, listing, selection)
            return self._fetched(cache, pinned, pinned.wanted())
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

    def _fetched(self, cache: RepoCache, pinned: Pinned, here: Sequence[StatedFile]) -> Fetched:
        """What was pinned. The files that are to be ``here`` are, or SourceError is raised."""
        root = cache.root(pinned.commit)
        missing = [file.path for file in here if not cache.has(pinned.commit, file.path)]
        if missing:
            raise SourceError(
                f"{self.repo}@{pinned.commit}: {len(missing)} files are not on disk, {missing[0]} for one",
                hint="Download them again, without --offline and HF_HUB_OFFLINE.",
            )
        beside = unstated(cache, root, pinned.listing) if root.is_dir() else []
        return pinned.fetched(root, [*beside, *astray(cache, root, pinned.wanted())])


def _only(paths: Iterable[str]) -> Selection:
    return Selection(include=[glob.escape(path) for path in paths])


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()
