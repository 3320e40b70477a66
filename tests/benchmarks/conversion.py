"""The conversion of one checkpoint, beside what cannot be avoided, beside the usual ways, and beside a peer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measuring import Case, checkpoint, measure_all, show, workspace

ONE = [sys.executable, "-m", "tests.benchmarks.convert_one"]
COMMAND = [sys.executable, "-m", "aiverify", "convert", "-q"]
# The least that digests of source and output can cost: a copy, and then both hashed at the same time.
HASHED_COPY = """
import hashlib, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
subprocess.run(["cp", *sys.argv[1:]], check=True)
with ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda name: hashlib.file_digest(open(name, "rb"), "sha256"), sys.argv[1:]))
"""
TORCH = (
    "import sys, torch; from safetensors.torch import save_file;"
    " save_file(torch.load(sys.argv[1], weights_only=True, mmap={mmap}), sys.argv[2])"
)
# What the Hub's converter does with one file: load all, drop names that share a storage, save, load again, compare.
HUB = """
import sys, torch
from safetensors.torch import load_file, save_file
state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
state = state.get("state_dict", state)
first, metadata = {}, {"format": "pt"}
for name in sorted(state):
    kept = first.setdefault((state[name].untyped_storage().data_ptr(), state[name].untyped_storage().nbytes()), name)
    if kept != name:
        metadata[name] = kept
state = {name: tensor.contiguous() for name, tensor in state.items() if name not in metadata}
save_file(state, sys.argv[2], metadata=metadata)
again = load_file(sys.argv[2])
assert all(torch.equal(tensor, again[name]) for name, tensor in state.items())
"""
PEER = "import sys, pt_loader; pt_loader.PtCheckpoint.load(sys.argv[1]).export(format='safetensors', dir=sys.argv[2])"
ENOUGH = 3  # runs of what takes long


def conversions(gigabytes: float, repeat: int, peers: Path, *, quick: bool) -> None:
    """Measure all of them: two large checkpoints, one of many tensors, one that the peer can hold, and one on disk."""
    large, small, middle = (20, 1000, 20) if quick else (round(gigabytes * 477), 100_000, round(gigabytes * 80))
    for kind, count, side, legacy in [
        ("zip", large, 1024, False),
        ("legacy", large, 1024, True),
        (f"{small} tensors", small, 4, False),
    ]:
        with workspace() as work, _checkpoint(work, kind, count, side, legacy=legacy) as files:
            cases = files.many() if count == small else files.large(legacy=legacy)
            show(cases, measure_all(cases, min(repeat, ENOUGH) if count == small else repeat))
    with workspace() as work, _checkpoint(work, "smaller zip", middle, 1024) as files:
        cases = files.beside_the_peer(peers / "python")
        show(cases, measure_all(cases, min(repeat, ENOUGH)))
    print("On disk, whose other work and write-back decide: noisy.")
    with workspace(disk=True) as work, _checkpoint(work, "disk", large // 3, 1024) as files:
        cases = files.on_disk()
        show(cases, measure_all(cases, min(repeat, ENOUGH)))


@contextmanager
def _checkpoint(work: Path, kind: str, count: int, side: int, *, legacy: bool = False) -> Iterator[_Files]:
    """A checkpoint of ``count`` tensors, which is there for as long as the block runs."""
    files = _Files(work, kind, checkpoint(work / "conversion", count, side, legacy=legacy))
    try:
        yield files
    finally:
        files.clean()


class _Files:
    """One checkpoint, and the cases that are measured with it."""

    def __init__(self, work: Path, kind: str, source: Path) -> None:
        self.kind = kind
        self.source = str(source)
        self.out = work / "twins"
        self.copy = work / "copy"
        self.cp, self.hashed = f"{kind}: cp", f"{kind}: cp, sha256 of both"
        self.loaded, self.mapped = f"{kind}: torch.load + save_file", f"{kind}: torch.load(mmap) + save_file"

    def clean(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.copy.unlink(missing_ok=True)
        self.out.mkdir()

    def large(self, *, legacy: bool) -> list[Case]:
        """Everything: the ratios that matter are to the copies and to the faster way of torch."""
        torch = self.loaded if legacy else self.mapped
        parts = [] if legacy else [self._alone("bare", self.cp), self._alone("known", self.hashed)]
        mapped = [] if legacy else [self._torch(mmap=True)]
        return [
            *self._copies(),
            *mapped,
            self._torch(mmap=False, most=100 if legacy else ENOUGH),
            self._hub(torch),
            *parts,
            self._command("aiverify convert --no-digests", torch, self.cp, "--no-digests"),
            self._command("aiverify convert", torch, self.hashed),
        ]

    def many(self) -> list[Case]:
        """Where every tensor counts, and not its bytes."""
        return [
            self._torch(mmap=True),
            self._hub(self.mapped),
            self._alone("known", self.mapped),
            self._command("aiverify convert --no-digests", self.mapped, None, "--no-digests"),
            self._command("aiverify convert", self.mapped, None),
        ]

    def beside_the_peer(self, python: Path) -> list[Case]:
        """pt-safe-loader takes six times the size of the file in memory, and makes bf16 twice as large."""
        command = [str(python), "-c", PEER, self.source, str(self.out)]
        peer = Case(f"{self.kind}: pt-safe-loader", command, self.mapped, self.clean)
        return [
            self._torch(mmap=True),
            *([peer] if python.exists() else []),
            self._command("aiverify convert", self.mapped, None),
        ]

    def on_disk(self) -> list[Case]:
        return [
            *self._copies(self._synced),
            self._torch(mmap=True, before=self._synced),
            self._command("aiverify convert --no-digests", self.mapped, self.cp, "--no-digests", before=self._synced),
            self._command("aiverify convert", self.mapped, self.hashed, before=self._synced),
        ]

    def _synced(self) -> None:
        self.clean()
        os.sync()

    def _copies(self, before: Callable[[], None] | None = None) -> list[Case]:
        clean, paths = before or self.clean, [self.source, str(self.copy)]
        return [
            Case(self.cp, ["cp", *paths], self.cp, clean),
            Case(self.hashed, [sys.executable, "-c", HASHED_COPY, *paths], self.hashed, clean),
        ]

    def _torch(self, *, mmap: bool, most: int = 100, before: Callable[[], None] | None = None) -> Case:
        name = self.mapped if mmap else self.loaded
        command = [sys.executable, "-c", TORCH.format(mmap=mmap), self.source, str(self.out / "model.safetensors")]
        return Case(name, command, name, before or self.clean, most=most)

    def _hub(self, base: str) -> Case:
        command = [sys.executable, "-c", HUB, self.source, str(self.out / "model.safetensors")]
        return Case(f"{self.kind}: the Hub's way of converting", command, base, self.clean, most=ENOUGH)

    def _alone(self, mode: str, base: str) -> Case:
        what = "without digests" if mode == "bare" else "with digests of the twin"
        return Case(f"{self.kind}: conversion {what}", [*ONE, self.source, str(self.out), mode], base, self.clean)

    def _command(
        self, name: str, base: str, beside: str | None, *options: str, before: Callable[[], None] | None = None
    ) -> Case:
        command = [*COMMAND, self.source, "-o", str(self.out), *options]
        return Case(f"{self.kind}: {name}", command, base, before or self.clean, (beside,) if beside else ())
