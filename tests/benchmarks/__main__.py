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

from tests.benchmarks.conversion import TORCH, conversions
from tests.benchmarks.guarding import guarding
from tests.benchmarks.hub import hub
from tests.benchmarks.installing import installing
from tests.benchmarks.measuring import Case, checkpoint, measure_all, show, workspace
from tests.benchmarks.scanning import scanning
from tests.benchmarks.sealing import sealing
from tests.benchmarks.signatures import signatures

AIVERIFY = [sys.executable, "-m", "aiverify"]
HASH = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"
SECTIONS = ("main", "scanning", "conversion", "signatures", "hub", "guard", "store", "install")


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
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin"), help="where the peers' commands are")
    parser.add_argument("--repeat", type=int, help="runs of each case; otherwise 7 for the conversion, 3 for the rest")
    parser.add_argument("--quick", action="store_true", help="small files, one run: to see that everything works")
    options = parser.parse_args()
    sections = options.section or SECTIONS
    repeat = 1 if options.quick else options.repeat or 3
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "main" in sections:
        with workspace() as work:
            todo = main_job(work, 20 if options.quick else options.megabytes)
            show(todo, measure_all(todo, repeat))
    if "scanning" in sections:
        with workspace() as work:
            scanning(work, options.peers, repeat, quick=options.quick)
    if "conversion" in sections:
        conversions(options.gigabytes, 1 if options.quick else options.repeat or 7, options.peers, quick=options.quick)
    if "signatures" in sections:
        with workspace() as work:
            signatures(work, 20 if options.quick else round(options.gigabytes * 1000), repeat)
    if "hub" in sections:
        with workspace() as work, workspace(disk=True) as disk:
            hub(work, disk, 20 if options.quick else round(options.gigabytes * 1000), repeat)
    if "guard" in sections:
        with workspace() as work:
            guarding(work, 20 if options.quick else options.megabytes, repeat)
    if "store" in sections:
        with workspace(disk=True) as work:
            sealing(work, 20 if options.quick else round(options.gigabytes * 1000), repeat)
    if "install" in sections:
        with workspace(disk=True) as work:
            installing(work, repeat)


if __name__ == "__main__":
    main()
