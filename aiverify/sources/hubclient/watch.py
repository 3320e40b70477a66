"""A watch over one download: everything the Hub's client makes a path of is checked before the client sees it.

huggingface_hub names the files in its cache after headers of the server's answers and takes them as they come. So every
answer to a request for one of the expected files passes here first:

- X-Repo-Commit, where present, is the pinned commit.
- The etag that the client will use (X-Linked-Etag, else ETag, of the HEAD answer that it stops at) is a digest that
  the listing states for that file; so is X-Xet-Hash.
- A body is no longer than the listing states, give or take ``SLACK`` bytes for its transfer encoding; an error page is
  at most ``ERROR_PAGE`` bytes.
- A server that asks for patience of more than ``MAX_PATIENCE`` seconds, or that leaves ``MAX_UNANSWERED`` requests for
  one thing unanswered, is given up.

Requests are recognised by their URL; a redirect's target stands for the same file. For a file of the same commit that
is not expected, the form of the headers is checked. Other requests of the process pass untouched.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx2

from aiverify.progress import Progress
from aiverify.sources.hubclient.listing import COMMIT, SHA256, StatedFile, hostile
from aiverify.sources.interface import SourceError

SLACK = 1 << 16
ERROR_PAGE = 1 << 16
MAX_PATIENCE = 60
MAX_UNANSWERED = 3

_ETAG = re.compile(r'(?:W/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?')
_PATIENCE = re.compile(r"(?:^|;\s*t\s*=\s*)(\d+)")


def check_headers(repo: str, commit: str, path: str, headers: Mapping[str, str], file: StatedFile | None) -> None:
    """Check the headers of an answer that the client takes the identity of the file at ``path`` from.

    ``headers`` is looked up by lower-case names. Without a ``file``, nothing was stated about that path, and only the
    form is checked. Raises HostileSourceError.
    """
    check_commit(repo, commit, path, headers)
    etag = headers.get("x-linked-etag") or headers.get("etag")
    if etag is not None:
        form = _ETAG.fullmatch(etag)
        if form is None:
            raise hostile(repo, f"the endpoint gives an etag for {path} that is no digest", etag, file=path)
        if file is not None and form[1] not in file.etags:
            raise hostile(repo, f"the endpoint gives an etag for {path} that its listing denies", etag, file=path)
    xet_hash = headers.get("x-xet-hash")
    if xet_hash is not None:
        stated = None if file is None else file.xet_hash
        if not SHA256.fullmatch(xet_hash) or stated not in (None, xet_hash):
            what = f"the endpoint gives a xet hash for {path} that its listing denies"
            raise hostile(repo, what, xet_hash, file=path)


def check_commit(repo: str, commit: str, path: str, headers: Mapping[str, str]) -> None:
    """Check that an answer speaks of the pinned commit, if it names one. Raises HostileSourceError."""
    named = headers.get("x-repo-commit")
    if named is None or named == commit:
        return
    what = "another commit than the pinned one" if COMMIT.fullmatch(named) else "a commit id that is none"
    raise hostile(repo, f"the endpoint answers for {path} with {what}", named, file=path)


class Watch:
    """The watch over the download of ``files``, which maps the URL of each to what is stated about it.

    ``base`` is the URL below which all files of the commit lie, ``api`` the one below which the client asks about the
    repository. ``timeout`` is in seconds and bounds every wait for a sign of the server. ``checked`` are the paths
    whose identity was confirmed; ``reason`` is why the watch was stopped.
    """

    def __init__(
        self,
        repo: str,
        commit: str,
        files: Mapping[str, StatedFile],
        *,
        base: str,
        api: str,
        timeout: float,
        progress: Progress,
    ) -> None:
        self.checked: set[str] = set()
        self._repo = repo
        self._commit = commit
        self._files = dict(files)
        self._base = base
        self._api = api
        self._timeout = timeout
        self._progress = progress
        self.reason: SourceError | None = None
        self._unanswered: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._bodies: set[_Bounded] = set()

    def stop(self, reason: SourceError | None = None) -> SourceError:
        """Let no further request out, and end the running transfers at once: also those on which nothing arrives.

        Returns the first reason that was given, which is also what everything that is stopped then raises.
        """
        with self._lock:
            if self.reason is None:
                self.reason = reason or SourceError(f"the download of {self._repo} was interrupted")
            for body in self._bodies:
                body.cut()
            return self.reason

    def require_running(self) -> None:
        """Raise SourceError once the watch was stopped."""
        if self.reason is not None:
            raise self.reason

    def on_request(self, request: httpx2.Request) -> None:
        """See a request before it goes out. Raises SourceError when it must not."""
        url = str(request.url)
        if url not in self._files and not url.startswith(self._api):
            return
        self.require_running()
        self._unanswered[url] += 1
        if self._unanswered[url] > MAX_UNANSWERED:
            asked = self._files[url].path if url in self._files else "what it takes to download a file"
            raise self.stop(
                SourceError(
                    f"{self._repo}: the endpoint did not answer {MAX_UNANSWERED} requests for {asked}",
                    hint="Check the network and try again.",
                )
            )
        bounds = request.extensions.get("timeout") or dict.fromkeys(("connect", "read", "write", "pool"))
        request.extensions["timeout"] = {
            name: self._timeout if bound is None else min(bound, self._timeout) for name, bound in bounds.items()
        }

    def on_response(self, response: httpx2.Response) -> None:
        """See the head of an answer before the client does. Raises HostileSourceError or SourceError."""
        url = str(response.request.url)
        file = self._files.get(url)
        self._unanswered.pop(url, None)
        try:
            if file is not None:
                self._check(url, file, response)
            elif url.startswith(self._base):
                # Not one of the files of this download; but what the client would do with the headers is the same.
                check_headers(self._repo, self._commit, ascii(url[len(self._base) :]), response.headers, None)
        except SourceError as error:
            raise self.stop(error) from None

    def _check(self, url: str, file: StatedFile, response: httpx2.Response) -> None:
        check_commit(self._repo, self._commit, file.path, response.headers)
        if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            self._check_patience(response.headers)
        target = self._target(url, file, response.headers.get("location"))
        if response.request.method != "HEAD":
            self._bound(response, file)
            return
        # The client goes on to a target of the same origin without a look at the other headers.
        moved_on = response.has_redirect_location and _same_origin(url, target)
        if response.status_code < httpx2.codes.BAD_REQUEST and not moved_on:
            check_headers(self._repo, self._commit, file.path, response.headers, file)
            self.checked.add(file.path)
            self._progress.detail(file.path)

    def _target(self, url: str, file: StatedFile, location: str | None) -> str:
        """Where the answer sends the client for ``file``, from now on one of the expected URLs."""
        if location is None:
            return url
        try:
            target = urljoin(url, location)
            self._files[str(httpx2.URL(target))] = file
        except (httpx2.InvalidURL, ValueError):
            what = f"the endpoint redirects {file.path} to no place"
            raise hostile(self._repo, what, location, file=file.path) from None
        return target

    def _check_patience(self, headers: Mapping[str, str]) -> None:
        asked = f"{headers.get('retry-after', '')}", f"{headers.get('ratelimit', '')}"
        longest = max((int(seconds) for text in asked for seconds in _PATIENCE.findall(text[:100])), default=0)
        if longest > MAX_PATIENCE:
            raise SourceError(
                f"{self._repo}: the Hub allows no more requests for {longest} seconds",
                hint="Try again later, or pass a token with --token: the limits are higher with one.",
            )

    def _bound(self, response: httpx2.Response, file: StatedFile) -> None:
        body = response.stream
        if isinstance(body, httpx2.SyncByteStream):
            limit = file.size + SLACK if response.is_success else ERROR_PAGE
            message = f"{self._repo}: the endpoint sends too much for {file.path}"
            bounded = _Bounded(body, limit, message, response.extensions.get("network_stream"), self._forget)
            with self._lock:
                self._bodies.add(bounded)
            response.stream = bounded

    def _forget(self, body: _Bounded) -> None:
        with self._lock:
            self._bodies.discard(body)


class _Bounded(httpx2.SyncByteStream):
    """A body that is given up when it becomes longer than ``limit`` bytes, or when somebody cuts it off.

    ``connection`` is what it comes over, as httpcore gives it. ``closed`` hears when the connection may be somebody
    else's again.
    """

    def __init__(
        self,
        body: httpx2.SyncByteStream,
        limit: int,
        message: str,
        connection: Any,
        closed: Callable[[_Bounded], None],
    ) -> None:
        self._body = body
        self._limit = limit
        self._message = message
        self._connection = connection
        self._closed = closed

    def cut(self) -> None:
        """Let whoever waits for more bytes wait no longer."""
        line = self._connection.get_extra_info("socket") if self._connection is not None else None
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        for piece in self._body:
            count += len(piece)
            if count > self._limit:
                raise SourceError(self._message, hint="Check the endpoint (HF_ENDPOINT) and the proxy in use.")
            yield piece

    def close(self) -> None:
        self._closed(self)
        self._body.close()


def _same_origin(url: str, other: str) -> bool:
    one, two = httpx2.URL(url), httpx2.URL(other)
    return (one.scheme, one.host, one.port) == (two.scheme, two.host, two.port)
