"""``python -m tests.mutations [WORD]``: break the code on purpose, and see that a test notices.

Each break has a process of its own. The process that starts them imports the large libraries, so that they need not.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutations.breaks import JUDGEMENT, MACHINE, ROOT, Break, opcode_breaks
from tests.mutations.judgement_breaks import judgement_breaks
from tests.mutations.machine_breaks import machine_breaks

_OPTIONS = ("-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib")


class _Replacing(importlib.abc.SourceLoader):
    """Loads one module with a piece of its source exchanged."""

    def __init__(self, origin: str, replace: tuple[str, str]) -> None:
        self.origin, self.replace = origin, replace

    def get_filename(self, fullname: str) -> str:
        return f"{self.origin}.broken"

    def get_data(self, path: str) -> bytes:
        return Path(self.origin).read_text("utf-8").replace(*self.replace).encode()


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, broken: Break) -> None:
        self.broken = broken

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.broken.module:
            return None
        loader = _Replacing(origin_of(fullname), self.broken.replace)
        return importlib.machinery.ModuleSpec(fullname, loader, origin=loader.origin)


class _Watch:
    """A pytest plugin: the first test that failed."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def origin_of(module: str) -> str:
    return str(ROOT.joinpath(*module.split(".")).with_suffix(".py"))


def all_breaks() -> list[Break]:
    return [*opcode_breaks(), *machine_breaks(), *judgement_breaks()]


def misplaced(breaks: list[Break]) -> list[str]:
    """The breaks that do not fit the code any more, and names that are given twice.

    A piece of source must stand in its module exactly once, and a patch must find what it replaces.
    """
    wrong = [
        broken.name
        for broken in breaks
        if broken.module and Path(origin_of(broken.module)).read_text("utf-8").count(broken.replace[0]) != 1
    ]
    wrong += [broken.name for broken in breaks if broken.patch is not None and not _applies(broken)]
    names = [broken.name for broken in breaks]
    return [*wrong, *{name for name in names if names.count(name) > 1}]


def _applies(broken: Break) -> bool:
    child = os.fork()
    if child == 0:
        try:
            broken.patch()
        except BaseException:  # noqa: BLE001 - whatever it is, nothing is broken then, and a test would notice nothing
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("word", nargs="?", default="", help="only breaks with this in their name")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="the break of this name, and not the tests without a break")
    parser.add_argument("--check", action="store_true", help="only see whether each break fits the source")
    parser.add_argument("--list", action="store_true", help="only list the breaks")
    options = parser.parse_args()
    breaks = all_breaks()
    wrong = misplaced(breaks)
    for name in wrong:
        print(f"FITS THE SOURCE NO MORE  {name}")
    if options.check:
        return 1 if wrong else 0
    chosen = [broken for broken in breaks if options.word in broken.name and broken.name not in wrong]
    chosen = [broken for broken in chosen if options.only in ("", broken.name)]
    if options.list:
        print(*(broken.name for broken in chosen), sep="\n")
        return 0
    _warm_up(() if options.only else ("hypothesis", "numpy", "torch"))
    started, survivors = time.monotonic(), []
    whole = Break(name="nothing broken", tests=(*MACHINE, *JUDGEMENT))
    for broken, failed in _run(chosen if options.only else [*chosen, whole], options.workers):
        if (failed == "") != (broken is whole):
            survivors.append(broken.name)
            print(f"SURVIVED  {broken.name}" if broken is not whole else f"FAILS UNBROKEN  {failed}", flush=True)
        elif broken is not whole:
            print(f"noticed   {broken.name}: {failed.removeprefix('tests/pickles/')}", flush=True)
    print(f"{len(chosen)} breaks, {len(survivors)} survivors, {time.monotonic() - started:.0f} s")
    return 1 if survivors or wrong else 0


def _warm_up(libraries: tuple[str, ...]) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins of others take longer than the tests
    sys.path.insert(0, str(ROOT / "tests"))
    for name in libraries:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "aiverify"]:
        del sys.modules[name]


def _run(breaks: list[Break], workers: int) -> Iterator[tuple[Break, str]]:
    """Each break with the test that noticed it, or nothing."""
    waiting, running = list(reversed(breaks)), {}
    while waiting or running:
        while waiting and len(running) < workers:
            broken = waiting.pop()
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                _child(broken, writing)
            os.close(writing)
            running[child] = broken, reading
        child, _ = os.wait()
        broken, reading = running.pop(child)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        yield broken, json.loads(answer) if answer else "the tests crashed"


def _child(broken: Break, writing: int) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    watch = _Watch()
    try:
        if broken.module:
            sys.meta_path.insert(0, _Finder(broken))
        if broken.patch is not None:
            broken.patch()
        for test in broken.tests:  # one after the other: most breaks fall at the first, and collecting takes time
            code = pytest.main([*_OPTIONS, str(ROOT / test)], plugins=[watch])
            if code:
                watch.failed = watch.failed or f"pytest ended with {int(code)}"
                break
    except BaseException as error:  # noqa: BLE001 - a break that cannot even be imported is noticed
        watch.failed = f"{type(error).__name__}: {error}"
    os.write(writing, json.dumps(watch.failed).encode())
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
