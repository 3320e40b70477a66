"""What a scan costs beside its peers: picklescan, and fickling on its own.

``aiverify`` is charged for a whole process less that of ``aiverify --version`` in the same run, a peer for its whole
process. Every row states the target that it is measured against.
"""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import Case, Cost, measure_all

VERSION = "aiverify --version"
AIVERIFY = [sys.executable, "-m", "aiverify"]
FICKLING = """
import sys
from pathlib import Path
from fickling import scan_file, scan_zip_archive
for file in sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file()):
    (scan_zip_archive if file.suffix == ".bin" else scan_file)(str(file), graceful=True)
"""


@dataclass(frozen=True)
class Contest:
    """One comparison: our time at most ``factor`` times the peer's plus ``allowance`` seconds, our memory at most
    ``peak`` MB or ``share`` of the peer's."""

    ours: str
    peer: str
    factor: float
    allowance: float = 0.0
    peak: float | None = None
    share: float | None = None


def write_files(work: Path, scale: float) -> None:
    """The files that are scanned; ``scale`` below 1 makes them smaller."""
    import numpy as np
    import torch

    def folder(name: str) -> Path:
        (work / name).mkdir()
        return work / name

    pairs = [(number, f"token-{number:08}") for number in range(int(180_000 * scale))]
    (folder("opcodes") / "vocabulary.pkl").write_bytes(pickle.dumps(pairs, 4))
    array = np.random.default_rng(0).standard_normal(int(6_500_000 * scale))
    (folder("array") / "array.pkl").write_bytes(pickle.dumps(array, 4))
    large = {f"layers.{number}.weight": torch.zeros(int(12_500_000 * scale)) for number in range(10)}
    torch.save(large, folder("large") / "pytorch_model.bin")
    many = {f"layers.{number}.weight": torch.zeros(64) for number in range(int(1000 * scale))}
    torch.save(many, folder("tensors") / "pytorch_model.bin")
    for name, tensors in (("hundred", 100), ("twenty", 20)):
        place = folder(name)
        for number in range(int(1000 * scale)):  # no two alike: identical streams would be examined once
            state = {f"m{number}.layers.{layer}.weight": torch.zeros(8) for layer in range(tensors)}
            torch.save(state, place / f"{number:04}.bin")


def scan(title: str, path: Path, *options: str) -> Case:
    return Case(title, [*AIVERIFY, "scan", "-q", *options, str(path)], VERSION)


def groups(work: Path, peers: Path) -> Iterator[tuple[list[Case], list[Contest], int]]:
    """Cases that take turns, what is compared of them, and how often they are run at most."""
    picklescan = shutil.which("picklescan", path=str(peers))
    if picklescan is None:
        raise SystemExit(f"no picklescan in {peers}: make bench installs it")
    version = Case(VERSION, [*AIVERIFY, "--version"], VERSION)
    limits = {"opcodes": (0.6, None, 0.5), "array": (1.2, 90.0, None), "large": (1.2, 90.0, None)}
    limits |= {"tensors": (1.2, 90.0, None), "hundred": (0.5, None, None)}
    titles = {
        "opcodes": "0.9 M opcodes",
        "array": "50 MB numpy pickle",
        "large": "500 MB torch zip",
        "tensors": "1,000 tensors",
        "hundred": "1,000 checkpoints of 100 tensors",
        "twenty": "1,000 checkpoints of 20 tensors",
    }
    cases, contests = [version], []
    for name, (factor, peak, share) in limits.items():
        ours, peer = f"machine, {titles[name]}", f"picklescan, {titles[name]}"
        cases += [
            scan(ours, work / name, "--engine", "machine"),
            Case(peer, [picklescan, "-p", str(work / name)], VERSION),
        ]
        contests.append(Contest(ours, peer, factor, peak=peak, share=share))
    yield cases, contests, 7
    cases, contests = [version], []
    for name in ("array", "tensors"):
        ours, peer = f"both engines, {titles[name]}", f"fickling, {titles[name]}"
        cases += [scan(ours, work / name), Case(peer, [sys.executable, "-c", FICKLING, str(work / name)], VERSION)]
        contests.append(Contest(ours, peer, 1.15, 0.4))
    ours, peer = f"both engines, {titles['opcodes']}", f"machine, {titles['opcodes']}"
    cases += [scan(ours, work / "opcodes"), scan(peer, work / "opcodes", "--engine", "machine")]
    contests.append(Contest(ours, peer, 1.1))
    yield cases, contests, 7
    ours, peer = f"both engines, {titles['twenty']}", f"fickling, {titles['twenty']}"
    cases = [
        version,
        scan(ours, work / "twenty"),
        Case(peer, [sys.executable, "-c", FICKLING, str(work / "twenty")], VERSION),
    ]
    yield cases, [Contest(ours, peer, 0.6)], 3


def scanning(work: Path, peers: Path, repeat: int, *, quick: bool) -> None:
    """Measure and print."""
    writer = multiprocessing.get_context("spawn").Process(target=write_files, args=(work, 0.01 if quick else 1.0))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise SystemExit("the files could not be written")
    print(f"{'case':<48} {'wall s':>7} {'cpu s':>7} {'peak MB':>8}  against the target")
    for cases, contests, most in groups(work, peers):
        show(cases, contests, measure_all(cases, min(repeat, most)))


def show(cases: Sequence[Case], contests: Sequence[Contest], costs: dict[str, Cost]) -> None:
    """A row for each case. Times of ours and of the machine are those beyond ``aiverify --version``."""
    verdicts = {contest.ours: contest for contest in contests}
    start = costs[VERSION]
    for case in cases:
        cost = costs[case.name]
        remark = _against(verdicts[case.name], costs) if case.name in verdicts else ""
        own = case.name != VERSION and case.command[:3] == AIVERIFY
        wall, cpu = (cost.wall - start.wall, cost.processor - start.processor) if own else (cost.wall, cost.processor)
        print(f"{case.name:<48} {wall:>7.2f} {cpu:>7.2f} {cost.peak:>8.0f}  {remark}")
    print(flush=True)


def _against(contest: Contest, costs: dict[str, Cost]) -> str:
    start, ours, peer = costs[VERSION].wall, costs[contest.ours], costs[contest.peer]
    theirs = peer.wall - (start if contest.peer.startswith("machine") else 0.0)
    limit = contest.factor * theirs + contest.allowance
    parts = [f"{(ours.wall - start) / theirs:.2f} of its time, {_word(ours.wall - start <= limit)} {limit:.2f} s"]
    memory = contest.peak if contest.share is None else contest.share * peer.peak
    if memory is not None:
        parts.append(f"{_word(ours.peak <= memory)} {memory:.0f} MB")
    return "; ".join(parts)


def _word(within: bool) -> str:
    return "within" if within else "ABOVE"
