"""Why the Hub could not be read, in one line for a person, with the way out.

Whatever the Hub's client or its HTTP library raises becomes a SourceError here. Text that a server sent is never
repeated, for it may hold what the server was sent: the token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx2
from huggingface_hub import errors as hub

from aiverify.sources.interface import BusyError, DamagedError, GoneError, HostileSourceError, SourceError

_DISK = {
    errno.ENOSPC: ("the disk is full", "Make room, or choose another disk with --cache-dir."),
    errno.EDQUOT: ("the disk quota is used up", "Make room, or choose another disk with --cache-dir."),
    errno.EROFS: ("the Hub cache is read-only", "Choose another folder with --cache-dir."),
    errno.EACCES: ("no permission to write to the Hub cache", "Choose another folder with --cache-dir."),
    errno.EPERM: ("no permission to write to the Hub cache", "Choose another folder with --cache-dir."),
    errno.ENAMETOOLONG: ("a file name is too long for this disk", "Choose a shorter path with --cache-dir."),
}
_DIGITS = 9
_NETWORK = "Check the network, HF_ENDPOINT and the proxy settings; --offline uses what was downloaded before."


@dataclass(frozen=True, slots=True)
class Place:
    """What was asked for, and of whom."""

    repo: str
    revision: str
    endpoint: str
    has_token: bool

    def error(self, what: str, hint: str = "", kind: type[SourceError] = SourceError) -> SourceError:
        """An error about the repository at its revision."""
        return kind(f"{self.repo}@{self.revision}: {what}", hint=hint)


@contextlib.contextmanager
def explained(place: Place) -> Iterator[None]:
    """Let nothing but SourceError out of the block."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the client raises, it must not leave this room
        # Without the cause, whose text may repeat the server's words.
        raise explain(error, place) from None


def redacted(error: SourceError, secret: str | None) -> SourceError:
    """``error`` without ``secret``, which a hostile server may have sent back in one of its answers."""
    if not secret:
        return error
    message = str(error).replace(secret, "***")
    if isinstance(error, BusyError):
        return BusyError(message, hint=error.hint, patience=error.patience)
    if not isinstance(error, HostileSourceError):
        return type(error)(message, hint=error.hint)
    evidence = {key: str(value).replace(secret, "***") for key, value in error.finding.evidence.items()}
    return HostileSourceError(dataclasses.replace(error.finding, message=message, evidence=evidence), hint=error.hint)


def explain(error: BaseException, place: Place) -> SourceError:
    """The SourceError that stands for ``error``."""
    for cause in _chain(error):
        if isinstance(cause, SourceError):
            return cause
        if isinstance(cause, hub.HfHubHTTPError):
            return refused(cause.response.status_code, cause.response.headers, place)
        if isinstance(cause, httpx2.HTTPError | httpx2.InvalidURL):
            return _transport(cause, place)
    return _local(error, place)


def refused(status: int, headers: Mapping[str, str], place: Place) -> SourceError:
    """The SourceError for an answer with an error status. ``headers`` is looked up by lower-case names."""
    code, message = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    page = f"{place.endpoint}/{place.repo}"
    if code == "GatedRepo":
        return place.error(
            "the repository is gated",
            f"Accept its terms at {page}, then give a token of that account with --token or `hf auth login`.",
        )
    if code == "RevisionNotFound":
        return place.error("no such revision", f"See the branches, tags and commits at {page}/tree/main.", GoneError)
    if code == "EntryNotFound":
        return place.error("the endpoint lists a file and then denies that it has it", _NETWORK)
    if message == "Access to this resource is disabled.":
        return place.error("the Hub has disabled the repository", f"{page} may say why.", GoneError)
    if message == "Invalid credentials in Authorization header":
        return place.error("the Hub does not accept the token", "Make a new token, or log in again: `hf auth login`.")
    if code == "RepoNotFound" or status == httpx2.codes.UNAUTHORIZED:
        return place.error(
            "no such repository, or a private one that the token may not read"
            if place.has_token
            else "no such repository, or a private one",
            "Check the name. For a private repository give a token with --token or `hf auth login`; "
            "a file or folder of that name does not exist here.",
            GoneError,
        )
    if status == httpx2.codes.FORBIDDEN:
        return place.error("the token may not read the repository", "Give a token with read access to it.")
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        return _busy(place, "the Hub allows no more requests for now", "Try again later, or give --token.", headers)
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return _busy(place, f"the Hub is out of order (HTTP {status})", "Try again later.", headers)
    return place.error(f"the endpoint answers with HTTP {status}", "Check the name and HF_ENDPOINT.")


def _busy(place: Place, what: str, hint: str, headers: Mapping[str, str]) -> BusyError:
    asked = headers.get("retry-after", "")
    patience = float(asked) if asked.isdecimal() and len(asked) <= _DIGITS else 0.0
    return BusyError(f"{place.repo}@{place.revision}: {what}", hint=hint, patience=patience)


def _transport(error: httpx2.HTTPError | httpx2.InvalidURL, place: Place) -> SourceError:
    at = place.endpoint
    if isinstance(error, httpx2.ProxyError):
        return place.error("the proxy does not let the connection through", "Check HTTPS_PROXY and NO_PROXY.")
    if isinstance(error, httpx2.TimeoutException):
        return place.error(f"{at} does not answer in time", _NETWORK)
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return place.error("the endpoint is not a web address", "HF_ENDPOINT must start with https://.")
    if isinstance(error, httpx2.LocalProtocolError):
        return place.error("the token holds characters that no token has", "Give the token again: `hf auth login`.")
    causes = list(_chain(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return place.error(
            f"the certificate of {at} is not trusted, or its TLS is broken",
            "If a proxy of your organisation re-signs traffic, name its CA with SSL_CERT_FILE.",
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return place.error(f"the host of {at} is unknown", _NETWORK)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return place.error(f"{at} refuses the connection", _NETWORK)
    if isinstance(error, httpx2.ConnectError):
        return place.error(f"{at} cannot be reached", _NETWORK)
    if isinstance(error, httpx2.TooManyRedirects):
        return place.error("the endpoint redirects in circles", _NETWORK)
    return place.error("the connection broke off", "Try again.")


def _local(error: BaseException, place: Place) -> SourceError:
    if isinstance(error, hub.OfflineModeIsEnabled):
        return place.error("offline mode forbids the download", "Unset HF_HUB_OFFLINE, or download it before.")
    if isinstance(error, hub.HFValidationError):
        return SourceError(f"{place.repo!r} is no repository name", hint="A name looks like org/name.")
    if isinstance(error, hub.FileMetadataError) or any(isinstance(c, hub.FileMetadataError) for c in _chain(error)):
        return place.error(
            "the endpoint does not answer as a Hub does",
            "Check HF_ENDPOINT, and that no proxy removes headers from its answers.",
        )
    if isinstance(error, hub.XetDownloadError):
        return place.error("the transfer from xet storage failed", "Try again, or set HF_HUB_DISABLE_XET=1.")
    if isinstance(error, OSError):
        if str(error).startswith("Consistency check failed"):
            return place.error("a file arrived with another size than announced", "Try again.", DamagedError)
        known = _DISK.get(error.errno or 0)
        if known is not None:
            return place.error(*known)
        return place.error(f"a file could not be read or written: {error.strerror or type(error).__name__}")
    return place.error(
        f"the Hub client failed on the answer ({type(error).__name__})",
        "Check that the endpoint (HF_ENDPOINT) is a Hugging Face Hub.",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what caused it, at most ten steps."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__
