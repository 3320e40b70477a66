"""The verification of a repository that is in the Hub's cache already, beside the digests that it cannot do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measuring import Case, measure_all, show
from tests.benchmarks.signatures import HASHED

VERIFY = [sys.executable, "-m", "aiverify", "verify", "-q", "--no-cache"]
SHARDS = 3
SHARE, SPARE = 1.2, 0.5
REPO = "org/model"


def hub(work: Path, disk: Path, megabytes: int, repeat: int) -> None:
    """Measure, and print a table and whether the time that is allowed was kept. ``disk`` holds what the Hub serves."""
    from aiverify.demo.hub import LocalHub

    folder = disk / "served" / REPO
    folder.mkdir(parents=True)
    _write(folder, megabytes)
    home = work / "home"
    base = f"hashlib in two threads, {megabytes} MB"
    with LocalHub(disk / "served") as served:
        os.environ |= {"HF_ENDPOINT": served.endpoint, "HF_HOME": str(home), "AIVERIFY_CACHE_DIR": str(work / "ours")}
        subprocess.run([*VERIFY, REPO], check=True, stdout=subprocess.DEVNULL)
        (snapshot,) = (home / "hub").glob("models--*/snapshots/*")
        names = {"from the cache": [], "offline": ["--offline"]}
        cases = [
            Case(base, [sys.executable, "-c", HASHED, str(snapshot)], base),
            *(Case(f"aiverify verify, {name}", [*VERIFY, REPO, *how], base) for name, how in names.items()),
        ]
        results = measure_all(cases, repeat)
    show(cases, results)
    for name in names:
        extra = results[f"aiverify verify, {name}"].wall - SHARE * results[base].wall
        print(f"{name}: {extra:+.2f} s beyond {SHARE} of hashlib (allowed {SPARE} s)")
    print(flush=True)


def _write(folder: Path, megabytes: int) -> None:
    """A model in safetensors shards, with its index and its configuration."""
    piece, count = os.urandom(1 << 20), max(1, megabytes // SHARDS)
    where = {}
    for number in range(1, SHARDS + 1):
        table = {f"weights.{number}": {"dtype": "U8", "shape": [count << 20], "data_offsets": [0, count << 20]}}
        header = json.dumps(table).encode()
        name = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        where[f"weights.{number}"] = name
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _ in range(count):
                file.write(piece)
    index = {"metadata": {"total_size": SHARDS * (count << 20)}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
