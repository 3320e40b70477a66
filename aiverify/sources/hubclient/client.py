"""The two questions that are put to a Hub, and the download by the Hub's own client.

The rules:

- Questions go over the client's session (its proxy, its certificates), wait at most ``timeout`` seconds for a sign of
  the server, and read at most ``MAX_ANSWER`` bytes per answer and ``MAX_PAGES`` pages. The next page is asked for at
  the same address: of a Link header only the parameters are used.
- The download is ``huggingface_hub.snapshot_download`` at a commit id, under a ``Watch``. Before it starts, the client
  is given the listing that was checked here, so that it works from no other: not from one that the server sends it
  later, nor from one that lies in its cache.
- Everything that the client raises leaves as SourceError, and the server's words do not leave at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
from huggingface_hub import _tree_cache, constants, get_session, hf_hub_url, snapshot_download
from huggingface_hub._tree_cache import TreeCacheEntry
from huggingface_hub.errors import OIDCError
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._runtime import is_xet_available

from aiverify import __version__
from aiverify.progress import Progress
from aiverify.sources.hubclient.bars import Bytes, bar_class
from aiverify.sources.hubclient.cache import RepoCache
from aiverify.sources.hubclient.failures import Place, explained, refused
from aiverify.sources.hubclient.listing import (
    MAX_ANSWER,
    MAX_FILES,
    Listing,
    Standing,
    StatedFile,
    listing,
    parse_page,
    parse_standing,
)
from aiverify.sources.hubclient.patience import patiently
from aiverify.sources.hubclient.scans import Scans, parse_scans
from aiverify.sources.hubclient.session import attached, watching
from aiverify.sources.hubclient.watch import Watch
from aiverify.sources.interface import HubOptions, Selection, SourceError

MAX_PAGES = 2000

_LAST_WAIT = 2.0  # seconds for transfers to end after an interrupt

_TOKEN = re.compile(r"[\x21-\x7e]+")


class HubClient:
    """Speaks to one Hub about one repository. ``cache`` says where its files go; ``timeout`` is in seconds."""

    def __init__(self, repo: str, options: HubOptions, cache: RepoCache, timeout: float | None = None) -> None:
        self._repo = repo
        self._options = options
        self._cache = cache
        self._endpoint = _endpoint(options.endpoint or constants.ENDPOINT)
        self._api = f"{self._endpoint}/api/models/{repo}"
        self._timeout = timeout or max(10, constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT)
        revision, shown = options.revision or "main", _without_login(self._endpoint)
        with explained(Place(repo, revision, shown, has_token=False)), attached():
            self._headers = _headers(options.token)
        self._place = Place(repo, revision, shown, has_token="authorization" in self._headers)

    @property
    def secret(self) -> str | None:
        """The token that requests carry."""
        return self._headers.get("authorization", "").removeprefix("Bearer ") or None

    def standing(self, revision: str) -> Standing:
        """Where ``revision`` leads now, and what the Hub says about the repository. Raises SourceError."""
        body, _ = self._ask(f"{self._api}/revision/{quote(revision, safe='')}")
        return parse_standing(body, self._repo)

    def listing(self, commit: str) -> Listing:
        """What the Hub states about the files of ``commit``. Raises SourceError."""
        files = listing(self._files(commit), self._repo)
        if self.secret is not None and any(self.secret in path for path in files):
            raise self._place.error("the endpoint uses the token as a file name", "Withdraw the token.")
        return files

    def download(self, commit: str, files: Listing, selection: Selection, progress: Progress) -> None:
        """Bring the selected ``files`` of ``commit`` to the cache. Raises SourceError.

        An interrupt ends the running transfers and passes on. What still waits for the head of an answer does so under
        the watch, which lets nothing more out.
        """
        absent = [
            file for file in files.values() if selection.wants(file.path) and not self._cache.has(commit, file.path)
        ]
        total = sum(file.size for file in absent)
        progress.stage("fetch", total)
        done = Bytes(progress, total)
        checked: set[str] = set()

        def attempt() -> None:
            with explained(self._place):
                watch = self._watch(commit, files, progress)
                self._hand_over(commit, files)
            try:
                self._call(lambda: self._snapshot(commit, selection, bar_class(done, watch.require_running)), watch)
            finally:
                checked.update(watch.checked)

        patiently(attempt)
        for file in absent:
            if file.path not in checked and not (file.xet_hash and is_xet_available()):
                raise self._place.error(f"{file.path} was downloaded without having been watched")
        done.complete()

    def _snapshot(self, commit: str, selection: Selection, bars: type) -> None:
        snapshot_download(
            self._repo,
            revision=commit,
            cache_dir=self._cache.cache_dir,
            local_dir=self._cache.local_dir,
            library_name="aiverify",
            library_version=__version__,
            etag_timeout=self._timeout,
            token=self._options.token or None,
            allow_patterns=list(selection.include) or None,
            ignore_patterns=list(selection.exclude) or None,
            tqdm_class=bars,
            endpoint=self._endpoint,
        )

    def _call(self, download: Callable[[], None], watch: Watch) -> None:
        # On its own thread, because the client waits for its workers before it lets an interrupt through. That thread
        # holds the watch to its own end.
        def watched() -> None:
            with attached(), watching(watch):
                download()

        runner = ThreadPoolExecutor(1, thread_name_prefix="aiverify-fetch")
        job = runner.submit(watched)
        runner.shutdown(wait=False)
        try:
            with explained(self._place):
                job.result()
        except SourceError as error:
            raise watch.stop(error) from None
        except BaseException:
            watch.stop()
            wait([job], _LAST_WAIT)
            raise

    def _watch(self, commit: str, files: Listing, progress: Progress) -> Watch:
        def url(path: str) -> str:
            return str(httpx2.URL(hf_hub_url(self._repo, path, revision=commit, endpoint=self._endpoint)))

        return Watch(
            self._repo,
            commit,
            {url(path): file for path, file in files.items()},
            base=url(""),
            api=f"{self._api}/",
            timeout=self._timeout,
            progress=progress,
        )

    def _hand_over(self, commit: str, files: Listing) -> None:
        """Make ``files`` the listing that the client works from.

        The client looks for a listing in its memory, then on disk, and asks the server only without one. Where the
        cache cannot be written to, the watch still stands between the server and the client.
        """
        folder = str(self._cache.trees)
        entries = {path: _entry(file) for path, file in files.items()}
        if _tree_cache.read_tree_cache(folder, commit) != entries or not self._on_disk(commit, files):
            _tree_cache.write_tree_cache(folder, commit, entries)
        known = _tree_cache.read_tree_cache(folder, commit)
        if known is not None and known != entries:
            raise self._place.error(
                "the cached file listing differs from the Hub's and cannot be replaced",
                "Remove its trees folder from the Hub cache, or choose another cache with --cache-dir.",
            )

    def _on_disk(self, commit: str, files: Listing) -> bool:
        try:
            return self._cache.listing(commit) == files
        except SourceError:
            return False

    def scans(self, commit: str) -> Scans:
        """What the Hub's own scanners say of the files of ``commit``, if anything. Raises SourceError."""
        found: dict[str, dict[str, str]] = {}
        for body in self._pages(commit, expand=True):
            found |= parse_scans(body, self._repo)
            if len(found) > MAX_FILES:
                raise self._place.error(f"the Hub speaks of scans of more than {MAX_FILES} files")
        return found

    def _files(self, commit: str) -> Iterator[StatedFile]:
        for body in self._pages(commit, expand=False):
            yield from parse_page(body, self._repo)

    def _pages(self, commit: str, *, expand: bool) -> Iterator[bytes]:
        tree = f"{self._api}/tree/{commit}"
        parameters: dict[str, list[str]] = {"recursive": ["True"], "expand": [str(expand)]}
        for _ in range(MAX_PAGES):
            body, following = self._ask(tree, parameters)
            yield body
            if following is None:
                return
            with explained(self._place):
                parameters = parse_qs(urlsplit(following).query)
        raise self._place.error(f"the file listing has more than {MAX_PAGES} pages")

    def _ask(self, url: str, parameters: dict[str, list[str]] | None = None) -> tuple[bytes, str | None]:
        """The body of an answer, and the address of the next page."""
        return patiently(lambda: self._ask_once(url, parameters))

    def _ask_once(self, url: str, parameters: dict[str, list[str]] | None) -> tuple[bytes, str | None]:
        with (
            explained(self._place),
            get_session().stream(
                "GET", url, params=parameters, headers=self._headers, timeout=self._timeout, follow_redirects=True
            ) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                raise refused(response.status_code, response.headers, self._place)
            return self._body(response), response.links.get("next", {}).get("url")

    def _body(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes(1 << 16):
            body += piece
            if len(body) > MAX_ANSWER:
                raise self._place.error(f"the endpoint's answer is longer than {MAX_ANSWER} bytes")
        return bytes(body)


def _headers(token: str | None) -> dict[str, str]:
    """The headers of a request, with the token that was given or, without one, that the client finds."""
    try:
        headers = build_hf_headers(token=token or None, library_name="aiverify", library_version=__version__)
    except (OSError, ValueError, OIDCError):
        raise SourceError(
            "the stored Hub token cannot be read", hint="Log in again with `hf auth login`, or give --token."
        ) from None
    if not _TOKEN.fullmatch(headers.get("authorization", "Bearer none").removeprefix("Bearer ")):
        raise SourceError(
            "the Hub token holds characters that no token has", hint="Give it again: --token or `hf auth login`."
        )
    return headers


def _entry(file: StatedFile) -> TreeCacheEntry:
    return TreeCacheEntry(
        size=file.size,
        blob_id=file.blob_id,
        lfs_sha256=file.sha256,
        lfs_size=None if file.sha256 is None else file.size,
        xet_hash=file.xet_hash,
    )


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname:
            return text.rstrip("/")
    except ValueError:  # a bracket that is not closed
        pass
    raise SourceError("the endpoint is not a web address", hint="--endpoint and HF_ENDPOINT must start with https://.")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
