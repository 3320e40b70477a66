"""The planning half of the convert stage: what could be converted, and whether shard indexes tell the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiverify.convert.checkpoint import plan
from aiverify.convert.index import MAX_INDEX, ShardIndex, examine_index, is_index
from aiverify.convert.plan import NotConvertibleError
from aiverify.convert.proving import opened
from aiverify.convert.receipt import pickle_facts
from aiverify.convert.stage import PlannedCheckpoint
from aiverify.digests.hashing import Identity
from aiverify.finding import Finding
from aiverify.formats.checkpoint import Checkpoint
from aiverify.report import Conversion
from aiverify.rules import finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file of weights: its path in the artifact, where it lies, its size in bytes, and which file it is.

    ``sha256`` is what it must have where its identity is not known. ``checkpoint`` is what the scan left of a
    checkpoint that could be read. ``tensors`` are the names in a file that is no checkpoint, ``None`` where they are
    not known.
    """

    path: str
    location: Path
    size: int
    sha256: str | None = None
    identity: Identity | None = None
    checkpoint: Checkpoint | None = None
    tensors: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """Every checkpoint with a proved plan, every index that is valid, and what was found on the way."""

    planned: tuple[PlannedCheckpoint, ...]
    indexes: tuple[ShardIndex, ...]
    findings: tuple[Finding, ...]

    @property
    def conversions(self) -> tuple[Conversion, ...]:
        """The plans as a report states them when nothing is written."""
        return tuple(
            Conversion(source=item.path, tensors=item.plan.names, dropped=item.plan.dropped) for item in self.planned
        )


def plan_all(
    candidates: Sequence[Candidate],
    configuration: Mapping[str, Path],
    left_out: Sequence[str],
    *,
    lower: bool = False,
) -> Planning:
    """Plan every checkpoint among ``candidates``, and compare the shard indexes with what the shards hold.

    ``configuration`` are the JSON files of the artifact by path, ``left_out`` paths that the selection excluded: a
    shard among them is not missing, only absent. With ``lower``, tensors that safetensors cannot hold are taken apart.
    """
    planned: list[PlannedCheckpoint] = []
    findings: list[Finding] = []
    tensors: dict[str, tuple[str, ...] | None] = dict.fromkeys(left_out)
    for candidate in candidates:
        tensors[candidate.path] = candidate.tensors
        if candidate.checkpoint is None:
            continue
        try:
            item = _planned(candidate, candidate.checkpoint, lower=lower)
        except NotConvertibleError as error:
            findings.append(finding("AIV410", str(error), file=candidate.path))
        else:
            planned.append(item)
            aliases = (alias for alias, _ in item.plan.aliases)
            tensors[candidate.path] = (*(tensor.name for tensor in item.plan.tensors), *aliases)
    indexes: list[ShardIndex] = []
    pickled = {candidate.path for candidate in candidates if candidate.checkpoint is not None}
    for path, location in configuration.items():
        if is_index(path):
            try:
                with opened(location) as file:
                    data = file.read(MAX_INDEX + 1)
            except OSError as error:
                gone = f"it was read before, and cannot be read any more: {error.strerror or error}"
                findings.append(finding("AIV407", gone, file=path))
                continue
            index, said = examine_index(data, path, tensors)
            if index is not None and pickled.intersection(index.shards.values()):
                findings += said  # of the other indexes the scan has said it (repository/shards.py)
            indexes += [index] if index is not None else []
    return Planning(planned=tuple(planned), indexes=tuple(indexes), findings=tuple(findings))


def _planned(candidate: Candidate, checkpoint: Checkpoint, *, lower: bool) -> PlannedCheckpoint:
    graph = checkpoint.graph
    return PlannedCheckpoint(
        path=candidate.path,
        location=candidate.location,
        sha256=candidate.sha256,
        identity=candidate.identity,
        plan=plan(
            graph.root,
            graph,
            checkpoint.storages,
            byteorder=checkpoint.byteorder,
            source_size=candidate.size,
            left_out=checkpoint.left_out,
            lower=lower,
        ),
        pickle=pickle_facts(graph, checkpoint.stream_sha256),
    )
