"""``make bench``: what the main job costs, beside what cannot be avoided and beside the usual way, in one run.

Every case is a whole process, warm, the median of several runs; the ratio is to the case named as the base. Files lie
on tmpfs where there is one, so that the disk does not decide. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
from pathlib import Path

from tests.benchmarks.conversion import TORCH, conversion
from tests.benchmarks.measuring import Case, checkpoint, measure_all, show, workspace

AIVERIFY = [sys.executable, "-m", "aiverify"]
HASH = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"
SECTIONS = ("main", "conversion")


def main_job(work: Path, megabytes: int) -> list[Case]:
    large = checkpoint(work / "large", megabytes // 2, 1024)
    small = checkpoint(work / "small", 10_000, 2)
    out, copy = work / "out", work / "copy"

    def clean() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    sha256, torch = f"sha256 of {megabytes} MB", "torch.load(mmap) + save_file"
    load = [sys.executable, "-c", TORCH.format(mmap=True), str(large), str(out / "model.safetensors")]
    return [
        Case("aiverify --version", [*AIVERIFY, "--version"], "python -c pass"),
        Case("python -c pass", [sys.executable, "-c", "pass"], "python -c pass"),
        Case(sha256, [sys.executable, "-c", HASH, str(large)], sha256),
        Case(f"aiverify scan, {megabytes} MB", [*AIVERIFY, "scan", "-q", str(large.parent)], sha256),
        Case(f"aiverify verify, {megabytes} MB", [*AIVERIFY, "verify", "-q", str(large.parent)], sha256),
        Case("aiverify scan, 10,000 tensors", [*AIVERIFY, "scan", "-q", str(small.parent)], "python -c pass"),
        Case(f"cp, {megabytes} MB", ["cp", str(large), str(copy)], f"cp, {megabytes} MB"),
        Case(
            f"aiverify verify --convert-to, {megabytes} MB",
            [*AIVERIFY, "verify", "-q", str(large.parent), "--convert-to", str(out)],
            torch,
            clean,
        ),
        Case(torch, load, torch, clean),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--section", choices=SECTIONS, action="append", help="only this one; may be repeated")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large checkpoint of the main job")
    parser.add_argument("--gigabytes", type=float, default=3.0, help="size of the large checkpoints of the conversion")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small files, one run: to see that everything works")
    options = parser.parse_args()
    sections = options.section or SECTIONS
    repeat = 1 if options.quick else options.repeat
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "main" in sections:
        with workspace() as work:
            todo = main_job(work, 20 if options.quick else options.megabytes)
            show(todo, measure_all(todo, repeat))
    if "conversion" in sections:
        large, small = (20, 1000) if options.quick else (round(options.gigabytes * 477), 100_000)
        kinds = [("zip", large, 1024, False), ("legacy", large, 1024, True), (f"{small} tensors", small, 4, False)]
        for kind, count, side, legacy in kinds:
            with workspace() as work, conversion(work, kind, count, side, legacy=legacy) as cases:
                show(cases, measure_all(cases, repeat))


if __name__ == "__main__":
    main()
