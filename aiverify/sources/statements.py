"""From what a Hub states of a repository to what the fetch stage hands over: its files, and what is said of them."""

from __future__ import annotations

import dataclasses
import datetime
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from aiverify.artifact import Fetched, FetchedFile, SourceKind
from aiverify.finding import Finding, Severity
from aiverify.rules import finding
from aiverify.sources.hubclient.cache import RepoCache
from aiverify.sources.hubclient.listing import Listing, Standing, StatedFile
from aiverify.sources.identity import renamed, young
from aiverify.sources.interface import Selection
from aiverify.sources.lean import needless
from aiverify.sources.local import HOUSEKEEPING, strangers

_SHOWN = 3
_EVIDENCE = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What the Hub states of ``repo`` at ``commit``, and which of it is selected. ``said`` was noticed on the way."""

    target: str
    repo: str
    commit: str
    listing: Listing
    selection: Selection
    said: tuple[Finding, ...] = ()

    def wanted(self) -> list[StatedFile]:
        """The selected files."""
        return [file for file in self.listing.values() if self.selection.wants(file.path)]

    def fetched(self, root: Path, findings: Sequence[Finding] = ()) -> Fetched:
        """The selected files below ``root``, as they are stated."""
        return Fetched(
            target=self.target,
            kind=SourceKind.HUB,
            root=root,
            repo=self.repo,
            revision=self.commit,
            files=tuple(fetched_file(root, file) for file in self.wanted()),
            left_out=tuple(path for path in self.listing if not self.selection.wants(path)),
            findings=(*findings, *self.said),
        )


def narrowed(listing: Listing, selection: Selection) -> tuple[Selection, list[Finding]]:
    """The selection without what no loader would read, and the word about it."""
    if not selection.lean or selection.include:
        return selection, []
    spared = sorted(path for path in needless(listing) - set(selection.kept) if selection.wants(path))
    if not spared:
        return selection, []
    more = f" and {len(spared) - _SHOWN} more" if len(spared) > _SHOWN else ""
    text = f"{', '.join(spared[:_SHOWN])}{more}: left out, because loaders take the safetensors instead"
    exclude = (*selection.exclude, *(glob.escape(path) for path in spared))
    evidence = {"left_out": spared[:_EVIDENCE], "count": len(spared)}
    return dataclasses.replace(selection, exclude=exclude), [finding("AIV613", text, evidence=evidence)]


def told(repo: str, standing: Standing | None) -> list[Finding]:
    """What the Hub's word on the repository is worth saying."""
    if standing is None:
        return []
    now = datetime.datetime.now(datetime.UTC)
    return [*renamed(repo, standing.name, severity=Severity.LOW), *young(standing.created, now)]


def fetched_file(root: Path, file: StatedFile) -> FetchedFile:
    """The file below ``root`` with what was stated about it."""
    return FetchedFile(
        path=file.path,
        location=root / file.path,
        size=file.size,
        sha256=file.sha256,
        # The blob id of an LFS file is that of a pointer, which is not on disk.
        git_sha1=None if file.sha256 else file.blob_id,
    )


def unstated(cache: RepoCache, root: Path, listing: Listing) -> list[Finding]:
    """What lies beside the stated files, where a loader would find it."""
    housekeeping = HOUSEKEEPING if cache.local_dir is not None else ()
    return [
        finding(
            "AIV101",
            f"{path} lies in the download folder, but the Hub does not state it",
            file=path,
            severity=Severity.HIGH,
        )
        for path in strangers(root, listing, housekeeping)
    ]


def astray(cache: RepoCache, root: Path, files: Sequence[StatedFile]) -> list[Finding]:
    """Stated files that are links to somewhere else than the client's store."""
    homes = (Path(os.path.realpath(root)), *(Path(os.path.realpath(blobs)) for blobs in cache.blobs))
    found = []
    for file in files:
        end = Path(os.path.realpath(root / file.path))
        if not any(end.is_relative_to(home) for home in homes):
            message = f"the link {file.path} leads out of the Hub cache, to {str(end)!a}"
            found.append(finding("AIV409", message, file=file.path, evidence={"leads_to": f"{str(end)!a}"}))
    return found
