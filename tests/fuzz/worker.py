"""One fuzzing process: libFuzzer drives a target, guided by the branches of the code under test.

The process is locked down before the first input: it cannot start a process, open a connection, import a module, or
open a file outside of its folder; memory and time are limited.
"""

from __future__ import annotations

import hashlib
import importlib
import mmap
import os
import random
import resource
import struct
import sys
from pathlib import Path

import atheris

from tests.fuzz.target import Target

COUNTS = struct.Struct("<4Q")
_MEMORY = 3 << 30
_REFUSED = (
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"),
    *("ctypes.", "import"),
)


def main() -> None:
    name, folder, own, runs = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    target = load(name)
    worker = _Worker(target, folder, own)
    options = [f"-max_len={target.max_length}", f"-runs={runs}", "-timeout=60", "-rss_limit_mb=0", "-reload=30"]
    options += ["-len_control=0", "-report_slow_units=600", f"-artifact_prefix={folder}/lost/", "-verbosity=0"]
    arguments = [sys.argv[0], *options, str(folder / "corpus"), str(folder / "seeds")]
    mutator = {} if target.mutate is None else {"custom_mutator": worker.mutate}
    atheris.Setup(arguments, worker.once, **mutator)
    for seed in sorted((folder / "seeds").iterdir())[:100]:
        target.check(seed.read_bytes())  # whatever it imports late, it imports now
    atheris.Fuzz()


def load(name: str) -> Target:
    """The target, with the code that it looks at instrumented."""
    with atheris.instrument_imports(include=["aiverify"]):
        target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    return target


class _Worker:
    def __init__(self, target: Target, folder: Path, own: str) -> None:
        self.target, self.folder = target, folder
        path = folder / "counts" / own
        path.write_bytes(bytes(COUNTS.size))
        with path.open("r+b") as file:
            self.counts = mmap.mmap(file.fileno(), COUNTS.size)
        self.executions = self.found = 0
        self.chance = random.Random()

    def once(self, data: bytes) -> None:
        if not self.executions:
            _lock_down(self.folder)  # libFuzzer has begun, and imports nothing more
        self.executions += 1
        trouble = self._check(data)
        if trouble is not None:
            self.found += 1
            self._keep(data, trouble)
        counted = [*self.target.counters().values(), 0, 0][:2]
        COUNTS.pack_into(self.counts, 0, self.executions, self.found, *counted)

    def _check(self, data: bytes) -> str | None:
        try:
            return self.target.check(data)
        except Exception as error:  # noqa: BLE001 - a target never raises: that is a finding, too
            return f"{type(error).__name__}: {error}"

    def _keep(self, data: bytes, trouble: str) -> None:
        name = hashlib.sha256(trouble[:60].encode("utf-8", "replace")).hexdigest()[:12]
        path = self.folder / "differences" / name
        if not path.exists() or path.stat().st_size > len(data):  # the shortest of its kind
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(f"{data!r}\n{trouble}\n", "utf-8", "backslashreplace")

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        if not seed % 8:
            return atheris.Mutate(data, max_size)
        changed = self.target.mutate(bytes(data), max_size, self.chance)
        return changed or b"."


def _lock_down(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    allowed = str(folder)

    def refuse(event: str, args: tuple) -> None:
        if event.startswith(_REFUSED):
            raise PermissionError(event)
        if event == "open" and isinstance(args[0], str | bytes) and not os.fsdecode(args[0]).startswith(allowed):
            raise PermissionError(event)

    sys.addaudithook(refuse)


if __name__ == "__main__":
    main()
