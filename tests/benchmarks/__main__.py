"""``make bench``: what the main job costs, beside what cannot be avoided and beside the usual way, in one run.

Every case is a whole process, warm, the median of several runs; the ratio is to the case named as the base. Files lie
on tmpfs where there is one, so that the disk does not decide. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.checkpoints import write_checkpoint

AIVERIFY = [sys.executable, "-m", "aiverify"]
HASH = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"
TORCH = (
    "import sys, torch; from safetensors.torch import save_file;"
    " save_file(torch.load(sys.argv[1], weights_only=True, mmap=True), sys.argv[2])"
)


@dataclass(frozen=True)
class Case:
    """One command. ``base`` names the case that its ratio is taken to; ``before`` prepares each run."""

    name: str
    command: list[str]
    base: str
    before: Callable[[], None] = lambda: None


def measure(case: Case, repeat: int) -> tuple[float, float]:
    """Median wall time in seconds, and the highest peak memory in MB, of ``repeat`` runs after one to warm up."""
    walls, peaks = [], []
    for _ in range(repeat + 1):
        case.before()
        begin = time.perf_counter()
        process = subprocess.Popen(case.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        message = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        walls.append(time.perf_counter() - begin)
        peaks.append(usage.ru_maxrss / (1 << 10))
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"{case.name} failed: {message.decode(errors='replace')}")
    return statistics.median(walls[1:]), max(peaks)


@contextmanager
def workspace() -> Iterator[Path]:
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="aiverify-bench-", dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


def checkpoint(folder: Path, count: int, side: int) -> Path:
    """The checkpoint, written by another process: a child's peak memory would count that of a large parent."""
    folder.mkdir()
    file = folder / "pytorch_model.bin"
    writer = multiprocessing.get_context("spawn").Process(target=write_checkpoint, args=(file, count, side))
    writer.start()
    writer.join()
    return file


def cases(work: Path, megabytes: int) -> list[Case]:
    large = checkpoint(work / "large", megabytes // 2, 1024)
    small = checkpoint(work / "small", 10_000, 2)
    out, copy = work / "out", work / "copy"

    def clean() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    return [
        Case("aiverify --version", [*AIVERIFY, "--version"], "python -c pass"),
        Case("python -c pass", [sys.executable, "-c", "pass"], "python -c pass"),
        Case(f"sha256 of {megabytes} MB", [sys.executable, "-c", HASH, str(large)], f"sha256 of {megabytes} MB"),
        Case(
            f"aiverify scan, {megabytes} MB", [*AIVERIFY, "scan", "-q", str(large.parent)], f"sha256 of {megabytes} MB"
        ),
        Case(
            f"aiverify verify, {megabytes} MB",
            [*AIVERIFY, "verify", "-q", str(large.parent)],
            f"sha256 of {megabytes} MB",
        ),
        Case("aiverify scan, 10,000 tensors", [*AIVERIFY, "scan", "-q", str(small.parent)], "python -c pass"),
        Case(f"cp, {megabytes} MB", ["cp", str(large), str(copy)], f"cp, {megabytes} MB"),
        Case(
            f"aiverify verify --convert-to, {megabytes} MB",
            [*AIVERIFY, "verify", "-q", str(large.parent), "--convert-to", str(out)],
            "torch.load(mmap) + save_file",
            clean,
        ),
        Case(
            "torch.load(mmap) + save_file",
            [sys.executable, "-c", TORCH, str(large), str(out / "model.safetensors")],
            "torch.load(mmap) + save_file",
            clean,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with workspace() as work:
        todo = cases(work, options.megabytes)
        results = {case.name: measure(case, options.repeat) for case in todo}
    print(f"{'case':<40} {'wall s':>8} {'peak MB':>8}  ratio")
    for case in todo:
        wall, peak = results[case.name]
        print(f"{case.name:<40} {wall:>8.2f} {peak:>8.0f}  {wall / results[case.base][0]:.2f} of {case.base}")


if __name__ == "__main__":
    main()
