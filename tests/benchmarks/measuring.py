"""Cases, and how they are measured: whole processes, warm, the median of several runs."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.checkpoints import write_checkpoint


@dataclass(frozen=True)
class Case:
    """One command. ``base`` names the case that its ratio is taken to, ``besides`` others.

    ``before`` prepares each run; ``most`` is how many runs are enough for a slow one.
    """

    name: str
    command: list[str]
    base: str
    before: Callable[[], None] = lambda: None
    besides: tuple[str, ...] = ()
    most: int = 100


@dataclass(frozen=True)
class Cost:
    """What a run took: wall time and processor time (of its children, too) in seconds, peak memory in MB."""

    wall: float
    processor: float
    peak: float


def measure_all(cases: Sequence[Case], repeat: int) -> dict[str, Cost]:
    """The medians, and the highest peak of memory, of ``repeat`` runs after one to warm up.

    The cases take turns, so that a machine that is busy for a while slows all of them.
    """
    costs: dict[str, list[Cost]] = {case.name: [] for case in cases}
    for done in range(repeat + 1):
        for case in cases:
            if done <= case.most:
                costs[case.name].append(measure(case))
    return {name: _middle(runs[1:]) for name, runs in costs.items()}


def _middle(runs: Sequence[Cost]) -> Cost:
    return Cost(
        wall=statistics.median(run.wall for run in runs),
        processor=statistics.median(run.processor for run in runs),
        peak=max(run.peak for run in runs),
    )


def measure(case: Case) -> Cost:
    """What one run of the case takes."""
    case.before()
    begin = time.perf_counter()
    process = subprocess.Popen(case.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{case.name} failed: {message.decode(errors='replace')}")
    return Cost(wall=wall, processor=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss / (1 << 10))


def show(cases: Sequence[Case], results: dict[str, Cost]) -> None:
    """Print a table. The ratio is that of wall times, the one in brackets that of processor times."""
    print(f"{'case':<46} {'wall s':>7} {'cpu s':>7} {'peak MB':>8}  ratio")
    for case in cases:
        cost, base = results[case.name], results[case.base]
        ratios = f"{cost.wall / base.wall:.2f} ({cost.processor / max(base.processor, 0.01):.2f}) of {case.base}"
        for name in case.besides:
            ratios += f"; {cost.wall / results[name].wall:.2f} of {name}"
        print(f"{case.name:<46} {cost.wall:>7.2f} {cost.processor:>7.2f} {cost.peak:>8.0f}  {ratios}")
    print(flush=True)


@contextmanager
def workspace(*, disk: bool = False) -> Iterator[Path]:
    """A folder on tmpfs where there is one, so that the disk does not decide; or where temporary files belong."""
    shm = Path("/dev/shm")
    place = shm if shm.is_dir() and not disk else None
    with tempfile.TemporaryDirectory(prefix="aiverify-bench-", dir=place) as folder:
        yield Path(folder)


def checkpoint(folder: Path, count: int, side: int, *, legacy: bool = False) -> Path:
    """The checkpoint, written by another process: a child's peak memory would count that of a large parent."""
    folder.mkdir()
    file = folder / "pytorch_model.bin"
    writer = multiprocessing.get_context("spawn").Process(target=write_checkpoint, args=(file, count, side, legacy))
    writer.start()
    writer.join()
    return file
