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
    """One command. ``base`` names the case that its ratio is taken to; ``before`` prepares each run."""

    name: str
    command: list[str]
    base: str
    before: Callable[[], None] = lambda: None


def measure_all(cases: Sequence[Case], repeat: int) -> dict[str, tuple[float, float]]:
    """Median wall time in seconds, and the highest peak memory in MB, of ``repeat`` runs after one to warm up.

    The cases take turns, so that a machine that is busy for a while slows all of them.
    """
    walls: dict[str, list[float]] = {case.name: [] for case in cases}
    peaks: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(repeat + 1):
        for case in cases:
            wall, peak = measure(case)
            walls[case.name].append(wall)
            peaks[case.name].append(peak)
    return {name: (statistics.median(walls[name][1:]), max(peaks[name])) for name in walls}


def measure(case: Case) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of one run."""
    case.before()
    begin = time.perf_counter()
    process = subprocess.Popen(case.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{case.name} failed: {message.decode(errors='replace')}")
    return wall, usage.ru_maxrss / (1 << 10)


def show(cases: Sequence[Case], results: dict[str, tuple[float, float]]) -> None:
    """Print a table."""
    print(f"{'case':<52} {'wall s':>8} {'peak MB':>8}  ratio")
    for case in cases:
        wall, peak = results[case.name]
        print(f"{case.name:<52} {wall:>8.2f} {peak:>8.0f}  {wall / results[case.base][0]:.2f} of {case.base}")
    print(flush=True)


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder on tmpfs where there is one, so that the disk does not decide."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="aiverify-bench-", dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


def checkpoint(folder: Path, count: int, side: int, *, legacy: bool = False) -> Path:
    """The checkpoint, written by another process: a child's peak memory would count that of a large parent."""
    folder.mkdir()
    file = folder / "pytorch_model.bin"
    writer = multiprocessing.get_context("spawn").Process(target=write_checkpoint, args=(file, count, side, legacy))
    writer.start()
    writer.join()
    return file
