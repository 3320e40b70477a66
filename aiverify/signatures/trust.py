"""Whose word keyless verification and timestamps rest on: the trusted root of a Sigstore instance.

It is a file that the user names, the root of a TUF repository (``tuf.py``), or one of the two that sigstore-python
carries in its package: that of the public instance, and that of its staging. Never Sigstore's own TUF cache: it needs
a writable home, and once written it hides newer roots that come with the package. Only a TUF repository needs
a network.

A root that is old knows nothing of logs and authorities that came later; so how new it is, is said with each signature.
"""

from __future__ import annotations

import enum
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from aiverify.errors import in_words
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.periods import in_use, parsed_root

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

MAX_ROOT_BYTES = 16 * 1024 * 1024


class Instance(enum.StrEnum):
    """The instances of Sigstore whose roots are part of sigstore-python."""

    PRODUCTION = "production"
    STAGING = "staging"


@dataclass(frozen=True, slots=True, kw_only=True)
class TufRepository:
    """A TUF repository that serves the trusted root of a private instance.

    ``root`` is the ``root.json`` to begin with. ``cache`` is the folder for what was fetched; without it one in the
    user's cache folder, or none where that cannot be written. ``offline``: use what the cache holds, ask nobody.
    """

    url: str
    root: Path
    cache: Path | None = None
    offline: bool = False


TrustSource: TypeAlias = Instance | Path | TufRepository

_TUF_REPOSITORIES = {
    Instance.PRODUCTION: "https://tuf-repo-cdn.sigstore.dev",
    Instance.STAGING: "https://tuf-repo-cdn.sigstage.dev",
}
_SERVICES = ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
_CLIENT = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_NO_SERVICES: dict[str, Any] = {
    "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    **{key: [] for key in ("caUrls", "oidcUrls", "rekorTlogUrls", "tsaUrls")},
    **{key: {"selector": "ANY"} for key in ("rekorTlogConfig", "tsaConfig")},
}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A root, the file that it stands in, the JSON of it, and when its newest service came into use."""

    root: TrustedRoot
    content: bytes
    table: dict[str, Any]
    newest: datetime | None


class Trust:
    """The trusted root of one run, loaded when it is first asked for."""

    def __init__(self, source: TrustSource) -> None:
        self._source = source
        self._loaded: _Loaded | None = None

    @property
    def name(self) -> str:
        """What messages call the root."""
        match self._source:
            case Instance() as instance:
                from sigstore import __version__

                return f"the {instance} root inside sigstore {__version__}"
            case Path() as path:
                return f"the trusted root {path}"
            case TufRepository(url=url):
                return f"the trusted root from {url}"

    @property
    def age(self) -> str:
        """How new the root is: the day since which its newest log or authority is in use, and how long ago that is."""
        newest = self._load().newest
        if newest is None:
            return "of unknown age"
        days = max(0, (datetime.now(UTC) - newest).days)
        return f"newest service of {newest:%Y-%m-%d}, {days} days ago"

    def root(self) -> TrustedRoot:
        """The root itself. Raises SignatureError."""
        return self._load().root

    def content(self) -> bytes:
        """The file that the root stands in. Raises SignatureError."""
        return self._load().content

    def verifier(self) -> Verifier:
        """A verifier of keyless signatures under this root. Raises SignatureError."""
        from sigstore.verify import Verifier

        root = self.root()
        try:
            return Verifier(trusted_root=root)
        except Exception as error:
            raise self._unusable(error) from error

    def verifier_at(self, signed: Sequence[datetime], promised: Sequence[datetime]) -> Verifier:
        """A verifier under those services of the root that were in use at these times, as ``in_use`` has them.

        Raises whatever sigstore-python does where none is left.
        """
        from sigstore.verify import Verifier

        return Verifier(trusted_root=_root(in_use(self._load().table, signed, promised)))

    def _load(self) -> _Loaded:
        if self._loaded is None:
            with self._file() as path:
                try:
                    content = path.read_bytes()
                    table = parsed_root(content)
                    self._loaded = _Loaded(_root(table), content, table, _newest(table))
                except Exception as error:
                    raise self._unusable(error) from error
        return self._loaded

    def _file(self) -> AbstractContextManager[Path]:
        match self._source:
            case Instance() as instance:
                return embedded(instance, "trusted_root.json")
            case Path() as path:
                _require_readable(path)
                return nullcontext(path)
            case TufRepository() as repository:
                from aiverify.signatures.tuf import target

                return target(repository)

    def _unusable(self, error: Exception) -> SignatureError:
        return SignatureError(
            f"{self.name} cannot be used: {reason(error)}", hint="Give a trusted_root.json with --trusted-root."
        )


def embedded(instance: Instance, name: str) -> AbstractContextManager[Path]:
    """The file ``name`` that sigstore-python carries for an instance."""
    folder = quote(_TUF_REPOSITORIES[instance], safe="")
    return resources.as_file(resources.files("sigstore._store").joinpath(folder, name))


@contextmanager
def tuf_repository(instance: Instance) -> Iterator[TufRepository]:
    """The TUF repository of a public instance, trusted by the first root that sigstore-python carries."""
    with embedded(instance, "root.json") as root:
        yield TufRepository(url=_TUF_REPOSITORIES[instance], root=root)


def _require_readable(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:
        raise SignatureError(f"the trusted root {path} cannot be read: {in_words(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SignatureError(f"the trusted root {path} is no regular file")
    if status.st_size > MAX_ROOT_BYTES:
        raise SignatureError(f"the trusted root {path} is larger than {MAX_ROOT_BYTES} bytes")


def _root(table: Mapping[str, Any]) -> TrustedRoot:
    from sigstore.models import ClientTrustConfig

    config = {"mediaType": _CLIENT, "trustedRoot": table, "signingConfig": _NO_SERVICES}
    return ClientTrustConfig.from_json(json.dumps(config)).trusted_root


def _newest(table: Mapping[str, Any]) -> datetime | None:
    """When the newest service of a valid root came into use."""
    services = [service for kind in _SERVICES for service in table.get(kind) or ()]
    periods = [service.get("validFor") or service.get("publicKey", {}).get("validFor") or {} for service in services]
    starts = [period["start"] for period in periods if period.get("start")]
    return max((datetime.fromisoformat(start) for start in starts), default=None)


def reason(error: Exception) -> str:
    """What a library says went wrong, as one line of at most 300 characters and without pydantic's appendix."""
    text = " ".join(str(error).split()).partition(" [type=")[0] or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
