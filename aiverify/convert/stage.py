"""The convert stage: twins, receipts and shard indexes for the checkpoints of one artifact.

Rules it keeps:

1. Nothing is written into the artifact or into a Hub cache: what was verified stays what it was.
2. Nothing is overwritten. A file that stands already is kept if it is, byte for byte, what would be written; any other
   refuses the whole run before anything is written. So a run that was stopped is completed by the next one.
3. What is finished stays when a run is stopped or fails, with two exceptions: folders that would stay empty, and
   everything that was written from an artifact whose files are no longer what was examined.
4. An index is written last, and only when every one of its shards was converted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from aiverify.convert.folder import check_folder, check_room
from aiverify.convert.index import ShardIndex, twin_index, twin_index_path, twin_paths
from aiverify.convert.plan import ConversionError, ConversionPlan, SourceChangedError, StorageChecksumError
from aiverify.convert.publishing import ExistsError, new_file
from aiverify.convert.reading import write_exactly
from aiverify.convert.receipt import SUFFIX, PickleFacts, SourceFacts, receipt
from aiverify.convert.writer import Known, TwinDigests, compare_twin, open_regular, write_twin
from aiverify.digests.hashing import Identity
from aiverify.progress import Progress
from aiverify.report import Conversion

_MAX_COMPANION = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheckpoint:
    """A checkpoint to convert: its POSIX path in the artifact, where it lies, its SHA-256, and what was made of it.

    ``identity`` tells which file had the SHA-256; without it, it is taken again.
    """

    path: str
    location: Path
    sha256: str
    plan: ConversionPlan
    pickle: PickleFacts
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A small file that goes beside the twins as it is: its POSIX path, where it lies, and the SHA-256 it must have."""

    path: str
    location: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How twins are made. Without ``digests`` it is faster, and less is proved; ``salvaged``: the source is blocked."""

    digests: bool = True
    salvaged: bool = False


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
    companions: Sequence[Companion] = (),
    manner: Manner = Manner(),
) -> tuple[Conversion, ...]:
    """Write twin and receipt of every checkpoint, and the index of each sharded one, into the folder ``output``.

    ``artifact_root`` is the folder of the artifact (``None`` for a single file), ``hub_cache`` the Hub cache in use if
    it is not the usual one; neither is written to. ``companions`` are copied as they are. Raises ConversionError.
    """
    check_folder(output, artifact_root, hub_cache)
    twins = twin_paths([checkpoint.path for checkpoint in checkpoints])
    paths = [item.path for item in companions] + [twin_index_path(index.path) for index in indexes]
    small: dict[str, Callable[[], bytes]] = {item.path: partial(_content, item) for item in companions}
    for index in indexes:
        path, content = _rebuilt(index, checkpoints, twins)
        small[path] = partial(bytes, content)
    _check_names([*twins.values(), *(twin + SUFFIX for twin in twins.values()), *paths])
    run = _Run(output, repo, revision, manner, progress)
    progress.stage("convert", sum(item.plan.source_size + item.plan.output_size for item in checkpoints))
    standing = [item for item in checkpoints if run.stands(twins[item.path])]
    missing = [item for item in checkpoints if item not in standing]
    records = {item.path: run.compared(item, twins[item.path]) for item in standing}
    for item in missing:
        run.refuse(twins[item.path] + SUFFIX)
    for path, read in small.items():
        if run.stands(path):
            run.compare(path, read())
    check_room(output, sum(item.plan.output_size for item in missing))
    with run.taking_back():
        for item in standing:
            run.write(twins[item.path] + SUFFIX, records[item.path])
        for item in missing:
            run.convert(item, twins[item.path])
        for path, read in small.items():
            run.write(path, read())
    return tuple(_conversion(item, twins[item.path]) for item in checkpoints)


class _Run:
    """The files of one run below the folder ``output``, given by their POSIX paths in it."""

    def __init__(
        self, output: Path, repo: str | None, revision: str | None, manner: Manner, progress: Progress
    ) -> None:
        self.output = output
        self.repo = repo
        self.revision = revision
        self.manner = manner
        self.progress = progress
        self.made: list[Path] = []

    def stands(self, path: str) -> bool:
        """Whether there is something at ``path``."""
        return os.path.lexists(self._place(path))

    def refuse(self, path: str) -> None:
        """Raise ExistsError if there is something at ``path``."""
        if self.stands(path):
            raise ExistsError(self._place(path))

    def compare(self, path: str, content: bytes) -> None:
        """Raise ExistsError if there is something else than ``content`` at ``path``."""
        if not self.stands(path):
            return
        with open_regular(self._place(path), follow=False) as file:
            if file is None or os.fstat(file).st_size != len(content) or _read(file, len(content)) != content:
                raise ExistsError(self._place(path))

    def compared(self, item: PlannedCheckpoint, twin: str) -> bytes:
        """The receipt of a twin that stands already. Raises ExistsError if it is not what would be written."""
        self.progress.detail(f"{item.path} (its twin stands already)")
        target = self._place(twin)
        known = Known(sha256=item.sha256, identity=item.identity)
        digests = compare_twin(
            item.location, item.plan, target, self.progress, known=known, digests=self.manner.digests
        )
        record = self._receipt(item, target, digests)
        self.compare(twin + SUFFIX, record)
        return record

    def convert(self, item: PlannedCheckpoint, twin: str) -> None:
        """Write the twin of ``item``, and then its receipt."""
        self.progress.detail(item.path)
        target = self._place(twin, make=True)
        known = Known(sha256=item.sha256, identity=item.identity)
        digests = write_twin(item.location, item.plan, target, self.progress, known=known, digests=self.manner.digests)
        self.made.append(target)
        self.write(twin + SUFFIX, self._receipt(item, target, digests))

    def write(self, path: str, content: bytes) -> None:
        """Write ``content`` to ``path``, unless it stands there already."""
        if self.stands(path):
            self.compare(path, content)
            return
        target = self._place(path, make=True)
        with new_file(target) as draft:
            write_exactly(draft.file, memoryview(content), 0)
        self.made.append(target)

    @contextmanager
    def taking_back(self) -> Iterator[None]:
        """On an error in the block, remove folders that stayed empty; all that was written, if the source changed."""
        try:
            yield
        except BaseException as error:
            changed = isinstance(error, SourceChangedError | StorageChecksumError)
            for path in reversed(self.made):
                with suppress(OSError):
                    if path.is_dir():
                        path.rmdir()
                    elif changed:
                        path.unlink()
            raise

    def _receipt(self, item: PlannedCheckpoint, target: Path, digests: TwinDigests) -> bytes:
        source = SourceFacts(
            name=item.path,
            size=item.plan.source_size,
            sha256=digests.source,
            repo=self.repo,
            revision=self.revision,
        )
        return receipt(target.name, source, item.pickle, item.plan, digests, salvaged=self.manner.salvaged)

    def _place(self, relative: str, *, make: bool = False) -> Path:
        """Where an output file belongs; with ``make`` its folders are made, and noted in ``made``."""
        parts = PurePosixPath(relative).parts
        if ".." in parts or PurePosixPath(relative).is_absolute():
            raise ConversionError(f"{relative!r} is not a path inside the output folder")
        folder = self.output
        for part in parts[:-1]:
            folder = folder / part
            if folder.is_symlink():
                raise ConversionError(
                    f"{folder} is a link, which may lead anywhere", hint="Choose a folder without links in it."
                )
        if make:
            self._make(folder)
        return folder / parts[-1]

    def _make(self, wanted: Path) -> None:
        try:
            missing = [folder for folder in (wanted, *wanted.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                self.made.append(folder)
        except OSError as error:
            raise ConversionError(f"the folder {wanted} could not be made: {error.strerror}") from error


def _conversion(checkpoint: PlannedCheckpoint, twin: str) -> Conversion:
    return Conversion(
        source=checkpoint.path,
        tensors=checkpoint.plan.names,
        dropped=checkpoint.plan.dropped,
        output=twin,
        receipt=twin + SUFFIX,
    )


def _content(item: Companion) -> bytes:
    """The bytes of a companion, which must be the ones that were examined."""
    with open_regular(item.location, follow=True) as file:
        size = os.fstat(file).st_size if file is not None else _MAX_COMPANION + 1
        if file is None or size > _MAX_COMPANION:
            raise ConversionError(
                f"{item.path} is too large to be copied beside the twins", hint="Leave it out with --exclude."
            )
        content = _read(file, size)
    if hashlib.sha256(content).hexdigest() != item.sha256:
        raise SourceChangedError(f"{item.path} was changed since it was examined")
    return content


def _read(file: int, size: int) -> bytes:
    """Up to ``size`` bytes from the beginning, and one more if there are more."""
    with os.fdopen(os.dup(file), "rb") as opened:
        return opened.read(size + 1)


def _check_names(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise ConversionError(f"two files would be written to {path}")
        seen.add(path)


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
