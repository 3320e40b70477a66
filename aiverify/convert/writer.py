"""Writes a twin as its plan says, and takes the digests that its receipt states.

Rules it keeps:

1. The source is opened once. Its SHA-256 and the checksums of the archive entries are taken from the very chunks that
   are copied (strided tensors are read again); if one is not as stated, or the file is not the same before and after,
   no twin appears.
2. Digests of the twin are taken by reading back what was written.
3. The twin is opened by the safetensors library and compared with the plan before it gets its name.
4. Memory does not grow with the file, and nothing is ever overwritten.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiverify.convert.check import check_twin
from aiverify.convert.gather import Write, gather
from aiverify.convert.plan import ConversionError, ConversionPlan, SourceChangedError, StorageChecksumError, Transform
from aiverify.convert.publishing import Draft, new_file
from aiverify.convert.reading import Consumer, Ranges, range_digests, read_exactly, read_through, write_exactly
from aiverify.progress import Progress

_SPARE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinDigests:
    """SHA-256 in lower-case hex: of the source file, of the twin (``size`` bytes), of each stored tensor's bytes."""

    source: str
    twin: str
    size: int
    tensors: Mapping[str, str]


def write_twin(
    source: Path, plan: ConversionPlan, output: Path, progress: Progress, *, sha256: str | None = None
) -> TwinDigests:
    """Write the twin ``output`` of the file ``source``. The folder of ``output`` must exist.

    ``sha256`` is what the source file is known to have. ``progress`` advances by the size of the source and that of the
    twin. Raises ConversionError; then there is no file ``output``.
    """
    _check_space(output.parent, plan.output_size)
    with new_file(output) as draft:
        with _opened(source, plan.source_size) as file:
            found = _copy(file, plan, draft, progress)
        if sha256 is not None and found != sha256:
            raise SourceChangedError(f"{source.name} has the SHA-256 {found}, expected {sha256}")
        with ThreadPoolExecutor(1) as disk:
            synced = disk.submit(os.fsync, draft.file)
            twin, tensors = _digests(plan, draft, progress)
            synced.result()
        check_twin(draft.path, plan)
    return TwinDigests(source=found, twin=twin, size=plan.output_size, tensors=tensors)


@contextmanager
def _opened(source: Path, size: int) -> Iterator[int]:
    """The source file, open for reading; on leaving it must be as it was."""
    try:
        file = os.open(source.resolve(strict=True), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise ConversionError(f"{source.name} could not be read: {error}") from error
    try:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            raise ConversionError(f"{source.name} is not a regular file")
        if before.st_size != size:
            raise SourceChangedError(f"{source.name} has {before.st_size} bytes, expected {size}")
        yield file
        if _identity(before) != _identity(os.fstat(file)):
            raise SourceChangedError(f"{source.name} was changed while it was read")
    finally:
        os.close(file)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _check_space(folder: Path, needed: int) -> None:
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise ConversionError(f"the folder {folder} cannot be used: {error.strerror}") from error
    free = status.f_bavail * status.f_frsize
    if free < needed + _SPARE:
        raise ConversionError(
            f"{needed + _SPARE} bytes are needed in {folder}, but only {free} are free",
            hint="Free some space, or choose another folder.",
        )


def _copy(file: int, plan: ConversionPlan, draft: Draft, progress: Progress) -> str:
    """Write header and tensors in one pass over the source, and return the source's SHA-256."""
    os.truncate(draft.file, plan.output_size)
    write_exactly(draft.file, memoryview(plan.header), 0)
    digest = hashlib.sha256()
    checksums = [0] * len(plan.storages)
    read_through(
        file,
        plan.source_size,
        [
            lambda _, chunk: digest.update(chunk),
            _checksummer(plan, checksums),
            _copier(plan, draft),
        ],
        progress,
    )
    for storage, found in zip(plan.storages, checksums, strict=True):
        stated = storage.range.crc32
        if stated is not None and stated != found:
            raise StorageChecksumError(storage.key, stated, found)
    _gather_all(file, plan, draft)
    return digest.hexdigest()


def _checksummer(plan: ConversionPlan, checksums: list[int]) -> Consumer:
    ranges = Ranges([(storage.range.offset, storage.range.length) for storage in plan.storages])

    def consume(offset: int, chunk: memoryview) -> None:
        for index, _, part in ranges.parts(offset, chunk):
            if plan.storages[index].range.crc32 is not None:
                checksums[index] = zlib.crc32(part, checksums[index])

    return consume


def _copier(plan: ConversionPlan, draft: Draft) -> Consumer:
    copied = [tensor for tensor in plan.tensors if tensor.transform is Transform.COPY]
    ranges = Ranges([(tensor.source_offset, tensor.length) for tensor in copied])

    def consume(offset: int, chunk: memoryview) -> None:
        for index, done, part in ranges.parts(offset, chunk):
            write_exactly(draft.file, part, len(plan.header) + copied[index].offset + done)

    return consume


def _gather_all(file: int, plan: ConversionPlan, draft: Draft) -> None:
    for tensor in plan.tensors:
        if tensor.transform is not Transform.COPY:
            gather(tensor, partial(read_exactly, file), _place(draft, len(plan.header) + tensor.offset))


def _place(draft: Draft, start: int) -> Write:
    return lambda data, offset: write_exactly(draft.file, data, start + offset)


def _digests(plan: ConversionPlan, draft: Draft, progress: Progress) -> tuple[str, dict[str, str]]:
    """The SHA-256 of the twin and of each of its tensors, from what stands in the file."""
    ranges = [(len(plan.header) + tensor.offset, tensor.length) for tensor in plan.tensors]
    whole, parts = range_digests(draft.file, plan.output_size, ranges, progress)
    return whole, {tensor.name: digest for tensor, digest in zip(plan.tensors, parts, strict=True)}
