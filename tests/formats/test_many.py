"""Many files over all cores: the same answers in the same order, and no file that a process dies of is passed over."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pickle_builder as b
import pytest
from end_to_end import SAMPLES, Machine

from aiverify.formats import crew
from aiverify.formats.crew import WorkerError
from aiverify.formats.interface import FormatError, state_of
from aiverify.formats.many import Subject, examine_many
from aiverify.formats.worker import packed
from aiverify.pickles.engine import EngineError, Engines, Opinion
from aiverify.progress import Silent

RUN = b.stream(b.call("os.system", b.text("true")))

# An engine that shows what the processes do: notes every question, and can be told to fail.
ENGINE = """
import os, signal, time
from aiverify.pickles.engine import Opinion
class Engine:
    def declines(self, *, size, opcodes):
        return None
    def examine(self, stream, *, opcodes, shown):
        with open({log!r}, "ab", buffering=0) as log:
            log.write(stream.hex().encode() + b"\\n")
        if b"crash" in stream:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"leave" in stream:
            os._exit(3)
        if b"hang" in stream:
            time.sleep(600)
        return Opinion(engine="x", severity="fine")
    def close(self):
        pass
"""


class Heard(Silent):
    """Progress that is kept."""

    def __init__(self) -> None:
        self.bytes = 0
        self.details: list[str] = []

    def advance(self, count: int) -> None:
        self.bytes += count

    def detail(self, text: str) -> None:
        self.details.append(text)


@pytest.fixture
def subjects(tmp_path: Path):
    def subjects(*contents: bytes) -> list[Subject]:
        made = []
        for number, content in enumerate(contents):
            path = tmp_path / f"{number}.pkl"
            path.write_bytes(content)
            made.append(Subject(location=path, path=path.name, size=len(content)))
        return made

    return subjects


@pytest.fixture
def noting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs the engine ``noting``; the file that it writes to."""
    site, log = tmp_path / "site", tmp_path / "log"
    information = site / "noting_engine-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "noting_engine.py").write_text(ENGINE.format(log=str(log)))
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: noting-engine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[aiverify.engines]\nnoting = noting_engine:Engine\n")
    monkeypatch.syspath_prepend(str(site))
    log.touch()
    return log


def said(word: str) -> bytes:
    return b.stream(b.text(word))


def test_processes_say_what_one_says_in_the_same_order(subjects, tmp_path: Path) -> None:
    names = ["signed", "checkpoint", "payload"]
    files = [path for name in names for path in sorted((SAMPLES / name).rglob("*")) if path.is_file()]
    mixed = [Subject(location=path, path=path.name, size=path.stat().st_size) for path in files]
    mixed += subjects(RUN, b"", b"\x80\x04(", pickle.dumps([1, "\ud800"], 4, fix_imports=False), RUN + b"tail", b"\xff")
    here = [packed(item) for item in examine_many(mixed, engines=["fickling"], progress=Silent(), processes=1)]
    there = [packed(item) for item in examine_many(mixed, engines=["fickling"], progress=Silent(), processes=3)]
    assert there == here
    assert len(here) == len(mixed)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_in_another_state_than_was_meant_is_told_by_whoever_reads_it(subjects, processes: int) -> None:
    files = [replace(item, state=state_of(item.location.stat())) for item in subjects(said("a"), said("b"), said("c"))]
    other = files[1].location.with_name("other")
    other.write_bytes(files[1].location.read_bytes())
    other.replace(files[1].location)
    found = [examination.findings for examination in examine_many(files, progress=Silent(), processes=processes)]
    assert [[item.rule for item in of] for of in found] == [[], ["AIV103"], []]


def test_what_is_trusted_reaches_the_processes(subjects) -> None:
    files = subjects(*[b.stream(b.call("mylib.Thing"))] * 2)
    for trust, expected in [(frozenset(), ["AIV302"]), (frozenset({"mylib.Thing"}), [])]:
        for item in examine_many(files, trust=trust, progress=Silent(), processes=2):
            assert [found.rule for found in item.findings] == expected


def test_progress_counts_bytes_and_files(subjects) -> None:
    files = subjects(*[said(word) for word in "abcde"])
    for processes in (1, 2):
        heard = Heard()
        list(examine_many(files, progress=heard, processes=processes))
        assert heard.bytes == sum(file.size for file in files)
        assert [text.split(":")[0] for text in heard.details] == [f"{number} of 5" for number in range(1, 6)]


def test_identical_streams_are_examined_once_whichever_process_meets_them(subjects, noting: Path) -> None:
    files = subjects(*[said("same")] * 40, *[said(f"other {number}") for number in range(5)])
    for item in examine_many(files, engines=["noting"], progress=Silent(), processes=3):
        assert item.findings == []
    asked = noting.read_text().split()
    assert len(asked) == len(set(asked)) == 6


@pytest.mark.parametrize(
    ("word", "reason"), [("crash", "ended the process by SIGSEGV"), ("leave", "ended the process with code 3")]
)
def test_a_file_that_a_process_dies_of_is_unexamined_and_the_others_are_not(
    subjects, noting: Path, word: str, reason: str
) -> None:
    files = subjects(said("a"), said(word), said("b"), RUN, said(word), said("c"))
    results = list(examine_many(files, engines=["noting"], progress=Silent(), processes=2))
    reasons = [[item.reason for item in result.unexamined] for result in results]
    assert reasons == [[], [f"its examination {reason}"], [], [], [f"its examination {reason}"], []]
    assert [item.rule for item in results[3].findings] == ["AIV301"]


def test_who_waits_for_the_opinion_of_a_process_that_died_asks_for_itself(subjects, noting: Path) -> None:
    files = subjects(*[said("crash")] * 6, said("a"))
    results = list(examine_many(files, engines=["noting"], progress=Silent(), processes=3))
    assert [len(result.unexamined) for result in results] == [1] * 6 + [0]


def test_a_file_that_takes_for_ever_is_given_up(subjects, noting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "SECONDS", 3.0)
    files = subjects(said("a"), said("hang"), said("b"))
    results = list(examine_many(files, engines=["noting"], progress=Silent(), processes=2))
    assert [[item.reason for item in result.unexamined] for result in results] == [
        [],
        ["its examination took more than 3 s"],
        [],
    ]


def test_after_many_deaths_the_rest_is_unexamined(subjects, noting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_MAX_DEATHS", 2)
    files = subjects(*[said(f"crash {number}") for number in range(9)])
    results = list(examine_many(files, engines=["noting"], progress=Silent(), processes=2))
    assert all(result.unexamined for result in results)
    assert len(noting.read_text().split()) <= 4


def test_a_file_that_cannot_be_read_is_an_error(subjects, tmp_path: Path) -> None:
    files = [*subjects(said("a"), said("b")), Subject(location=tmp_path / "gone", path="gone", size=5)]
    for processes in (1, 2):
        with pytest.raises(FormatError, match="gone: cannot be read: No such file"):
            list(examine_many(files, progress=Silent(), processes=processes))


def test_an_engine_that_is_not_there_is_told_before_anything_is_started(subjects) -> None:
    with pytest.raises(EngineError):
        list(examine_many(subjects(said("a")), engines=["nobody"], progress=Silent(), processes=2))


READY = """
import sys, struct
def say(b):
    sys.stdout.buffer.write(struct.pack("<Q", len(b)) + b)
    sys.stdout.flush()
say(b'{"ready": true}')
"""


@pytest.mark.parametrize(
    "program",
    [
        f"{READY}say(b'not json'); sys.stdin.read()",
        f"{READY}say(b'[]'); sys.stdin.read()",
        f"{READY}say(b'{{\"index\": 77}}'); sys.stdin.read()",
        f"{READY}sys.stdout.buffer.write(b'\\xff' * 9); sys.stdout.flush(); sys.stdin.read()",
        f"{READY}sys.stdin.buffer.read(20)",
    ],
)
def test_nonsense_from_a_process_is_no_pass(subjects, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(crew, "_BOOT", program)
    monkeypatch.setattr(crew, "_MAX_DEATHS", 2)
    for result in examine_many(subjects(said("a"), said("b"), said("c")), progress=Silent(), processes=2):
        assert result.unexamined


def test_an_answer_nobody_asked_for_is_no_pass(subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first process is given both files: the second one has nothing to answer, and does.
    monkeypatch.setattr(crew, "_BOOT", f"{READY}say(b'{{\"index\": 1}}'); sys.stdin.read()")
    monkeypatch.setattr(crew, "_MAX_DEATHS", 3)
    for result in examine_many(subjects(said("a"), said("b")), progress=Silent(), processes=2):
        assert result.unexamined


def test_processes_that_cannot_be_started_are_an_error(subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_BOOT", "raise SystemExit(1)")
    with pytest.raises(WorkerError):
        list(examine_many(subjects(said("a"), said("b")), progress=Silent(), processes=2))


def test_little_work_starts_no_process(subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_BOOT", "raise SystemExit(1)")
    assert len(list(examine_many(subjects(*[said("a")] * 20), progress=Silent()))) == 20
    large = [Subject(location=file.location, path=file.path, size=1 << 30) for file in subjects(said("a"), said("b"))]
    assert len(list(examine_many(large, progress=Silent()))) == 2


class Slow:
    """An engine that is in no hurry, and sees a name in every stream."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.answered = 0

    def declines(self, *, size, opcodes):
        return None

    def examine(self, stream, *, opcodes, shown):
        assert self.may_answer.wait(60)
        self.answered += 1
        return Opinion(engine="slow", names=frozenset({("os", "system")}))

    def close(self):
        pass


def test_nobody_waits_for_a_second_engine_before_its_answer_is_needed(subjects) -> None:
    slow = Slow()
    with Engines([("slow", slow)]) as engines:
        examinations = examine_many(subjects(b.stream(b"N"), b.stream(b"K\x01")), progress=Silent(), here=engines)
        first = next(examinations)
        assert (first.findings, slow.answered) == ([], 0)
        slow.may_answer.set()
        second = next(examinations)
        assert [item.rule for item in first.findings] == ["AIV309"]  # before the next file is begun
        assert [item.rule for item in second.settle()] == ["AIV309"]
        assert [item.rule for item in second.findings] == ["AIV309"]
        assert (second.settle(), slow.answered) == ([], 2)


def test_an_answer_inside_of_an_archive_is_waited_for(tmp_path: Path) -> None:
    slow = Slow()
    slow.may_answer.set()
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.zip", b"")
        archive.writestr("inner.pkl", b.stream(b"N"))
    subject = Subject(location=path, path=path.name, size=path.stat().st_size)
    with Engines([("slow", slow)]) as engines:
        (examination,) = examine_many([subject], progress=Silent(), here=engines)
        examination.settle()
    assert [item.location.member for item in examination.findings if item.rule == "AIV309"] == ["inner.pkl"]


def test_what_a_conversion_needs_is_kept_when_asked_for(tmp_path: Path) -> None:
    file = next((SAMPLES / "checkpoint").rglob("*.bin"))
    (kept,) = examine_many([Subject(location=file, path=file.name, size=1)], progress=Silent(), here=Engines())
    (dropped,) = examine_many([Subject(location=file, path=file.name, size=1)], progress=Silent())
    assert kept.checkpoint is not None
    assert dropped.checkpoint is None


# The whole command


def marked(mark: str) -> Iterator[int]:
    """The processes that carry ``mark`` in their environment."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"MARK={mark}".encode() in (entry / "environ").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue


def end_of(process: int) -> int | None:
    """What becomes readable when ``process`` ends; ``None`` if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        return os.pidfd_open(process)
    return None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    folder = machine.here / "model"
    folder.mkdir()
    slow = b"\x80\x02](" + b"I1\n" * 300_000 + b"e."
    for number in range(12):
        (folder / f"{number}.pkl").write_bytes(slow + b"%d" % number)
    return machine


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_an_interrupt_ends_every_process_at_once(machine: Machine) -> None:
    mark = f"many-{os.getpid()}"
    ran = machine.interrupt("scan", "model", when=lambda line: line.startswith("  1 of 12"), MARK=mark)
    assert (ran.code, ran.out) == (2, "")
    assert "interrupted: no verdict" in ran.err
    assert "Traceback" not in ran.err
    assert list(marked(mark)) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_processes_do_not_outlive_one_that_was_killed(machine: Machine) -> None:
    mark = f"killed-{os.getpid()}"
    command = [sys.executable, "-m", "aiverify", "scan", "model", "-v"]
    environment = machine.environ(measured=False, MARK=mark)
    with subprocess.Popen(
        command, cwd=machine.here, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        assert any(line.startswith("  1 of 12") for line in child.stderr)
        child.send_signal(signal.SIGKILL)
        child.wait()
        left = [ended for process in marked(mark) if (ended := end_of(process)) is not None]
        for ended in left:
            assert select.select([ended], [], [], 30)[0]
            os.close(ended)
    assert list(marked(mark)) == []


def test_many_files_are_scanned_as_few_are(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    folder = machine.here / "model"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number:03}.pkl").write_bytes(said("x" * number))
    (folder / "123.pkl").write_bytes(RUN)
    ran = machine.run("scan", "model", "--format", "json")
    assert ran.code == 1
    assert [(item["file"], item["rule"]) for item in ran.report["findings"]] == [("123.pkl", "AIV301")]
    assert [file["path"] for file in ran.report["artifact"]["files"]] == [f"{number:03}.pkl" for number in range(250)]
