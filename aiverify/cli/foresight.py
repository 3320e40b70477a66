"""``aiverify verify --dry-run``: what would be fetched, and what is known of it before a byte of it is here.

It is no verdict. A name can lie about what a file holds; only the verification looks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiverify.cli.options import Written
from aiverify.cli.printing import put, say
from aiverify.errors import AiverifyError, UsageError
from aiverify.reporters.forms import Form
from aiverify.sources.hub import HubSource
from aiverify.sources.hubclient.scans import Scans
from aiverify.sources.interface import HostileSourceError, HubOptions, Selection
from aiverify.sources.lean import OTHERS, PICKLES, SAFETENSORS, needless
from aiverify.sources.target import open_source

NOT_SCANNED = "not scanned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """One file of a repository: what its name says that it is, and why it would not be fetched, if so."""

    path: str
    size: int
    kind: str
    cached: bool
    left_out: str | None
    scan: Mapping[str, str]


def foretell(targets: Sequence[str], hub: HubOptions, selection: Selection, written: Written) -> int:
    """Print what is known beforehand. The exit code: 0, 1 when a Hub answers as no honest one does, 2 when none can.

    One target that cannot be looked at does not stop the others.
    """
    if written.format not in (Form.HUMAN, Form.JSON):
        raise UsageError(f"a dry run makes no report, and cannot be written as {written.format}")
    made, code = [], 0
    for target in targets:
        try:
            made.append(_foreseen(target, hub, selection))
        except HostileSourceError as error:
            say(f"block: {error.diagnostics()}")
            code = max(code, 1)
        except AiverifyError as error:
            say(f"error: {error.diagnostics()}")
            code = 2
    if not made:
        return code
    if written.format is Form.JSON:
        text = json.dumps({"dry_run": True, "targets": [one.document() for one in made]}, indent=2) + "\n"
    else:
        text = "\n".join(line for one in made for line in one.lines()) + "\n"
    put(text, written.output)
    return code


def _foreseen(target: str, hub: HubOptions, selection: Selection) -> Outlook:
    source = open_source(target, hub)
    if not isinstance(source, HubSource):
        raise AiverifyError(
            f"{target}: nothing of a folder or file would be fetched", hint="--dry-run is for Hub repositories."
        )
    standing = source.standing()
    listing = source.listing(standing.commit)
    scans = source.scans(standing.commit)
    spared = needless(listing) if selection.lean and not selection.include else frozenset()
    files = tuple(
        Foreseen(
            path=file.path,
            size=file.size,
            kind=_kind(file.path),
            cached=source.cached(standing.commit, file.path),
            left_out=_left_out(file.path, selection, spared),
            scan=scans.get(file.path, {}),
        )
        for file in listing.values()
    )
    return Outlook(target=target, repo=source.repo, commit=standing.commit, files=files, scans=scans)


def _left_out(path: str, selection: Selection, spared: Iterable[str]) -> str | None:
    if not selection.wants(path):
        return "not selected"
    return "no loader reads it beside safetensors" if path in spared else None


def _kind(path: str) -> str:
    name = path.lower()
    if name.endswith(SAFETENSORS):
        return "safetensors"
    if name.endswith((*PICKLES, ".joblib", ".dill", ".npy", ".npz")):
        return "pickle"
    if name.endswith(OTHERS):
        return "other framework"
    if name.endswith((".py", ".sh", ".ps1", ".bat", ".ipynb", ".so", ".dll", ".exe")):
        return "code"
    return "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A repository before anything of it is here."""

    target: str
    repo: str
    commit: str
    files: tuple[Foreseen, ...]
    scans: Scans

    @property
    def fetched(self) -> list[Foreseen]:
        """The files that a verification would look at."""
        return [file for file in self.files if file.left_out is None]

    @property
    def verdict(self) -> str:
        """What the names come to: ``pickles``, ``code``, ``no weights``, or ``nothing against it``; never a pass."""
        kinds = {file.kind for file in self.fetched}
        if "pickle" in kinds:
            return "pickles"
        if "code" in kinds:
            return "code"
        return "nothing against it" if kinds & {"safetensors", "other framework"} else "no weights"

    def document(self) -> dict[str, object]:
        """The form for programs."""
        return {
            "target": self.target,
            "repo": self.repo,
            "revision": self.commit,
            "from_names": self.verdict,
            "to_fetch_bytes": sum(file.size for file in self.fetched if not file.cached),
            "files": [
                {
                    "path": file.path,
                    "size": file.size,
                    "kind": file.kind,
                    "cached": file.cached,
                    "left_out": file.left_out,
                    "hub_scan": dict(file.scan) or NOT_SCANNED,
                }
                for file in self.files
            ],
        }

    def lines(self) -> list[str]:
        """The form for people."""
        from aiverify.reporters.hostile import printable
        from aiverify.reporters.quantities import size

        absent = [file for file in self.fetched if not file.cached]
        head = f"{printable(self.target)} at {self.commit}: dry run, nothing was downloaded or examined"
        lines = [head]
        for file in self.files:
            state = "left out: " + file.left_out if file.left_out else "in the cache" if file.cached else "to fetch"
            scan = file.scan.get("status", NOT_SCANNED if not file.scan else ", ".join(sorted(file.scan.values())))
            lines.append(f"  {printable(file.path)}  {size(file.size)}  {file.kind}  {state}  (Hub's scan: {scan})")
        lines.append(f"to fetch: {len(absent)} files, {size(sum(file.size for file in absent))}")
        lines.append(f"by their names: {_SAID[self.verdict]}")
        return lines


_SAID = {
    "pickles": "pickles would be loaded; whether they are harmless can only be seen in them",
    "code": "there is code beside the weights; what it does can only be seen in it",
    "no weights": "there are no model weights among them",
    "nothing against it": "nothing speaks against them, and nothing is proved",
}
