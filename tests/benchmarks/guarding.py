"""What the guard costs: at the start of a process, and at a load of what is sealed already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiverify
from tests.benchmarks.measuring import Case, checkpoint, measure_all, show

LOADS = 10
LOAD = "import sys, torch\nfor _ in range({loads}): torch.load(sys.argv[1]{how})"
#: How a checkpoint is loaded, and what is asked for. With an encoding it is loaded as it is, otherwise from its twin.
WAYS = {"": "", ", mapped": ", mmap=True", ", by its pickle": ", weights_only=False, encoding='utf-8'"}
ROOT = Path(aiverify.__file__).parents[1]
BOOT = ROOT / "aiverify" / "activation" / "boot"
GUARDED = "import sys, aiverify; aiverify.protect(store=sys.argv[2])\n"


def by_env(assignment: str) -> list[str]:
    """A start of the interpreter with a variable of the environment set."""
    return ["env", assignment, sys.executable, "-c", "pass"]


def guarding(work: Path, megabytes: int, repeat: int) -> None:
    """Print a table: starting with the guard and without, and loading a checkpoint ``LOADS`` times."""
    plain = "python -c pass"
    file, store = checkpoint(work / "large", megabytes // 2, 1024), work / "store"
    first = GUARDED + LOAD.format(loads=1, how="")
    subprocess.run([sys.executable, "-c", first, str(file), str(store)], check=True)
    starts = [
        Case(plain, [sys.executable, "-c", "pass"], plain),
        Case("aiverify.protect()", [sys.executable, "-c", "import aiverify; aiverify.protect()"], plain),
        Case("python -c pass, by env", by_env("A=1"), "python -c pass, by env"),
        Case("below aiverify run", by_env(f"PYTHONPATH={BOOT}{os.pathsep}{ROOT}"), "python -c pass, by env"),
    ]
    costs = measure_all(starts, max(repeat, 1) * 7)
    show(starts, costs)
    more = {name: 1000 * cost.wall for name, cost in costs.items()}
    print(f"the guard adds {more['aiverify.protect()'] - more[plain]:.1f} ms to a start,")
    print(f"aiverify run {more['below aiverify run'] - more['python -c pass, by env']:.1f} ms to each below it\n")
    (sealed,) = store.glob(f"snapshots/*/{file.name}")  # on tmpfs, a copy is read slower than what it was made of
    loads = [
        case
        for way, how in WAYS.items()
        for case in _pair(way, LOAD.format(loads=LOADS, how=how), (file, store), sealed, megabytes)
    ]
    show(loads, measure_all(loads, repeat))


def _pair(way: str, code: str, guarded: tuple[Path, Path], sealed: Path, megabytes: int) -> tuple[Case, Case]:
    """Loads without the guard and with it."""
    base = f"torch.load of {megabytes} MB, {LOADS} times{way}"
    return (
        Case(base, [sys.executable, "-c", code, str(sealed)], base),
        Case(f"guarded{way}", [sys.executable, "-c", GUARDED + code, *map(str, guarded)], base),
    )
