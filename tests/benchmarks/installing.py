"""What an installation costs: packages and megabytes of an environment, and the time until the program answers.

The environment is made anew from ``.ci/runtime.txt``, without pip in it; bytecode is not counted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measuring import Case, measure_all, show

CHECKOUT = Path(__file__).parents[2]
ALLOWED_IMPORT = 0.1
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def installing(work: Path, repeat: int) -> None:
    """Install, and print what it takes, and a table of times."""
    python = _installed(work / "venv")
    site = Path(subprocess.run([python, "-c", SITE], check=True, capture_output=True, text=True).stdout.strip())
    packages = len(list(site.glob("*.dist-info")))
    own, needed = _megabytes(site / "aiverify"), _megabytes(site)
    print(f"{packages} packages, {needed:.1f} MB, of which aiverify itself {own:.1f} MB")

    nothing, imported = "python -c pass", "import aiverify"
    command = str(python.with_name("aiverify"))
    cases = [
        Case(nothing, [str(python), "-c", "pass"], nothing),
        Case(imported, [str(python), "-c", "import aiverify"], nothing),
        Case("aiverify --version", [command, "--version"], nothing),
        Case("aiverify --help", [command, "--help"], nothing),
    ]
    results = measure_all(cases, repeat)
    show(cases, results)
    for name in (imported, "aiverify --version"):
        print(f"{name}: {1000 * (results[name].wall - results[nothing].wall):.0f} ms more than {nothing}")
    cost = results[imported].wall - results[nothing].wall
    print(
        f"{imported}: allowed {1000 * ALLOWED_IMPORT:.0f} ms, {'met' if cost <= ALLOWED_IMPORT else 'MISSED'}",
        flush=True,
    )


def _installed(venv: Path) -> Path:
    """The interpreter of an environment that holds aiverify and what it needs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(python), "install"]
    locked = ["--require-hashes", "--requirement", str(CHECKOUT / ".ci" / "runtime.txt")]
    subprocess.run([*pip, "--no-deps", *locked], check=True)
    subprocess.run([*pip, "--no-deps", str(CHECKOUT)], check=True)
    return python


def _megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6
