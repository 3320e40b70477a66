"""The trusted root of a private Sigstore instance, from its TUF repository.

The protocol (https://theupdateframework.github.io/specification/) is python-tuf's business. Rules added here:

- The user gives the first ``root.json``; nothing is trusted on first use.
- What was fetched is kept, so that a repository cannot go back to older metadata, and a run without a network has
  something to work with. Where nothing can be written, it is kept for the run only.
- No request waits longer than ``TIMEOUT`` seconds for a sign of the server, and none is repeated.
"""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from aiverify.signatures.interface import SignatureError
from aiverify.signatures.trust import MAX_ROOT_BYTES, TufRepository, reason

TIMEOUT = 20
TARGET = "trusted_root.json"

_PIECE = 1 << 16


@contextmanager
def trusted_root(repository: TufRepository) -> Iterator[Path]:
    """The trusted root as a file, for as long as the block runs. Raises SignatureError."""
    url = repository.url.rstrip("/")
    if urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname:
        raise SignatureError(f"{url} is not the address of a TUF repository", hint="It must start with https://.")
    folder = repository.cache or _cache_folder() / quote(url, safe="")
    with ExitStack() as stack:
        if repository.offline:
            yield _kept(folder, url)
            return
        if not _can_write(folder):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiverify-tuf-")))
        yield _fetched(url, _first_root(repository.root), folder)


def _fetched(url: str, first: bytes, folder: Path) -> Path:
    metadata, targets = folder / "metadata", folder / "targets"
    try:
        metadata.mkdir(parents=True, exist_ok=True)
        targets.mkdir(exist_ok=True)
        updater = Updater(str(metadata), url, str(targets), f"{url}/targets/", fetcher=_Fetcher(), bootstrap=first)
        updater.refresh()
        target = updater.get_targetinfo(TARGET)
        if target is None or target.length > MAX_ROOT_BYTES:
            raise SignatureError(f"the TUF repository {url} has no {TARGET}")
        return Path(updater.find_cached_target(target) or updater.download_target(target))
    except SignatureError:
        raise
    except Exception as error:
        raise SignatureError(
            f"the trusted root from {url} cannot be fetched: {reason(error)}",
            hint="Check the address and the root.json, or give the trusted root as a file with --trusted-root.",
        ) from error


def _kept(folder: Path, url: str) -> Path:
    path = folder / "targets" / TARGET
    if not path.is_file():
        raise SignatureError(
            f"the trusted root from {url} was never fetched, and the network is off limits",
            hint="Run once without --offline, or give the trusted root as a file with --trusted-root.",
        )
    return path


def _first_root(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise SignatureError(f"the root {path} of the TUF repository cannot be read: {error}") from error


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - there may be no home
    return Path(home) / "aiverify" / "tuf"


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


class _Fetcher(FetcherInterface):
    """Files by HTTP, in pieces."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - the scheme was checked
                while piece := answer.read(_PIECE):
                    yield piece
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(f"HTTP status {error.code}", error.code) from error
