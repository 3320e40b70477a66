"""The convert stage of one run: which twins are made, and when nothing speaks against them any more.

Every checkpoint is planned. Twins are written only if that was asked for and the policy would let a load take them. The
work on a single checkpoint may begin while its digest is still being taken; whether the policy allows it is then
decided again, on everything that is known, before a file gets its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from aiverify.artifact import Fetched, FileClass, SourceKind
from aiverify.digests.hashing import Digest
from aiverify.formats.interface import Examination, Format
from aiverify.formats.names import file_class
from aiverify.layers import layers
from aiverify.options import Conversions
from aiverify.policy import Policy
from aiverify.progress import Progress
from aiverify.report import Conversion, Outcome
from aiverify.variants import PYTORCH, SAFETENSORS, TWINS, to_convert
from aiverify.verdict import Evidence, Judgement, effect

if TYPE_CHECKING:
    from aiverify.convert.clearance import Clearance, Companion
    from aiverify.convert.planning import Planning


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """The twins of one artifact.

    ``output`` is the folder for them, ``None`` if nothing is to be written. ``complete`` adds to evidence what digests
    and signatures say, and waits for them; ``judge`` is the judgement of ``policy``.
    """

    fetched: Fetched
    wanted: Conversions
    output: Path | None
    hub_cache: Path | None
    progress: Progress
    policy: Policy
    complete: Callable[[Evidence], Evidence]
    judge: Callable[[Evidence], Judgement]

    def made(
        self, evidence: Evidence, files: Sequence[Digest], examinations: Mapping[str, Examination]
    ) -> tuple[Evidence, tuple[Conversion, ...]]:
        """The evidence with what became of the twins, and the conversions. ``files`` are those of the artifact."""
        planning = self._plan(files, examinations)
        evidence = replace(
            evidence,
            findings=[*evidence.findings, *planning.findings],
            convertible=[item.path for item in planning.planned],
        )
        sources = self._sources(evidence)
        if self.output is None:
            return evidence, planning.conversions
        if not sources:
            nothing = {"the artifact": "it has neither PyTorch checkpoints nor numpy arrays"}
            return replace(evidence, failed=nothing if self.wanted.required else {}), planning.conversions
        if self._withheld(evidence) and self._withheld(self.complete(evidence)):  # a waiver needs the digest
            return evidence, planning.conversions
        missing = set(sources).difference(evidence.convertible)
        if missing and self.wanted.preferred:
            return evidence, planning.conversions
        if missing:
            reasons = {item.file: item.message for item in planning.findings if item.rule == "AIV410"}
            failed = {path: reasons.get(path, "it could not be read as a checkpoint") for path in sorted(missing)}
            evidence = replace(evidence, failed=failed)
            if not self.wanted.salvage or len(missing) == len(sources):
                return evidence, planning.conversions
        return self._written(planning, evidence, self.output)

    def _written(self, planning: Planning, evidence: Evidence, output: Path) -> tuple[Evidence, tuple[Conversion, ...]]:
        """Write the twins. With ``salvage``, one with damaged bytes is left out, and the rest begun anew."""
        from aiverify.convert.clearance import WithheldError
        from aiverify.convert.plan import StorageChecksumError

        try:
            conversions = self._convert(planning, evidence, output)
        except WithheldError:
            return evidence, planning.conversions
        except StorageChecksumError as error:
            left = [path for path in evidence.convertible if path != error.source]
            if not self.wanted.salvage or error.source is None or not left:
                raise
            failed = {**evidence.failed, error.source: str(error)}
            return self._written(planning, replace(evidence, convertible=left, failed=failed), output)
        return replace(evidence, converted=True), conversions

    def _sources(self, evidence: Evidence) -> tuple[str, ...]:
        """The files that twins are made of."""
        if not self.wanted.preferred:
            return to_convert(evidence.families)
        beside = {PurePosixPath(path).parent for path in evidence.families.get(SAFETENSORS, ())}
        return tuple(path for path in evidence.families.get(PYTORCH, ()) if PurePosixPath(path).parent not in beside)

    def _withheld(self, evidence: Evidence) -> bool:
        return self._blocked(evidence) and not self.wanted.salvage

    def _blocked(self, evidence: Evidence) -> bool:
        """Whether the policy blocks the twin, or the artifact that it is of, before there is one."""
        judgement = self.judge(replace(evidence, converted=True))
        twins = [variant.outcome for variant in judgement.variants if variant.name in TWINS.values()]
        return Outcome.BLOCK in (*twins, judgement.verdict.outcome)

    def _plan(self, files: Sequence[Digest], examinations: Mapping[str, Examination]) -> Planning:
        from aiverify.convert.planning import Candidate, plan_all

        candidates = [
            Candidate(
                path=file.path,
                location=file.location,
                size=file.size,
                identity=file.identity,
                checkpoint=examinations[file.path].checkpoint,
                tensors=examinations[file.path].tensors,
            )
            for file in files
            if file_class(examinations[file.path].format) is FileClass.WEIGHTS
        ]
        configuration = {file.path: file.location for file in files if examinations[file.path].format is Format.JSON}
        try:
            planning = plan_all(candidates, configuration, self.fetched.left_out, lower=self.wanted.lower)
        finally:
            for examination in examinations.values():
                examination.checkpoint = None  # its graph is the largest thing in memory, and a plan does not need it
        for item in planning.planned:
            tensors = ((tensor.name, tensor.dtype, tensor.length) for tensor in item.plan.tensors)
            examinations[item.path].layers = layers(item.path, tensors)
        return planning

    def _convert(self, planning: Planning, evidence: Evidence, output: Path) -> tuple[Conversion, ...]:
        """Write the twins of the checkpoints into the folder ``output``."""
        from aiverify.convert.stage import convert_checkpoints

        wanted = set(self._sources(evidence)).intersection(evidence.convertible)
        members = [item for item in planning.planned if item.path in wanted]
        shards = {item.path for item in members}
        return convert_checkpoints(
            members,
            output,
            self.progress,
            repo=self.fetched.repo,
            revision=self.fetched.revision,
            artifact_root=self.fetched.root if self.fetched.kind is not SourceKind.FILE else None,
            hub_cache=self.hub_cache,
            indexes=[index for index in planning.indexes if shards.issuperset(index.shards.values())]
            if evidence.failed
            else [index for index in planning.indexes if shards.intersection(index.shards.values())],
            digests=self.wanted.digests,
            clear=lambda: self._clearance(evidence),
        )

    def _clearance(self, evidence: Evidence) -> Clearance:
        """The leave to publish the twins, on all evidence. Raises WithheldError."""
        from aiverify.convert.clearance import Clearance, WithheldError

        whole = self.complete(evidence)
        if self._withheld(whole) or any(item.rule == "AIV103" for item in whole.findings):
            raise WithheldError("what digests and signatures say speaks against it")
        return Clearance(
            sha256={file.path: file.sha256 for file in whole.files if file.sha256 is not None},
            companions=self._companions(whole) if self.wanted.with_config else (),
            salvaged=self._blocked(whole),
        )

    def _companions(self, evidence: Evidence) -> list[Companion]:
        """Configuration and inert files that nothing was said against, without those that are about the checkpoints."""
        from aiverify.convert.clearance import Companion
        from aiverify.convert.index import is_index

        doubtful = {item.file for item in evidence.findings if effect(item, self.policy) is not Outcome.PASS}
        doubtful |= {item.file for item in evidence.unexamined}
        places = {file.path: file.location for file in self.fetched.files}
        return [
            Companion(path=file.path, location=places[file.path], sha256=file.sha256)
            for file in evidence.files
            if file.file_class in (FileClass.CONFIG, FileClass.INERT)
            and file.sha256 is not None
            and file.path not in doubtful
            and not is_index(file.path)
            and not file.path.endswith(".sig")
        ]
