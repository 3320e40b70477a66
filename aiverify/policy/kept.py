"""Policies that were fetched from an address, kept under their digest: that says that they are the same."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from aiverify.files import WriteError, cache_folder, write_whole
from aiverify.policy.file import MAX_POLICY
from aiverify.policy.values import PolicyError


def kept_folder() -> Path:
    """Where fetched policies are kept: ``$XDG_CACHE_HOME/aiverify/policies``, else below ``~/.cache``."""
    return cache_folder() / "policies"


def kept(sha256: str) -> bytes | None:
    """The policy with this digest, if it is there and still has it."""
    try:
        with (kept_folder() / f"{sha256}.toml").open("rb") as file:
            content = file.read(MAX_POLICY + 1)
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def keep(content: bytes, sha256: str) -> None:
    """Keep a policy that has this digest. Where that cannot be done, it is only fetched again."""
    with contextlib.suppress(OSError, WriteError):
        kept_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(kept_folder() / f"{sha256}.toml", content)


def from_cache(url: str, sha256: str) -> bytes:
    """The policy with this digest, if it was fetched from ``url`` before. Raises PolicyError."""
    content = kept(sha256)
    if content is None:
        raise PolicyError(
            f"{url} has not been fetched yet",
            hint="`aiverify policy check FILE` fetches what the policy FILE extends, once.",
        )
    return content
