"""What every source of artifacts offers, and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from aiverify.artifact import Fetched, FetchedFile
from aiverify.errors import AiverifyError
from aiverify.finding import Finding
from aiverify.progress import Progress


class SourceError(AiverifyError):
    """The artifact could not be had: unknown, gated, offline, unreadable, empty."""


class GoneError(SourceError):
    """The source says that there is no such artifact or revision, or none that may be seen."""


class BusyError(SourceError):
    """The source does not serve for now. ``patience`` is for how many seconds it asks."""

    def __init__(self, message: str, *, hint: str = "", patience: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.patience = patience


class DamagedError(SourceError):
    """What arrived is not what was announced."""


class HostileSourceError(SourceError):
    """The source answered as no honest source does. ``finding`` is the evidence; nothing was written."""

    def __init__(self, finding: Finding, *, hint: str = "") -> None:
        super().__init__(finding.message, hint=hint)
        self.finding = finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which files of an artifact are wanted: shell patterns on POSIX paths, with the meaning the Hub client gives them.

    No ``include`` means everything; ``exclude`` wins. The meaning is that of ``filter_repo_objects`` of
    huggingface_hub: case counts, ``*`` crosses ``/``, a pattern that ends in ``/`` stands for everything below that
    folder, and a backslash counts as ``/``.

    ``lean`` leaves out of a repository what no loader would read beside its safetensors files (``lean.py``), unless
    ``include`` says what is wanted, or the path is one of those ``kept``. On disk everything counts that is there.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    lean: bool = False
    kept: Collection[str] = ()

    def wants(self, path: str) -> bool:
        """Whether the file at ``path`` is selected."""
        return (not self.include or _matches(path, self.include)) and not self.excludes(path)

    def excludes(self, path: str) -> bool:
        """Whether an ``exclude`` pattern names ``path``."""
        return _matches(path, self.exclude)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    path = path.replace("\\", "/")
    normal = (pattern.replace("\\", "/") for pattern in patterns)
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in normal)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """Options of the Hub client, by its own names. ``revision`` is a branch, tag or commit; ``None`` means ``main``.

    ``token`` is a secret: it is never printed. ``offline`` forbids every request.
    """

    revision: str | None = None
    cache_dir: Path | None = None
    local_dir: Path | None = None
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A look at what a source states, before the bytes are fetched.

    Of the selected files, those that ``wants`` names are fetched first. Then ``look`` is given the statements on all of
    them, and may raise to end it there.
    """

    wants: Callable[[str], bool]
    look: Callable[[Fetched], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a source says of the selected files. Those that are ``here`` lie on disk; the others may not.

    Of a file that is not here, the source states the SHA-256 now.
    """

    fetched: Fetched
    here: tuple[FetchedFile, ...]


class Source(ABC):
    """A place that artifacts come from."""

    @abstractmethod
    def fetch(self, selection: Selection, progress: Progress) -> Fetched:
        """Make the selected files available on disk.

        Raises SourceError when that cannot be done, and HostileSourceError when the source behaves as no honest one
        does.
        """

    def fetch_previewed(self, selection: Selection, progress: Progress, preview: Preview) -> Fetched:  # noqa: ARG002
        """As ``fetch``, with a look at what the source states first, where there is anything to be saved by it."""
        return self.fetch(selection, progress)

    def stated(self, selection: Selection, progress: Progress) -> Stated:
        """As ``fetch``, but nothing is brought to disk whose SHA-256 the source states."""
        fetched = self.fetch(selection, progress)
        return Stated(fetched=fetched, here=fetched.files)

    def fetch_again(
        self,
        fetched: Fetched,  # noqa: ARG002
        damaged: Collection[str],  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> bool:
        """Put other bytes in the place of the files at ``damaged``, which are not what the source states.

        ``False`` where there is nothing to get them from, or where that would destroy what is not the source's.
        """
        return False
