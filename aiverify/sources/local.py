"""Artifacts on this machine: a folder or a single file, taken in place. Nothing is copied.

The rules:

- Paths are POSIX, relative to the folder, and sorted.
- A link is followed when it ends inside the folder; a folder that contains itself is entered once. In a snapshot of
  the Hub's cache, a link may also end in the ``blobs`` folders of that cache, where the Hub's client keeps the bytes.
- Any other link out of the folder is a finding, and what it leads to is no part of the artifact.
- What cannot be read as a file (a socket, a pipe, a device, a dangling link, no permission, a name that is not UTF-8)
  is an error, unless the selection leaves it out.
- ``.git/`` and ``.cache/huggingface/`` at the top are housekeeping of git and of the Hub's client. Loaders do not read
  them; they are listed as left out.
- A folder states nothing about its bytes. That its name looks like a Hub repository's is no statement either: anybody
  can name a folder.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from aiverify.artifact import Fetched, FetchedFile, SourceKind
from aiverify.finding import Finding
from aiverify.progress import Progress
from aiverify.rules import finding
from aiverify.sources.interface import HostileSourceError, Selection, Source, SourceError

MAX_ENTRIES = 100_000
HOUSEKEEPING = (".git", ".cache/huggingface")

_HUB_FOLDER = re.compile(r"(?:models|datasets|spaces|kernels)--.+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LEAVE_OUT = "Remove it, or leave it out with --exclude."


class FolderSource(Source):
    """The files below a folder."""

    def __init__(self, path: Path, target: str | None = None) -> None:
        self._path = path
        self._target = target if target is not None else str(path)

    def fetch(self, selection: Selection, progress: Progress) -> Fetched:
        """List the selected files.

        Raises SourceError when the folder cannot be read whole or has no selected file, and HostileSourceError when
        every selected file leads out of it.
        """
        progress.stage("fetch")
        progress.detail(self._target)
        walk = _Walk(_resolved(self._path), selection)
        walk.run()
        if not walk.files:
            if walk.findings:
                raise HostileSourceError(walk.findings[0])
            if walk.left_out:
                raise SourceError(
                    f"no files are left of {_shown(self._path)}: everything was left out",
                    hint="Change --include and --exclude.",
                )
            raise SourceError(f"no files in {_shown(self._path)}", hint="Give the folder that holds the model's files.")
        return Fetched(
            target=self._target,
            kind=SourceKind.FOLDER,
            root=walk.root,
            files=tuple(sorted(walk.files, key=lambda file: file.path)),
            left_out=tuple(sorted(walk.left_out)),
            findings=tuple(walk.findings),
        )


class FileSource(Source):
    """One file. A link is followed: whoever names it means what it leads to."""

    def __init__(self, path: Path, target: str | None = None) -> None:
        self._path = path
        self._target = target if target is not None else str(path)

    def fetch(self, selection: Selection, progress: Progress) -> Fetched:
        """State where the file lies. Raises SourceError when it is no readable file or the selection leaves it out."""
        progress.stage("fetch")
        progress.detail(self._target)
        name = self._path.name
        if not selection.wants(name):
            raise SourceError(
                f"no files are left of {_shown(self._path)}: it was left out", hint="Change --include and --exclude."
            )
        _require_decodable(name, self._path)
        try:
            status = self._path.stat()
        except (OSError, ValueError) as error:
            raise _unreadable(self._path, error) from error
        _require_file(status, self._path)
        file = FetchedFile(path=name, location=self._path.absolute(), size=status.st_size)
        return Fetched(target=self._target, kind=SourceKind.FILE, root=self._path.absolute().parent, files=(file,))


class _Walk:
    """One pass over a folder."""

    def __init__(self, root: Path, selection: Selection) -> None:
        self.root = root
        self.files: list[FetchedFile] = []
        self.left_out: list[str] = []
        self.findings: list[Finding] = []
        self._selection = selection
        self._blobs = hub_blobs(root)
        self._seen = 0

    def run(self) -> None:
        status = self.root.stat()
        # A folder on the stack: its path with a slash at the end, where it lies, and the folders it lies in.
        stack = [("", self.root, frozenset({_identity(status)}))]
        while stack:
            prefix, folder, above = stack.pop()
            for entry in self._entries(prefix, folder):
                path = prefix + entry.name
                inner = self._entry(path, entry, above)
                if inner is not None:
                    stack.append((f"{path}/", Path(entry.path), above | {inner}))

    def _entries(self, prefix: str, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            if prefix and self._selection.excludes(prefix):
                self.left_out.append(prefix)
                return []
            raise _unreadable(folder, error) from error
        self._seen += len(entries)
        if self._seen > MAX_ENTRIES:
            raise SourceError(f"{_shown(self.root)} holds more than {MAX_ENTRIES} files and folders")
        return entries

    def _entry(self, path: str, entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> tuple[int, int] | None:
        """Note one entry; the identity of a folder that has to be entered."""
        wanted = self._selection.wants(path)
        try:
            status = entry.stat()
        except OSError as error:
            if not wanted:
                self.left_out.append(path)
                return None
            raise _unreadable(Path(entry.path), error, link=entry.is_symlink()) from error
        folder = stat.S_ISDIR(status.st_mode)
        if folder and path in HOUSEKEEPING:
            self.left_out.append(f"{path}/")
            return None
        if entry.is_symlink() and not self._inside(entry.path, folder=folder):
            self._leads_out(path, entry, folder=folder)
            return None
        if folder:
            if _identity(status) not in above:
                return _identity(status)
            self.left_out.append(f"{path}/")
        elif not wanted:
            self.left_out.append(path)
        else:
            _require_decodable(path, Path(entry.path))
            _require_file(status, Path(entry.path))
            self.files.append(FetchedFile(path=path, location=Path(entry.path), size=status.st_size))
        return None

    def _inside(self, link: str, *, folder: bool) -> bool:
        end = Path(os.path.realpath(link))
        return end.is_relative_to(self.root) or (not folder and any(end.is_relative_to(blobs) for blobs in self._blobs))

    def _leads_out(self, path: str, entry: os.DirEntry[str], *, folder: bool) -> None:
        # Which files a linked folder holds is not looked at, so no --include pattern can speak for it.
        if self._selection.excludes(f"{path}/") if folder else not self._selection.wants(path):
            self.left_out.append(f"{path}/" if folder else path)
            return
        _require_decodable(path, Path(entry.path))
        end = ascii(os.path.realpath(entry.path))
        message = f"the link {path} leads out of the folder, to {end}"
        self.findings.append(finding("AIV409", message, file=path, evidence={"leads_to": end}))


def hub_blobs(folder: Path) -> tuple[Path, ...]:
    """Where links in ``folder`` may lead because it is, or lies in, a snapshot of the Hub's cache.

    The layout is ``<cache>/models--org--name/snapshots/<commit>``, whose links lead to ``blobs`` of that repository;
    those may in turn be links to ``<cache>/blobs``, the store that repositories share.
    """
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent
        if (
            snapshot.parent.name == "snapshots"
            and _COMMIT.fullmatch(snapshot.name)
            and _HUB_FOLDER.fullmatch(repository.name)
        ):
            return (repository / "blobs", repository.parent / "blobs")
    return ()


def strangers(root: Path, known: Iterable[str], housekeeping: Iterable[str] = ()) -> list[str]:
    """What lies below ``root`` beside the ``known`` paths, sorted; a linked folder counts as one entry.

    ``housekeeping`` are folders at the top that are not looked into. Raises SourceError when a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename or root), error) from error

    skipped = {root / name for name in housekeeping}
    expected = set(known)
    found: list[str] = []
    for folder, folders, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if here / name not in skipped]
        found.extend((here / name).relative_to(root).as_posix() for name in (*files, *linked))
    return sorted(path for path in found if path not in expected)


def _resolved(path: Path) -> Path:
    try:
        root = path.resolve(strict=True)
        is_folder = root.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise SourceError(
            f"{_shown(path)} cannot be read: {_reason(error)}", hint="Check the path and its permissions."
        ) from error
    if not is_folder:
        raise SourceError(f"{_shown(path)} is not a folder")
    return root


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _require_file(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a named pipe", stat.S_IFDIR: "a folder"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise SourceError(f"{_shown(path)} is {kind}, not a file", hint=_LEAVE_OUT)
    if not os.access(path, os.R_OK):
        raise SourceError(f"{_shown(path)} cannot be read: permission denied", hint=_LEAVE_OUT)


def _require_decodable(path: str, location: Path) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        message = f"the file name {_shown(location)} is not UTF-8"
        raise SourceError(message, hint="Rename it, or leave it out with --exclude.") from None


def _unreadable(path: Path, error: OSError | ValueError, *, link: bool = False) -> SourceError:
    if link and isinstance(error, FileNotFoundError):
        return SourceError(f"the link {_shown(path)} leads nowhere", hint=_LEAVE_OUT)
    return SourceError(f"{_shown(path)} cannot be read: {_reason(error)}", hint=_LEAVE_OUT)


def _reason(error: OSError | ValueError | RuntimeError) -> str:
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return "not a path" if isinstance(error, ValueError) else "a loop of links"


def _shown(path: Path) -> str:
    """The path on one line: plain where it is plain, escaped where it is not."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
