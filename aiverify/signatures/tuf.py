"""The trusted root of a Sigstore instance, and where it signs, from its TUF repository.

The protocol (https://theupdateframework.github.io/specification/) is python-tuf's business. Rules added here:

- The user gives the first ``root.json``; nothing is trusted on first use.
- What was fetched is kept, so that a repository cannot go back to older metadata, and a run without a network has
  something to work with. Where nothing can be written, it is kept for the run only.
- No request waits longer than ``TIMEOUT`` seconds for a sign of the server, and none is repeated.
"""

from __future__ import annotations

import hashlib
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

from aiverify.errors import in_words
from aiverify.files import cache_folder, read_at_most
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.trust import MAX_ROOT_BYTES, TufRepository, reason

TIMEOUT = 20
TRUSTED_ROOT = "trusted_root.json"
SIGNING_CONFIG = "signing_config.v0.2.json"

_WHAT = {TRUSTED_ROOT: "trusted root", SIGNING_CONFIG: "signing configuration"}
_OPTION = {TRUSTED_ROOT: "--trusted-root", SIGNING_CONFIG: "--signing-config"}

_PIECE = 1 << 16


@contextmanager
def target(repository: TufRepository, name: str = TRUSTED_ROOT) -> Iterator[Path]:
    """The target ``name`` as a file, for as long as the block runs. Raises SignatureError."""
    url = repository.url.rstrip("/")
    if urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname:
        raise SignatureError(f"{url} is not the address of a TUF repository", hint="It must start with https://.")
    first = _first_root(repository.root)
    # What another first root led to is nothing that this one vouches for.
    place = repository.cache or cache_folder() / "tuf" / quote(url, safe="")
    folder = place / hashlib.sha256(first).hexdigest()[:16]
    with ExitStack() as stack:
        if repository.offline:
            yield _kept(folder, url, name)
            return
        if not _can_write(folder):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiverify-tuf-")))
        yield _fetched(url, name, first, folder)


def _fetched(url: str, name: str, first: bytes, folder: Path) -> Path:
    metadata, targets = folder / "metadata", folder / "targets"
    try:
        metadata.mkdir(parents=True, exist_ok=True)
        targets.mkdir(exist_ok=True)
        updater = Updater(str(metadata), url, str(targets), f"{url}/targets/", fetcher=_Fetcher(), bootstrap=first)
        updater.refresh()
        found = updater.get_targetinfo(name)
        if found is None or found.length > MAX_ROOT_BYTES:
            raise SignatureError(f"the TUF repository {url} has no {name}")
        return Path(updater.find_cached_target(found) or updater.download_target(found))
    except SignatureError:
        raise
    except Exception as error:
        raise SignatureError(
            f"the {_WHAT[name]} from {url} cannot be fetched: {reason(error)}",
            hint=f"Check the address and the root.json, or give the {_WHAT[name]} as a file with {_OPTION[name]}.",
        ) from error


def _kept(folder: Path, url: str, name: str) -> Path:
    path = folder / "targets" / name
    if not path.is_file():
        raise SignatureError(
            f"the {_WHAT[name]} from {url} was never fetched, and the network is off limits",
            hint=f"Run once without --offline, or give the {_WHAT[name]} as a file with {_OPTION[name]}.",
        )
    return path


def _first_root(path: Path) -> bytes:
    try:
        content = read_at_most(path, MAX_ROOT_BYTES)
    except (OSError, ValueError) as error:
        raise SignatureError(f"the root {path} of the TUF repository cannot be read: {in_words(error)}") from error
    if len(content) > MAX_ROOT_BYTES:
        raise SignatureError(f"the root {path} of the TUF repository is larger than {MAX_ROOT_BYTES} bytes")
    return content


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
