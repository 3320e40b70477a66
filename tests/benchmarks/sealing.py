"""What sealing costs: the first ``ensure`` beside hashing and copying the same bytes, and what is known already.

The files lie where temporary files belong, and copies are brought to disk, as sealed ones are: that is a part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from tests.benchmarks.measuring import Case, measure_all, show

ALLOWED_FIRST = 1.3
ALLOWED_AGAIN = 1.0
HASH_AND_COPY = """
import hashlib, os, sys
source, target = sys.argv[1:]
with open(source, "rb") as file:
    hashlib.file_digest(file, "sha256")
buffer = memoryview(bytearray(4 << 20))
with open(source, "rb", buffering=0) as file, open(target, "wb", buffering=0) as copy:
    while count := file.readinto(buffer):
        copy.write(buffer[:count])
    os.fsync(copy.fileno())
"""
ENSURE = """
import sys
from pathlib import Path
import aiverify
aiverify.ensure(sys.argv[1], store=Path(sys.argv[2]))
"""
VERIFY = [sys.executable, "-m", "aiverify", "verify", "-q"]


def sealing(work: Path, megabytes: int, repeat: int) -> None:
    """Measure, and print a table and what remains of what is allowed."""
    model, fresh, known, copy = work / "model", work / "fresh", work / "known", work / "copy"
    _write(model, megabytes)
    os.environ["AIVERIFY_STORE"] = str(known)

    def clean() -> None:
        for folder in (fresh / "snapshots").rglob("*"):
            if folder.is_dir():
                folder.chmod(0o755)
        shutil.rmtree(fresh, ignore_errors=True)
        copy.unlink(missing_ok=True)
        os.sync()

    base, nothing = f"hash and copy, {megabytes} MB", "python -c pass"
    weights = str(model / "model.safetensors")
    first, again = "first ensure", "ensure of what is known"
    unknown, repeated = "aiverify verify --no-cache", "aiverify verify, digests known"
    cases = [
        Case(nothing, [sys.executable, "-c", "pass"], nothing),
        Case(base, [sys.executable, "-c", HASH_AND_COPY, weights, str(copy)], base, clean),
        Case(first, [sys.executable, "-c", ENSURE, str(model), str(fresh)], base, clean),
        Case(again, [sys.executable, "-c", ENSURE, str(model), str(known)], nothing),
        Case(unknown, [*VERIFY, "--no-cache", str(model)], base),
        Case(repeated, [*VERIFY, str(model)], unknown),
    ]
    results = measure_all(cases, repeat)
    show(cases, results)
    cost, allowed = results[first].wall, ALLOWED_FIRST * results[base].wall
    print(f"{first}: {cost:.2f} s, allowed {allowed:.2f} ({ALLOWED_FIRST} of {base})")
    print(f"{repeated}: {results[repeated].wall:.2f} s, allowed {ALLOWED_AGAIN:.2f}", flush=True)


def _write(folder: Path, megabytes: int) -> None:
    folder.mkdir()
    piece = os.urandom(1 << 20)
    table = {"weights": {"dtype": "U8", "shape": [megabytes << 20], "data_offsets": [0, megabytes << 20]}}
    header = json.dumps(table).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.writelines(piece for _ in range(megabytes))
    (folder / "config.json").write_text('{"model_type": "bert"}')
