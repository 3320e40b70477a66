"""Policies that have an address of the web and a digest.

Rules it keeps:

1. Nothing is used whose SHA-256 is not the one that was asked for, wherever it comes from.
2. Only https, and no more than a policy can be long. Redirects are followed to https only.
3. What was fetched once is kept, and not asked for again.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO

from aiverify.policy.file import MAX_POLICY
from aiverify.policy.kept import keep, kept
from aiverify.policy.values import PolicyError

_SECONDS = 30.0


def fetched(url: str, sha256: str) -> bytes:
    """The policy with this digest, from where it is kept or from ``url``. Raises PolicyError."""
    content = kept(sha256)
    if content is not None:
        return content
    content = _downloaded(url)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PolicyError(
            f"{url} is not the policy that was asked for: its SHA-256 is {found}",
            hint="Read what is there now. If it is right, write that digest into the file that extends it.",
        )
    keep(content, sha256)
    return content


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """A server may send elsewhere, but not to a place that is not authenticated."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows, or ``None`` to refuse."""
        if not newurl.lower().startswith("https://"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _downloaded(url: str) -> bytes:
    try:
        with urllib.request.build_opener(_OnlyHttps).open(url, timeout=_SECONDS) as response:
            content: bytes = response.read(MAX_POLICY + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise PolicyError(f"{url}: cannot be fetched: {reason}") from error
    if len(content) > MAX_POLICY:
        raise PolicyError(f"{url}: is longer than {MAX_POLICY} bytes")
    return content
