"""What artifacts and signers are called in a lockfile, whichever way a command named them.

A Hub repository is called ``org/name``, or ``hf://name`` without an organisation. A folder or file is called by its
path as it was given, shortened, and with ``./`` before one that could be taken for a repository: a lockfile is used
from the folder that it was written for. A key is called by its digest, wherever the file lies that it was read from.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from aiverify.sources.hub import HubSource
from aiverify.sources.interface import HubOptions, Source
from aiverify.sources.target import HUB_SCHEME, open_source

_KEY = re.compile(r"(?:the key|key .*) \(SHA-256 (?P<sha256>[0-9a-f]{64})\)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A target: what a lockfile calls it, its source, and the revision that was asked for, if it is a repository."""

    key: str
    source: Source
    repo: str | None = None
    revision: str | None = None
    explicit: bool = False


def named(target: str, options: HubOptions) -> Named:
    """What ``target`` names. Raises SourceError and UsageError as ``open_source`` does."""
    source = open_source(target, options)
    if isinstance(source, HubSource):
        return Named(
            key=key_of_repository(source.repo),
            source=source,
            repo=source.repo,
            revision=source.revision,
            explicit=options.revision is not None or "@" in target,
        )
    return Named(key=key_of_path(target), source=source)


def key_of_repository(repo: str) -> str:
    """What the repository ``repo`` is called."""
    return repo if "/" in repo else f"{HUB_SCHEME}{repo}"


def key_of_path(path: str) -> str:
    """What the folder or file at ``path`` is called."""
    short = os.path.normpath(path).replace(os.sep, "/")
    return short if short in (".", "..") or short.startswith(("/", "../")) else f"./{short}"


def key_of_signer(signer: str) -> str:
    """What the ``signer`` in a report is called."""
    found = _KEY.fullmatch(signer)
    return f"the key (SHA-256 {found['sha256']})" if found else signer
