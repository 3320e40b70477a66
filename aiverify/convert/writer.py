"""Writes a twin as its plan says, or compares one that stands already, and takes the digests that its receipt states.

Rules it keeps:

1. The source is opened once. The checksums of the archive entries are taken from the very bytes that are copied
   (strided tensors are read apart); if one is not as stated, or the file is not the same before and after, no twin
   appears. The source's own SHA-256 is somebody else's business where its identity is known, and taken here otherwise.
2. Digests of the twin are taken by reading back once what was written, while the rest is being written.
3. The twin is opened by the safetensors library and compared with the plan before it gets its name, and whoever
   answers for it has the last word.
4. Memory does not grow with the file, and nothing is ever overwritten.
5. Without digests the system copies the bytes by itself: then checksums and digests are absent, not assumed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiverify.convert.check import check_twin
from aiverify.convert.digesting import Follower, RangeDigests
from aiverify.convert.folder import check_space
from aiverify.convert.gather import Write, gather
from aiverify.convert.kernel import copy_ranges
from aiverify.convert.plan import ConversionError, ConversionPlan, SourceChangedError, StorageChecksumError, Transform
from aiverify.convert.publishing import ExistsError, new_file
from aiverify.convert.reading import Consumer, Ranges, read_exactly, read_in_pieces, write_exactly
from aiverify.digests.hashing import Identity
from aiverify.errors import in_words
from aiverify.progress import Progress

_COMPARED = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a source file: which file is meant, and its SHA-256.

    Without an ``identity`` the file is hashed again, and must have the SHA-256. With one, the SHA-256 may be missing.
    """

    sha256: str | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinDigests:
    """SHA-256 in lower-case hex: of the source file, of the twin (``size`` bytes), of each stored tensor's bytes.

    Those that were not taken are ``None``, or not in ``tensors``; ``checksums`` tells whether the CRC-32 of the archive
    entries were verified.
    """

    source: str | None
    size: int
    twin: str | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)
    checksums: bool = True


def write_twin(
    source: Path,
    plan: ConversionPlan,
    output: Path,
    progress: Progress,
    *,
    known: Known | None = None,
    digests: bool = True,
    cleared: Callable[[], object] = lambda: None,
) -> TwinDigests:
    """Write the twin ``output`` of the file ``source``. The folder of ``output`` must exist.

    ``progress`` advances by the size of the source and that of the twin. ``cleared`` is called when the twin is whole
    and checked, and has no name yet; it may raise. Raises ConversionError; then there is no file ``output``.
    """
    check_space(output.parent, plan.output_size)
    with new_file(output) as draft:
        with _opened(source, plan.source_size, known) as file:
            os.truncate(draft.file, plan.output_size)
            write_exactly(draft.file, memoryview(plan.header), 0)
            if digests:
                put = partial(write_exactly, draft.file)
                taken = _pass(file, plan, draft.file, put, progress, known, ours=draft.nameless)
            else:
                _copy(file, plan, draft.file, progress)
                taken = TwinDigests(source=_stated(known), size=plan.output_size, checksums=False)
        _check_source(source, taken, known)
        check_twin(draft.path, plan, name=output.name)
        cleared()
    return taken


def compare_twin(
    source: Path,
    plan: ConversionPlan,
    standing: Path,
    progress: Progress,
    *,
    known: Known | None = None,
    digests: bool = True,
) -> TwinDigests:
    """Do all that ``write_twin`` does, except that the bytes are compared with the file ``standing``, not written.

    Raises ExistsError if they differ in one byte, and what ``write_twin`` raises.
    """
    with open_regular(standing, follow=False) as twin:
        if twin is None or os.fstat(twin).st_size != plan.output_size:
            raise ExistsError(standing)
        put = _comparing(twin, standing)
        put(memoryview(plan.header), 0)
        with _opened(source, plan.source_size, known) as file:
            taken = _pass(file, plan, twin, put, progress, known)
        _check_source(source, taken, known)
    return taken if digests else TwinDigests(source=taken.source, size=taken.size, checksums=False)


@contextmanager
def open_regular(path: Path, *, follow: bool) -> Iterator[int | None]:
    """A descriptor to read the file ``path``, or ``None`` if it is no regular file. Raises OSError as a typed error."""
    try:
        real = path.resolve(strict=True) if follow else path
        file = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        if not follow and path.is_symlink():
            yield None
            return
        raise ConversionError(f"{path.name} could not be read: {in_words(error)}") from error
    try:
        yield file if stat.S_ISREG(os.fstat(file).st_mode) else None
    finally:
        os.close(file)


@contextmanager
def _opened(source: Path, size: int, known: Known | None) -> Iterator[int]:
    """The source file, which must be the one that is known, open for reading; on leaving it must be as it was."""
    with open_regular(source, follow=True) as file:
        if file is None:
            raise ConversionError(f"{source.name} is not a regular file")
        before = Identity.of(os.fstat(file))
        if before.size != size:
            raise SourceChangedError(f"{source.name} has {before.size} bytes, expected {size}")
        identity = known.identity if known is not None else None
        if identity is not None and identity != before:
            raise SourceChangedError(f"{source.name} was changed since it was examined")
        yield file
        if before != Identity.of(os.fstat(file)):
            raise SourceChangedError(f"{source.name} was changed while it was read")


def _stated(known: Known | None) -> str | None:
    """The SHA-256 of the source, as far as this very file is known to have it."""
    return known.sha256 if known is not None and known.identity is not None else None


def _check_source(source: Path, taken: TwinDigests, known: Known | None) -> None:
    if known is not None and None not in (known.sha256, taken.source) and taken.source != known.sha256:
        raise SourceChangedError(f"{source.name} has the SHA-256 {taken.source}, expected {known.sha256}")


def _pass(
    file: int,
    plan: ConversionPlan,
    twin: int,
    put: Write,
    progress: Progress,
    known: Known | None,
    *,
    ours: bool = False,
) -> TwinDigests:
    """Bring the tensors to their places in one pass over the source, with all digests and checksums.

    ``ours`` tells that ``twin`` has no name yet, so that nobody else can cut it.
    """
    source, whole = hashlib.sha256(), hashlib.sha256()
    start = len(plan.header)
    parts = RangeDigests([(start + tensor.offset, tensor.length) for tensor in plan.tensors])
    checksums = [0] * len(plan.storages)
    _gather_all(file, plan, put)
    takers: list[Consumer] = [lambda _, chunk: whole.update(chunk), parts.take]
    hashed = known is None or known.identity is None
    with Follower(twin, plan.output_size, takers, progress.advance, ours=ours) as follower:
        consumers: list[Consumer] = [_placer(plan, put, follower)]
        if any(storage.range.crc32 is not None for storage in plan.storages):
            consumers.append(_checksummer(plan, checksums))
        if hashed:
            consumers.append(lambda _, chunk: source.update(chunk))
        read_in_pieces(file, plan.source_size, consumers, progress)
        _compare_checksums(plan, checksums)
        follower.finish()
    return TwinDigests(
        source=source.hexdigest() if hashed else _stated(known),
        twin=whole.hexdigest(),
        size=plan.output_size,
        tensors={tensor.name: digest for tensor, digest in zip(plan.tensors, parts.digests, strict=True)},
    )


def _checksummer(plan: ConversionPlan, checksums: list[int]) -> Consumer:
    ranges = Ranges([(storage.range.offset, storage.range.length) for storage in plan.storages])

    def consume(offset: int, chunk: memoryview) -> None:
        for index, _, part in ranges.parts(offset, chunk):
            if plan.storages[index].range.crc32 is not None:
                checksums[index] = zlib.crc32(part, checksums[index])

    return consume


def _compare_checksums(plan: ConversionPlan, checksums: list[int]) -> None:
    for storage, found in zip(plan.storages, checksums, strict=True):
        stated = storage.range.crc32
        if stated is not None and stated != found:
            raise StorageChecksumError(storage.key, stated, found)


def _placer(plan: ConversionPlan, put: Write, follower: Follower) -> Consumer:
    """Puts every copied byte into its place, and tells the follower how far the twin is complete."""
    copied = [index for index, tensor in enumerate(plan.tensors) if tensor.transform is Transform.COPY]
    ranges = Ranges([(plan.tensors[index].source_offset, plan.tensors[index].length) for index in copied])
    missing = [0 if tensor.transform is not Transform.COPY else tensor.length for tensor in plan.tensors]
    start = len(plan.header)
    complete = 0

    def consume(offset: int, chunk: memoryview) -> None:
        nonlocal complete
        for number, done, part in ranges.parts(offset, chunk):
            index = copied[number]
            put(part, start + plan.tensors[index].offset + done)
            missing[index] -= len(part)
        while complete < len(missing) and not missing[complete]:
            complete += 1
        if complete < len(missing):
            tensor = plan.tensors[complete]
            end = start + tensor.offset + tensor.length - missing[complete]
            follower.reach(end)

    return consume


def _gather_all(file: int, plan: ConversionPlan, put: Write) -> None:
    for tensor in plan.tensors:
        if tensor.transform is not Transform.COPY:
            gather(tensor, partial(read_exactly, file), _shifted(put, len(plan.header) + tensor.offset))


def _shifted(put: Write, start: int) -> Write:
    return lambda data, offset: put(data, start + offset)


def _comparing(twin: int, path: Path) -> Write:
    def put(data: memoryview, offset: int) -> None:
        for begin in range(0, len(data), _COMPARED):
            part = data[begin : begin + _COMPARED]
            if os.pread(twin, len(part), offset + begin) != bytes(part):  # views compare item by item
                raise ExistsError(path)

    return put


def _copy(file: int, plan: ConversionPlan, twin: int, progress: Progress) -> None:
    """Bring the tensors to their places without looking at them."""
    start = len(plan.header)
    _gather_all(file, plan, partial(write_exactly, twin))
    ranges = [
        (tensor.source_offset, tensor.length, start + tensor.offset)
        for tensor in plan.tensors
        if tensor.transform is Transform.COPY
    ]
    copy_ranges(file, twin, ranges, progress.advance)
    done = sum(length for _, length, _ in ranges)
    progress.advance(plan.source_size + plan.output_size - done)
