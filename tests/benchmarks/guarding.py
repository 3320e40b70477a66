"""What the guard costs: at the start of a process, and at a load of what is sealed already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measuring import Case, checkpoint, measure_all, show

LOADS = 10
LOAD = "import sys, torch\nfor _ in range({loads}): torch.load(sys.argv[1])"
GUARDED = "import sys, aiverify; aiverify.protect(store=sys.argv[2])\n"


def guarding(work: Path, megabytes: int, repeat: int) -> None:
    """Print a table: starting with the guard and without, and loading a checkpoint ``LOADS`` times."""
    plain, load = "python -c pass", f"torch.load of {megabytes} MB, {LOADS} times"
    file, store = checkpoint(work / "large", megabytes // 2, 1024), work / "store"
    code = LOAD.format(loads=LOADS)
    guarded = [sys.executable, "-c", GUARDED + code, str(file), str(store)]
    subprocess.run([sys.executable, "-c", GUARDED + LOAD.format(loads=1), str(file), str(store)], check=True)
    starts = [
        Case(plain, [sys.executable, "-c", "pass"], plain),
        Case("aiverify.protect()", [sys.executable, "-c", "import aiverify; aiverify.protect()"], plain),
    ]
    costs = measure_all(starts, max(repeat, 1) * 7)
    show(starts, costs)
    more = {name: 1000 * cost.wall for name, cost in costs.items()}
    print(f"the guard adds {more['aiverify.protect()'] - more[plain]:.1f} ms to a start\n")
    (sealed,) = store.glob(f"snapshots/*/{file.name}")  # on tmpfs, a copy is read slower than what it was made of
    loads = [
        Case(load, [sys.executable, "-c", code, str(sealed)], load),
        Case(f"guarded, {megabytes} MB sealed, {LOADS} times", guarded, load),
    ]
    show(loads, measure_all(loads, repeat))
