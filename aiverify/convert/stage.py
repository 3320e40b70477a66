"""The convert stage: twins, receipts and shard indexes for the checkpoints of one artifact.

Rules it keeps:

1. Nothing is written into the artifact or into a Hub cache: what was verified stays what it was.
2. Nothing is overwritten. A file that stands already is kept if it is, byte for byte, what would be written; any other
   refuses the whole run before anything is written. So a run that was stopped is completed by the next one.
3. What is finished stays when a run is stopped or fails, with two exceptions: folders that would stay empty, and
   everything that was written from an artifact whose files are no longer what was examined.
4. An index is written last, with a receipt of its own, and only when every one of its shards was converted.
5. Nothing gets a name before whoever runs the stage has cleared it: digests and signatures may still be in the making
   when the work on a single checkpoint begins. Where there is more to write, or to compare, they come first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from aiverify.convert.clearance import Clearance
from aiverify.convert.folder import check_folder, check_room
from aiverify.convert.index import ShardIndex, rebuilt_index, twin_index_path, twin_paths
from aiverify.convert.plan import ConversionError, ConversionPlan, SourceChangedError, StorageChecksumError
from aiverify.convert.publishing import ExistsError, new_file
from aiverify.convert.reading import write_exactly
from aiverify.convert.receipt import SUFFIX, PickleFacts, SourceFacts, index_receipt, receipt
from aiverify.convert.writer import Known, TwinDigests, compare_twin, open_regular, write_twin
from aiverify.digests.hashing import Identity
from aiverify.progress import Progress
from aiverify.report import Conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheckpoint:
    """A checkpoint to convert: its POSIX path in the artifact, where it lies, and what was made of it.

    ``identity`` tells which file was read. Without it the file is hashed, and must have the SHA-256 if that is stated.
    """

    path: str
    location: Path
    sha256: str | None = None
    plan: ConversionPlan
    pickle: PickleFacts
    identity: Identity | None = None


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
    digests: bool = True,
    clear: Callable[[], Clearance] = Clearance,
) -> tuple[Conversion, ...]:
    """Write twin and receipt of every checkpoint, and the index of each sharded one, into the folder ``output``.

    ``artifact_root`` is the folder of the artifact (``None`` for a single file), ``hub_cache`` the Hub cache in use if
    it is not the usual one; neither is written to. Without ``digests`` it is faster, and less is proved. ``clear`` is
    called once, before anything gets a name; it may raise WithheldError. Raises ConversionError.
    """
    check_folder(output, artifact_root, hub_cache)
    plans = {checkpoint.path: checkpoint.plan for checkpoint in checkpoints}
    twins = twin_paths(plans)
    rebuilt = dict(rebuilt_index(index, plans, twins) for index in indexes)
    taken = [*twins.values(), *(path + SUFFIX for path in (*twins.values(), *rebuilt))]
    run = _Run(output, progress, clear, taken, rebuilt, repo=repo, revision=revision, digests=digests)
    standing = [item for item in checkpoints if run.stands(twins[item.path])]
    missing = [item for item in checkpoints if item not in standing]
    if standing or len(missing) > 1:
        run.cleared()
    progress.stage("convert", sum(item.plan.source_size + item.plan.output_size for item in checkpoints))
    records = {item.path: run.compared(item, twins[item.path]) for item in standing}
    for item in missing:
        run.refuse(twins[item.path] + SUFFIX)
    for index in indexes:
        if any(item.path in index.shards.values() for item in missing):
            run.refuse(twin_index_path(index.path) + SUFFIX)
        else:
            run.compare(twin_index_path(index.path) + SUFFIX, run.index_receipt(index, rebuilt))
    check_room(output, sum(item.plan.output_size for item in missing))
    with run.taking_back():
        for item in standing:
            run.write_receipt(item, twins[item.path], records[item.path])
        for item in missing:
            run.convert(item, twins[item.path])
        run.write_small()
        for index in indexes:
            run.write(twin_index_path(index.path) + SUFFIX, partial(run.index_receipt, index, rebuilt))
    return tuple(_conversion(item, twins[item.path], run.sha256(twins[item.path])) for item in checkpoints)


class _Run:
    """The files of one run below the folder ``output``, given by their POSIX paths in it."""

    def __init__(
        self,
        output: Path,
        progress: Progress,
        clear: Callable[[], Clearance],
        taken: Sequence[str],
        indexes: Mapping[str, bytes],
        *,
        repo: str | None,
        revision: str | None,
        digests: bool,
    ) -> None:
        """``taken`` are the paths of twins and receipts, ``indexes`` the other files that are known from the start."""
        self.output = output
        self.progress = progress
        self.repo = repo
        self.revision = revision
        self.digests = digests
        self.made: list[Path] = []
        self._twins: dict[str, str | None] = {}
        self._clear = clear
        self._clearance: Clearance | None = None
        self._taken = taken
        self._small: dict[str, Callable[[], Iterable[bytes]]] = {
            path: partial(iter, [text]) for path, text in indexes.items()
        }
        _check_names([*taken, *self._small])

    def cleared(self) -> Clearance:
        """What the run is cleared with. Asks for it the first time, and looks at what stands in the way by then."""
        if self._clearance is None:
            clearance = self._clear()
            companions = {item.path: item.content for item in clearance.companions}
            _check_names([*self._taken, *(item.path for item in clearance.companions), *self._small])
            self._small = {**companions, **self._small}
            for path, read in self._small.items():
                if self.stands(path):
                    self.compare(path, read())
            self._clearance = clearance
        return self._clearance

    def sha256(self, twin: str) -> str | None:
        """The digest of a twin that stands or was written, where it was taken."""
        return self._twins[twin]

    def stands(self, path: str) -> bool:
        """Whether there is something at ``path``."""
        return os.path.lexists(self._place(path))

    def refuse(self, path: str) -> None:
        """Raise ExistsError if there is something at ``path``."""
        if self.stands(path):
            raise ExistsError(self._place(path))

    def compare(self, path: str, content: Iterable[bytes]) -> None:
        """Raise ExistsError if there is something else than ``content`` at ``path``."""
        if not self.stands(path):
            return
        with open_regular(self._place(path), follow=False) as file:
            if file is None or not _holds(file, content):
                raise ExistsError(self._place(path))

    def compared(self, item: PlannedCheckpoint, twin: str) -> TwinDigests:
        """Compare a twin that stands, and its receipt. Raises ExistsError if either is not what would be written."""
        self.progress.detail(f"{item.path} (its twin stands already)")
        target = self._place(twin)
        known = Known(sha256=item.sha256, identity=item.identity)
        digests = compare_twin(item.location, item.plan, target, self.progress, known=known, digests=self.digests)
        self.compare(twin + SUFFIX, self._receipt(item, target, digests))
        self._twins[twin] = digests.twin
        return digests

    def convert(self, item: PlannedCheckpoint, twin: str) -> None:
        """Write the twin of ``item``, and then its receipt."""
        self.progress.detail(item.path)
        target = self._place(twin, make=True)
        try:
            digests = write_twin(
                item.location,
                item.plan,
                target,
                self.progress,
                known=Known(sha256=item.sha256, identity=item.identity),
                digests=self.digests,
                cleared=self.cleared,
            )
        except StorageChecksumError as error:
            error.source = item.path
            raise
        self.made.append(target)
        self._twins[twin] = digests.twin
        self.write_receipt(item, twin, digests)

    def write_receipt(self, item: PlannedCheckpoint, twin: str, digests: TwinDigests) -> None:
        """Write the receipt of the file ``twin``, unless it stands there already."""
        self.write(twin + SUFFIX, partial(self._receipt, item, self._place(twin), digests))

    def index_receipt(self, index: ShardIndex, rebuilt: Mapping[str, bytes]) -> list[bytes]:
        """The receipt of the index that was ``rebuilt`` in place of ``index``, all of whose twins are there."""
        path = twin_index_path(index.path)
        return [index_receipt(PurePosixPath(path), rebuilt[path], index.path, self._twins)]

    def write_small(self) -> None:
        """Write companions and indexes, unless they stand there already."""
        self.cleared()
        for path, read in self._small.items():
            self.write(path, read)

    def write(self, path: str, content: Callable[[], Iterable[bytes]]) -> None:
        """Write the file ``path``, unless it stands there already with just this content."""
        if self.stands(path):
            self.compare(path, content())
            return
        target = self._place(path, make=True)
        with new_file(target) as draft:
            done = 0
            for part in content():
                write_exactly(draft.file, memoryview(part), done)
                done += len(part)
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

    def _receipt(self, item: PlannedCheckpoint, target: Path, digests: TwinDigests) -> Iterator[bytes]:
        clearance = self.cleared()
        source = SourceFacts(
            name=item.path,
            size=item.plan.source_size,
            sha256=clearance.sha256.get(item.path) or digests.source,
            repo=self.repo,
            revision=self.revision,
        )
        return receipt(target.name, source, item.pickle, item.plan, digests, salvaged=clearance.salvaged)

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


def _conversion(checkpoint: PlannedCheckpoint, twin: str, sha256: str | None) -> Conversion:
    return Conversion(
        source=checkpoint.path,
        tensors=checkpoint.plan.names,
        dropped=checkpoint.plan.dropped,
        output=twin,
        receipt=twin + SUFFIX,
        sha256=sha256,
    )


def _holds(file: int, content: Iterable[bytes]) -> bool:
    """Whether the file holds ``content``, and nothing else."""
    with os.fdopen(os.dup(file), "rb") as opened:
        return all(opened.read(len(part)) == part for part in content) and not opened.read(1)


def _check_names(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise ConversionError(f"two files would be written to {path}")
        seen.add(path)
