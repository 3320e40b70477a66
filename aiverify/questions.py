"""What a remembered verdict is an answer to: everything that could change it.

A part that is missing here would let an old verdict stand where a new one is due; one that is too many only asks again.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from aiverify.advisories.loaders import loaders
from aiverify.advisories.snapshot import fetched as fetched_advisories
from aiverify.installed import versions_of
from aiverify.policy import Policy
from aiverify.store.interface import Question
from aiverify.version import __version__

_TABLES = ("*.toml", "*.json", "*.txt")


def rule_data() -> str:
    """The digest of every table that a verdict depends on."""
    return _rule_data(Path(__file__).parent)


@functools.cache
def _rule_data(package: Path) -> str:
    digest = hashlib.sha256()
    for table in sorted(path for suffix in _TABLES for path in package.rglob(suffix)):
        path = table.relative_to(package)
        if "demo" not in path.parts:
            digest.update(f"{path.as_posix()} {hashlib.sha256(table.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def asked(subject: str, policy: Policy, engines: Sequence[str], today: datetime.date | None = None) -> Question:
    """The question what ``policy`` says of ``subject``.

    A waiver that runs out changes it, and so does an update of a library that opens models.
    """
    day = today or datetime.datetime.now(datetime.UTC).date()
    over = sum(waiver.expires < day for waiver in policy.waivers)
    return Question(
        subject=subject,
        policy=f"{policy.digest} {over}" if over else policy.digest,
        rules=f"{rule_data()} {fetched_advisories()}".strip(),
        engines=f"{' '.join(f'{name} {_version(name)}' for name in engines) or 'none'}; {_loaders()}",
        tool=__version__,
    )


@functools.cache
def _loaders() -> str:
    """The installed libraries that open models, with their versions: advisories speak of these."""
    return " ".join(f"{name} {version}" for name, version in sorted(versions_of(list(loaders())).items()))


@functools.cache
def _version(distribution: str) -> str:
    """The version of an installed distribution."""
    return versions_of([distribution]).get(distribution, "unknown")


def digest_of_text(text: str) -> str:
    """The SHA-256 of a text, lone surrogates of undecodable names included."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_of(given: object) -> str:
    """What was given as a path, or names one, by its content; anything else by what it says of itself."""
    if not isinstance(given, Path):
        root = getattr(given, "root", None)
        return f"{given!r} {content_of(root)}" if isinstance(root, Path) else repr(given)
    try:
        return hashlib.sha256(given.read_bytes()).hexdigest()
    except OSError:
        return f"unreadable {given}"
