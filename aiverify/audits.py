"""The audit of one locked artifact: the Hub is asked, the locked bytes are verified by today's rules, pins move on.

The rules:

- What the Hub says joins what the verification finds, and both are judged together.
- A commit that is not to be had any more is verified from the cache, if it is there.
- Where nobody can be asked and nothing is to be examined, there is no answer: a folder, or no network.
- A pin moves over a branch that went on, another policy, and other files of a folder, and over nothing else: not to
  another signer, another repository or other bytes of the same commit. It moves after a full verification that passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aiverify.artifact import Artifact, SourceKind
from aiverify.finding import Finding
from aiverify.lock.auditing import MOVABLE, asked, judged_otherwise, stale
from aiverify.lock.comparison import signer_differences
from aiverify.lock.lockfile import LockedArtifact
from aiverify.lock.locking import locked_artifact, twins_beside
from aiverify.lock.naming import named
from aiverify.lock.pinning import selection_of
from aiverify.options import Options
from aiverify.pipeline import run
from aiverify.progress import Progress
from aiverify.report import Outcome, Report
from aiverify.reporting import Reports
from aiverify.sources.hub import HubSource
from aiverify.sources.interface import Selection, Source, SourceError
from aiverify.sources.target import HUB_SCHEME

_CONTENT = frozenset(("AIV602", "AIV603"))
_SIGNER = "AIV604"


@dataclass(frozen=True, slots=True)
class Auditor:
    """How locked artifacts are looked at. ``options`` are those of their verification, ``twins`` their folder.

    ``quick``: nothing is fetched or examined. ``fix``: look for what may take the place of an entry.
    """

    options: Options
    twins: Path | None = None
    quick: bool = False
    fix: bool = False

    def report(self, locked: LockedArtifact, progress: Progress) -> tuple[Report, LockedArtifact | None]:
        """The report on what was locked, and the entry that may take its place, if it is looked for and there is one.

        Raises SourceError when the Hub, or the files, cannot be had.
        """
        source = self._source(locked)
        online = isinstance(source, HubSource) and not self.options.hub.offline
        if self.quick and not online:
            raise SourceError(
                f"{locked.target}: --quick asks the Hub alone, which cannot be asked about this", hint="Leave it out."
            )
        said = judged_otherwise(locked, self.options.policy.digest)
        if self.twins is not None:
            said += stale(locked, self.twins)
        if isinstance(source, HubSource) and online:
            said += asked(locked, source)
        if self.quick:
            return Reports(locked.target, self.options.policy).known(_artifact(locked), said), None
        report = self._verified(locked, source, said, progress)
        if not self.fix:
            return report, None
        return self._moved_on(locked, report, {item.rule for item in said}, progress)

    def _source(self, locked: LockedArtifact) -> Source:
        hub = replace(self.options.hub, revision=locked.commit)
        if locked.commit is None:
            return named(locked.target, hub).source
        return named(f"{HUB_SCHEME}{locked.target.removeprefix(HUB_SCHEME)}", hub).source

    def _verified(self, locked: LockedArtifact, source: Source, said: Sequence[Finding], progress: Progress) -> Report:
        """The report on the locked bytes, by today's rules."""
        gone = any(item.rule == "AIV606" for item in said)
        options = replace(
            self.options, source=source, selection=selection_of(locked), locked=locked, noticed=tuple(said)
        )
        if not gone or locked.commit is None:
            return run(locked.target, options, progress)
        offline = replace(self.options, hub=replace(self.options.hub, offline=True))
        try:
            source = replace(self, options=offline)._source(locked)
            return run(locked.target, replace(options, hub=offline.hub, source=source), progress)
        except SourceError:
            return Reports(locked.target, self.options.policy).known(_artifact(locked), said)

    def _moved_on(
        self, locked: LockedArtifact, report: Report, said: set[str], progress: Progress
    ) -> tuple[Report, LockedArtifact | None]:
        """The report on, and the entry for, what is where the lock looked; the old ones where no pin may move."""
        differs = {item.rule for item in report.findings} & {*_CONTENT, _SIGNER}
        local = locked.commit is None
        if not said <= MOVABLE or _SIGNER in differs or (differs and not local) or not (said or differs):
            return report, None
        source = self._source(locked)
        if isinstance(source, HubSource):
            hub = replace(self.options.hub, revision=locked.revision)
            source = HubSource(source.repo, hub, locked.target)
        selection = Selection(include=locked.include, exclude=locked.exclude, lean=_is_lean(locked))
        fresh = run(locked.target, replace(self.options, source=source, selection=selection), progress)
        if fresh.verdict.outcome is not Outcome.PASS:
            return fresh, None
        standing = source.standing(fresh.artifact.revision) if isinstance(source, HubSource) else None
        if standing is not None and standing.created != (locked.created or standing.created):
            return report, None  # made anew since the Hub was first asked
        kept = {(file.path, file.sha256) for file in fresh.artifact.files}
        sources = {file.path: file.sha256 for file in locked.files}
        twins = [twin for twin in locked.twins if (twin.source, sources.get(twin.source)) in kept]
        if fresh.artifact.source is SourceKind.FOLDER:
            twins = list(twins_beside(fresh, Path(locked.target)))
        entry = locked_artifact(
            locked.target,
            fresh,
            revision=locked.revision,
            standing=standing,
            include=locked.include,
            exclude=locked.exclude,
            twins=twins,
        )
        if signer_differences(locked, entry.signers):
            return report, None
        return fresh, entry


def _is_lean(locked: LockedArtifact) -> bool:
    """Whether what no loader would read was left out when this was locked."""
    from aiverify.sources.lean import needless

    return not needless(file.path for file in locked.files)


def _artifact(locked: LockedArtifact) -> Artifact:
    """A locked artifact of which no file was looked at."""
    if locked.commit is None:
        return Artifact(source=SourceKind.FOLDER, files=())
    repo = locked.target.removeprefix(HUB_SCHEME)
    return Artifact(source=SourceKind.HUB, files=(), repo=repo, revision=locked.commit)
