"""The convert stage: twins, receipts and shard indexes for the checkpoints of one artifact, all of them or none.

Rules it keeps:

1. Nothing is written into the artifact or into a Hub cache: what was verified stays what it was.
2. Nothing is overwritten. If one checkpoint fails, the files of this run are removed again.
3. An index is written only when every one of its shards was converted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aiverify.convert.index import ShardIndex, twin_index, twin_index_path, twin_paths
from aiverify.convert.plan import ConversionError, ConversionPlan
from aiverify.convert.publishing import new_file
from aiverify.convert.reading import write_exactly
from aiverify.convert.receipt import SUFFIX, PickleFacts, SourceFacts, receipt
from aiverify.convert.writer import write_twin
from aiverify.progress import Progress
from aiverify.report import Conversion

_CACHED_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheckpoint:
    """A checkpoint to convert: its POSIX path in the artifact, where it lies, its SHA-256, and what was made of it."""

    path: str
    location: Path
    sha256: str
    plan: ConversionPlan
    pickle: PickleFacts


def convert_checkpoints(
    checkpoints: Sequence[PlannedCheckpoint],
    output: Path,
    progress: Progress,
    *,
    repo: str | None = None,
    revision: str | None = None,
    artifact_root: Path | None = None,
    hub_cache: Path | None = None,
    indexes: Sequence[ShardIndex] = (),
) -> tuple[Conversion, ...]:
    """Write twin and receipt of every checkpoint, and the index of each sharded one, into the folder ``output``.

    ``artifact_root`` is the folder of the artifact (``None`` for a single file), ``hub_cache`` the Hub cache in use if
    it is not the usual one; neither is written to. Raises ConversionError; then no file of this run is left.
    """
    _check_folder(output, artifact_root, hub_cache)
    twins = twin_paths([checkpoint.path for checkpoint in checkpoints])
    rebuilt = [_rebuilt(index, checkpoints, twins) for index in indexes]
    progress.stage("convert", sum(item.plan.source_size + item.plan.output_size for item in checkpoints))
    conversions: list[Conversion] = []
    with _all_or_nothing() as written:
        for checkpoint in checkpoints:
            progress.detail(checkpoint.path)
            twin = twins[checkpoint.path]
            target = _target(output, twin, written)
            digests = write_twin(checkpoint.location, checkpoint.plan, target, progress, sha256=checkpoint.sha256)
            written.append(target)
            source = SourceFacts(
                name=checkpoint.path,
                size=checkpoint.plan.source_size,
                sha256=digests.source,
                repo=repo,
                revision=revision,
            )
            record = receipt(target.name, source, checkpoint.pickle, checkpoint.plan, digests)
            _write(_target(output, twin + SUFFIX, written), record, written)
            conversions.append(_conversion(checkpoint, twin))
        for path, content in rebuilt:
            _write(_target(output, path, written), content, written)
    return tuple(conversions)


def _conversion(checkpoint: PlannedCheckpoint, twin: str) -> Conversion:
    return Conversion(
        source=checkpoint.path,
        tensors=checkpoint.plan.names,
        dropped=checkpoint.plan.dropped,
        output=twin,
        receipt=twin + SUFFIX,
    )


def _check_folder(output: Path, artifact_root: Path | None, hub_cache: Path | None) -> None:
    """Refuse a folder whose content somebody else vouches for."""
    try:
        reason = _why_not(output.resolve(), artifact_root, hub_cache)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise ConversionError(f"{output} cannot be used: {error}") from error
    if reason:
        raise ConversionError(f"{output} {reason}", hint="Choose a folder of its own.")


def _why_not(output: Path, artifact_root: Path | None, hub_cache: Path | None) -> str | None:
    lineage = (output, *output.parents)
    if artifact_root is not None and artifact_root.resolve() in lineage:
        return "lies inside the artifact"
    if any(cache in lineage for cache in _hub_caches(hub_cache)):
        return "lies inside the Hub cache"
    for folder in lineage:
        marks = (folder.parent / "CACHEDIR.TAG", folder / "snapshots", folder / "blobs")
        if _CACHED_REPOSITORY.fullmatch(folder.name) and any(mark.exists() for mark in marks):
            return "lies inside a Hub cache"
    return "is not a folder" if output.exists() and not output.is_dir() else None


def _hub_caches(given: Path | None) -> Iterator[Path]:
    """Where the Hub client keeps its cache, by its own rules (``huggingface_hub.constants``) and ``given``."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    hub = Path(os.environ.get("HF_HOME") or home) / "hub"
    for cache in (given, os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE"), hub):
        if cache:
            yield Path(cache).expanduser().resolve()


def _rebuilt(
    index: ShardIndex, checkpoints: Sequence[PlannedCheckpoint], twins: Mapping[str, str]
) -> tuple[str, bytes]:
    """Path and content of the index of the twins, from the tensors that they store."""
    members = set(index.shards.values())
    missing = sorted(members.difference(twins))
    if missing:
        raise ConversionError(
            f"{index.path} names {len(missing)} shards that are not converted, the first is {missing[0]}",
            hint="A model with a part of its shards is of no use. Convert all of them.",
        )
    path = PurePosixPath(twin_index_path(index.path))
    shards: dict[str, str] = {}
    total = 0
    for checkpoint in checkpoints:
        if checkpoint.path not in members:
            continue
        for tensor in checkpoint.plan.tensors:
            if tensor.name in shards:
                raise ConversionError(f"two shards of {index.path} hold the tensor {tensor.name}")
            shards[tensor.name] = str(PurePosixPath(twins[checkpoint.path]).relative_to(path.parent))
            total += tensor.length
    return str(path), twin_index(shards, total)


def _target(output: Path, relative: str, written: list[Path]) -> Path:
    """The place of an output file; folders that are needed for it are made, and noted in ``written``."""
    parts = PurePosixPath(relative).parts
    if ".." in parts or PurePosixPath(relative).is_absolute():
        raise ConversionError(f"{relative!r} is not a path inside the output folder")
    target = output.joinpath(*parts)
    try:
        missing = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            written.append(folder)
    except OSError as error:
        raise ConversionError(f"the folder {target.parent} could not be made: {error.strerror}") from error
    return target


def _write(target: Path, content: bytes, written: list[Path]) -> None:
    with new_file(target) as draft:
        write_exactly(draft.file, memoryview(content), 0)
    written.append(target)


@contextmanager
def _all_or_nothing() -> Iterator[list[Path]]:
    """Collects what the block writes, and removes it again if the block fails."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in reversed(written):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise
