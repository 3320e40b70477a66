"""``python -m tests.fuzz TARGET``: run a target in several locked-down processes, and add up what they did.

Everything is kept in ``.fuzz/TARGET``: the corpus, the counts, what was found. A run can be stopped and taken up again.
The count that matters is that of the code as it stands: when a source of the target changes, it begins anew.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.util
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.target import Target

_COUNTS = struct.Struct("<4Q")
_EVERY = 10.0  # seconds between two lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", default="pickle_machine", help="a module of tests/fuzz")
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions altogether, earlier ones included")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    parser.add_argument("--show", action="store_true", help="only print the counts")
    options = parser.parse_args()
    session = _Session(options.target, options.folder.resolve() / options.target, options.workers)
    if not options.show:
        session.run(options.runs)
    return session.report()


class _Session:
    def __init__(self, name: str, folder: Path, workers: int) -> None:
        self.name, self.folder, self.workers = name, folder, workers
        self.target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
        self.code = _digest(self.target.sources)
        for part in ("corpus", "seeds", "counts", "differences", "lost"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def run(self, runs: int) -> None:
        if not any((self.folder / "seeds").iterdir()):
            for seed in self.target.seeds():
                (self.folder / "seeds" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        children: list[subprocess.Popen[bytes]] = []
        started, before, serial = time.monotonic(), self._executions(), 0
        try:
            while (done := self._executions()) < runs or children:
                children = [child for child in children if child.poll() is None]
                while len(children) < self.workers and done < runs:
                    serial += 1
                    children.append(self._start(serial, -(-(runs - done) // self.workers)))
                self._wait(children)
                speed = (self._executions() - before) / (time.monotonic() - started)
                print(f"{self._line()}, {speed:,.0f}/s in this run", flush=True)
        except KeyboardInterrupt:
            pass
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()

    def _start(self, serial: int, runs: int) -> subprocess.Popen[bytes]:
        if _digest(self.target.sources) != self.code:
            raise SystemExit("the code has changed since the start: start again")
        own = f"{self.code}-{os.getpid()}-{serial}"
        command = [sys.executable, "-m", "tests.fuzz.worker", self.name, str(self.folder), own, str(runs)]
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    @staticmethod
    def _wait(children: list[subprocess.Popen[bytes]]) -> None:
        try:
            if children:
                children[0].wait(_EVERY)
        except subprocess.TimeoutExpired:
            return
        time.sleep(1)  # a worker that cannot start must not be started a thousand times a second

    def _counts(self, pattern: str) -> list[int]:
        total = [0] * 4
        for path in (self.folder / "counts").glob(pattern):
            raw = path.read_bytes()
            if len(raw) == _COUNTS.size:
                total = [a + b for a, b in zip(total, _COUNTS.unpack(raw), strict=True)]
        return total

    def _executions(self) -> int:
        return self._counts(f"{self.code}-*")[0]

    def _line(self) -> str:
        executions, found, *more = self._counts(f"{self.code}-*")
        named = [f"{number:,} {name}" for name, number in zip(self.target.counters(), more, strict=False)]
        lost = sum(1 for _ in (self.folder / "lost").iterdir())
        return ", ".join([f"{executions:,} executions", f"{found:,} differences", f"{lost:,} lost", *named])

    def report(self) -> int:
        print(f"{self.name}: {self._line()}; with all earlier states of the code {self._counts('*')[0]:,} executions")
        kept = sorted((self.folder / "differences").glob("*.txt"))
        for path in kept:
            print(f"{path}:\n{path.read_text('utf-8')}")
        return 1 if kept or any((self.folder / "lost").iterdir()) else 0


def _digest(modules: tuple[str, ...]) -> str:
    """Of what the modules do, whatever their comments and line breaks."""
    digest = hashlib.sha256()
    for name in modules:
        found = importlib.util.find_spec(name)
        digest.update(ast.dump(ast.parse(Path(found.origin).read_bytes())).encode())
    return digest.hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
