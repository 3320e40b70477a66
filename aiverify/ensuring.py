"""A model that may be loaded: verified, converted and sealed, or else known to be so from an earlier time.

The rules:

1. What passed is remembered under everything that the verdict depends on: the bytes (a repository at a commit, or the
   digests of local files), the selection, the policy, the signatures and roots that were given, the rule data, the
   second engines and this version of aiverify, all as they were when the call began. Any other question is asked anew.
2. Only a pass is remembered. What was refused is looked at again: it may have been a damaged download.
3. What passed on the word of the Hub's cache alone, offline, is not believed once the Hub can be asked.
4. What is returned is always the store's own copy, whole and looked at again; never the place that it was verified in.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import ArtifactFile, Fetched, SourceKind
from aiverify.digests.hashing import REMEMBERED
from aiverify.guard.interface import LoadRefused
from aiverify.options import Conversions, Options
from aiverify.pipeline import run
from aiverify.policy import Policy
from aiverify.progress import Progress, Silent
from aiverify.questions import asked, content_of, digest_of_text
from aiverify.report import Outcome, Report
from aiverify.sources.interface import HostileSourceError, Source
from aiverify.sources.local import FileSource
from aiverify.sources.target import open_source
from aiverify.store.interface import Snapshot, StoreError
from aiverify.store.remembering import DigestCache
from aiverify.store.store import Store
from aiverify.verdict import effect

if TYPE_CHECKING:
    from aiverify.sources.hub import HubSource
    from aiverify.store.workshop import Workshop

_RECEIPT = ".receipt.json"
_LOGIN = re.compile(r"(?<=//)[^/@]*@")


def ensure(target: str, options: Options, store: Store, progress: Progress | None = None) -> Path:
    """The sealed snapshot of ``target``: a folder, or for a single file the sealed file or its twin.

    Raises LoadRefused when the verdict is not ``pass``, and AiverifyError when there can be none.
    """
    return _Ensuring(target, options, store, progress or Silent()).place()


class _Ensuring:
    """One call."""

    def __init__(self, target: str, options: Options, store: Store, progress: Progress) -> None:
        self.target = target
        self.options = options
        self.store = store
        self.progress = progress
        self.source: Source = options.source or open_source(target, options.hub)
        self.given = self._given()
        self.asked = asked("", options.policy, options.engines)
        self.sealed: Snapshot | None = None

    def place(self) -> Path:
        known = self._recalled()
        if known is not None:
            return self._path_in(known)
        with self.store.workshop() as workshop:
            options = replace(
                self.options,
                source=self.source,
                convert_to=workshop.twins,
                conversion=Conversions(preferred=True),
                memory=DigestCache(index=self.store.index),
                copies=workshop,
                seal=functools.partial(self._seal, workshop),
            )
            report = run(self.target, options, self.progress)
        if self.sealed is None:
            raise refusal(self.target, report, self.options.policy)
        return self._path_in(self.sealed)

    def _path_in(self, snapshot: Snapshot) -> Path:
        """What to load: for a single file that file, or what was made of it."""
        if not isinstance(self.source, FileSource):
            return snapshot.root
        return snapshot.root / next(path for path in snapshot.files if not path.endswith(_RECEIPT))

    # recalling

    def _recalled(self) -> Snapshot | None:
        """The snapshot of an earlier call, if the same question was answered then."""
        hub = self._hub()
        subjects = self._hub_subjects(hub) if hub is not None else self._local_subjects()
        for subject in subjects:
            found = self.store.recall(replace(self.asked, subject=subject))
            if found is not None and found[0].outcome == Outcome.PASS.value and found[1] is not None:
                return found[1]
        return None

    def _hub(self) -> HubSource | None:
        if isinstance(self.source, FileSource):
            return None
        hub = sys.modules.get("aiverify.sources.hub")  # whoever made such a source has imported it
        return self.source if hub is not None and isinstance(self.source, hub.HubSource) else None

    def _hub_subjects(self, hub: HubSource) -> Iterable[str]:
        """The subjects under which a repository may be known. A request is sent only for a branch or tag."""
        name = f"{self._endpoint()}/{hub.repo}"
        if hub.is_pinned:
            yield self._subject("hub", f"{name}@{hub.revision}")
            if hub.offline:
                yield self._subject("hub cache", f"{name}@{hub.revision}")
            return
        offline = hub.offline
        commit = hub.commit() or self.store.index.revision(name, hub.revision)
        if commit is None:
            return
        if not offline:
            self._remember(name, hub.revision, commit)
        yield self._subject("hub", f"{name}@{commit}")
        if offline:
            yield self._subject("hub cache", f"{name}@{commit}")

    def _remember(self, name: str, revision: str, commit: str) -> None:
        try:
            if self.store.index.revision(name, revision) != commit:
                self.store.index.keep_revision(name, revision, commit)
        except StoreError:  # a store that can only be read is of use all the same
            return

    def _local_subjects(self) -> Iterable[str]:
        """The subject of local files, if their digests are known."""
        try:
            fetched = self.source.fetch(self.options.wanted, self.progress)
        except HostileSourceError:
            return
        digests = {}
        for file in fetched.files:
            digest = self._digest(file.location)
            if digest is None:
                return
            digests[file.path] = digest
        yield self._local_subject(fetched, digests)

    def _digest(self, place: Path) -> str | None:
        """The digest of a file: remembered, or taken if it is small. What cannot be read, the run says."""
        try:
            state = place.stat()
            if state.st_size >= REMEMBERED:
                return self.store.index.digest(state)
            return hashlib.sha256(place.read_bytes()).hexdigest()
        except OSError:
            return None

    # subjects

    def _endpoint(self) -> str:
        chosen = self.options.hub.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return _LOGIN.sub("", chosen.rstrip("/"))

    def _local_subject(self, fetched: Fetched, digests: dict[str, str]) -> str:
        content = {
            "files": digests,
            "left out": fetched.left_out,
            "findings": [[item.rule, item.file, item.message] for item in fetched.findings],
        }
        return self._subject(fetched.kind.value, digest_of_text(json.dumps(content, sort_keys=True)))

    def _subject(self, kind: str, what: str) -> str:
        """What the verdict is about, with all that was given for it."""
        return f"{kind} {what} {self.given}"

    def _given(self) -> str:
        """The digest of what was given for the verdict, taken before anything of it is used."""
        selection, options = self.options.wanted, self.options
        given = {
            "include": list(selection.include),
            "exclude": list(selection.exclude),
            "lean": selection.lean,
            "bundles": [content_of(bundle) for bundle in options.bundles],
            "root": content_of(options.trusted_root),
            "locked": repr(options.locked),
            "known": sorted(options.policy.known_repositories),
        }
        return digest_of_text(json.dumps(given, sort_keys=True))

    # sealing

    def _seal(self, workshop: Workshop, report: Report, fetched: Fetched) -> None:
        """Seal what passed, and remember it."""
        from aiverify.reporters.json import JsonReporter
        from aiverify.sealing import members

        if report.verdict.outcome is not Outcome.PASS:
            return
        chosen = members(report, fetched, self.options.policy, workshop.twins)
        self.progress.stage("seal", sum(member.size for member in chosen))
        self.sealed = self.store.seal(chosen, self.progress.advance, workshop)
        question = replace(self.asked, subject=self._subject_of(report.artifact.files, fetched))
        self.store.record(question, report.verdict.outcome.value, JsonReporter().render([report]), self.sealed)

    def _subject_of(self, files: Sequence[ArtifactFile], fetched: Fetched) -> str:
        if fetched.kind is not SourceKind.HUB:
            return self._local_subject(fetched, {file.path: str(file.sha256) for file in files})
        hub = self._hub()
        kind = "hub cache" if hub is None or hub.offline else "hub"
        return self._subject(kind, f"{self._endpoint()}/{fetched.repo}@{fetched.revision}")


def refusal(target: str, report: Report, policy: Policy) -> LoadRefused:
    """The refusal of an artifact whose verdict is not a pass."""
    outcome = report.verdict.outcome
    policy = policy.for_repository(report.artifact.repo)
    counting = [item for item in report.findings if effect(item, policy) is not Outcome.PASS]
    counting.sort(key=lambda item: -item.severity.rank)
    if counting:
        first = counting[0]
        file = first.file
        why = f"{file or 'the artifact'}: {first.message} ({first.rule})"
        more = len(counting) - 1
    else:
        causes = [reason for reason in report.verdict.reasons if not reason.startswith("the variant ")]
        file = report.unexamined[0].file if report.unexamined else None
        why, more = causes[0] if causes else "it could not be verified", len(causes) - 1
    lines = {
        Outcome.BLOCK: f"block_at = {policy.block_at.value}",
        Outcome.REVIEW: f"review_at = {policy.review_at.value}",
    }
    rule = f"{policy.sources[-1].name}, {lines.get(outcome, 'what could not be examined does not pass')}"
    command = _command(target, report, policy)
    others = f" and {more} more" if more > 0 else ""
    return LoadRefused(
        " ".join(f"{target}: not loaded, {outcome} by {rule}: {why}{others}".split()),
        hint=f"See more with: {command}",
        target=target,
        outcome=outcome.value,
        file=file,
        rules=tuple(dict.fromkeys(item.rule for item in counting)),
        policy=rule,
        command=command,
    )


def _command(target: str, report: Report, policy: Policy) -> str:
    words = ["aiverify", "verify", target]
    revision = report.artifact.revision
    if revision is not None and "@" not in target:
        words += ["--revision", revision]
    source = policy.sources[-1]
    if source.digest is not None:
        words += ["--policy", source.name]
    return shlex.join(words)
