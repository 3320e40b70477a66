"""Many files in, their examinations out, in the order of the files: here, or in one process for each core.

Rules it keeps:

1. Processes are started only when there is enough to do for them.
2. What a conversion needs stays in the process that read it: such runs examine ``here``.
3. What second engines say of one file is complete before the next one is begun.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from aiverify.formats.interface import Examination, ScanOptions, State
from aiverify.pickles.engine import Engines, open_engines
from aiverify.progress import Progress

_FEWEST = 4
_ENOUGH = 6_000_000  # bytes, counted as in _processes(); below that, starting processes takes longer than the work
_FILE, _MOST = 30_000, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A file to examine: where it lies, what the artifact calls it, how many bytes it has, and what state is meant."""

    location: Path
    path: str
    size: int
    state: State | None = None


def examine_many(
    subjects: Sequence[Subject],
    *,
    trust: Set[str] = frozenset(),
    engines: Sequence[str] = (),
    progress: Progress,
    processes: int | None = None,
    here: Engines | None = None,
) -> Iterator[Examination]:
    """The examination of each file, in the order of ``subjects``.

    ``trust`` are names that pickles may use, ``engines`` the names of second engines. ``processes`` sets how many are
    used; otherwise that follows from the cores and the work. With ``here`` all of it happens in this process, these
    engines are asked, what a conversion needs is kept, and the caller has to ``settle`` the last examination. Raises
    FormatError for a file that cannot be read, and EngineError for an engine that is not there.
    """
    if here is not None:
        yield from _here(subjects, ScanOptions(trust=trust, engines=here, later=True), progress, keep=True)
        return
    count = processes if processes is not None else _processes(subjects)
    with open_engines(engines) as opened:
        if count < 2:
            yield from _here(subjects, ScanOptions(trust=trust, engines=opened), progress, keep=False)
            return
    from aiverify.formats.crew import Crew

    with Crew(count, {"trust": sorted(trust), "engines": list(engines)}) as crew:
        done: dict[int, Examination] = {}
        following = 0
        for finished, (index, examination) in enumerate(crew.examine(subjects), 1):
            progress.detail(_detail(finished, len(subjects), subjects[index].path))
            progress.advance(subjects[index].size)
            done[index] = examination
            while following in done:
                yield done.pop(following)
                following += 1


def _processes(subjects: Sequence[Subject]) -> int:
    work = sum(_FILE + min(subject.size, _MOST) for subject in subjects)
    if len(subjects) < _FEWEST or work < _ENOUGH:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(
    subjects: Sequence[Subject], options: ScanOptions, progress: Progress, *, keep: bool
) -> Iterator[Examination]:
    from aiverify.formats.examine import examine  # who has others examine them does without

    examination: Examination | None = None
    for number, subject in enumerate(subjects, 1):
        progress.detail(_detail(number, len(subjects), subject.path))
        if examination is not None:
            examination.settle()
        options.engines.file()
        examination = examine(subject.location, subject.path, options, subject.state)
        if not keep:
            examination.checkpoint = None
        yield examination
        progress.advance(subject.size)


def _detail(number: int, total: int, path: str) -> str:
    return path if total == 1 else f"{number} of {total}: {path}"
