"""The conversion of one checkpoint, beside what cannot be avoided and beside the usual way."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measuring import Case, checkpoint

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


@contextmanager
def conversion(work: Path, kind: str, count: int, side: int, *, legacy: bool = False) -> Iterator[list[Case]]:
    """The cases of one checkpoint of ``count`` tensors, which is there for as long as the block runs."""
    source = checkpoint(work / "conversion", count, side, legacy=legacy)
    out, copy = work / "twins", work / "copy"

    def clean() -> None:
        shutil.rmtree(out, ignore_errors=True)
        copy.unlink(missing_ok=True)
        out.mkdir()

    def torch(mmap: bool) -> list[str]:
        return [sys.executable, "-c", TORCH.format(mmap=mmap), str(source), str(out / "model.safetensors")]

    cp, hashed = f"{kind}: cp", f"{kind}: cp, sha256 of both"
    load = f"{kind}: torch.load + save_file"
    mapped = load if legacy else f"{kind}: torch.load(mmap) + save_file"
    alone = [*ONE, str(source), str(out)]
    command = [*COMMAND, str(source), "-o", str(out)]
    cases = [
        Case(cp, ["cp", str(source), str(copy)], cp, clean),
        Case(hashed, [sys.executable, "-c", HASHED_COPY, str(source), str(copy)], hashed, clean),
        Case(load, torch(False), load, clean),
        *([] if legacy else [Case(mapped, torch(True), mapped, clean)]),
        Case(f"{kind}: conversion without digests", [*alone, "bare"], cp, clean),
        Case(f"{kind}: conversion, source digest known", [*alone, "known"], hashed, clean),
        Case(f"{kind}: conversion", [*alone, "hashed"], hashed, clean),
        Case(f"{kind}: aiverify convert --no-digests", [*command, "--no-digests"], mapped, clean),
        Case(f"{kind}: aiverify convert", command, mapped, clean),
    ]
    try:
        yield cases
    finally:
        clean()
        shutil.rmtree(work / "conversion")
