"""Runs the command line of another scanner on many files; started with the Python of the environment it lives in.

Argument: the scanner. On standard input, a JSON list of paths; on standard output, a JSON list of exit codes, with
``null`` where it did not come to an end. The scanner is imported once, and a process forked for each file calls the
same function as its command does: the exit code is its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

_PATIENCE = 60.0  # seconds for one file


def _picklescan(path: str):
    from picklescan.cli import main

    sys.argv = ["picklescan", "--path", path]
    return main()


def _modelscan(path: str):
    from modelscan.cli import main

    sys.argv = ["modelscan", "--path", path]
    return main()


def _modelaudit(path: str):
    from modelaudit.__main__ import _run

    sys.argv = ["modelaudit", "scan", path, "--no-cache"]
    return _run()


def _fickling(path: str):
    from fickling.cli import main

    return main(["fickling", "--check-safety", "--json-output", os.devnull, path])


_SCANNERS = {
    "picklescan": _picklescan,
    "modelscan": _modelscan,
    "modelaudit": _modelaudit,
    "fickling": _fickling,
}
_WARM = {
    "picklescan": ("picklescan.cli",),
    "modelscan": ("modelscan.cli", "modelscan.modelscan", "numpy"),
    "modelaudit": ("modelaudit.__main__", "modelaudit.cli", "modelaudit.core", "modelaudit.scanners", "numpy"),
    "fickling": ("fickling.cli", "fickling.analysis"),
}


def _code(scanner: str, path: str) -> int | None:
    """The exit code of one run, in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(_run(scanner, path))
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def _run(scanner: str, path: str) -> int:
    try:
        result = _SCANNERS[scanner](path)
    except SystemExit as end:
        result = end.code
    except BaseException:  # noqa: BLE001 - what its command would show as a traceback, which ends with 1
        return 250
    return result if isinstance(result, int) else int(bool(result))


def main() -> None:
    scanner = sys.argv[1]
    for module in _WARM[scanner]:
        __import__(module)
    paths = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    harmless = Path("harmless.pkl").absolute()
    harmless.write_bytes(b"\x80\x02}.")
    _run(scanner, str(harmless))  # what a scanner loads on its first run is loaded once
    json.dump([_code(scanner, path) for path in paths], answer)
    answer.close()


if __name__ == "__main__":
    main()
