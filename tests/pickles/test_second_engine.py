"""The second engine: what it says counts for little, and what goes wrong with it counts for nothing."""

import json
import os
import pickle
import struct
import subprocess
import sys
import time
from concurrent.futures import CancelledError

import pickle_builder as b
import pytest
import torch

from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.pickles import engine as engine_module
from aiverify.pickles import fickling_child, fickling_engine
from aiverify.pickles.engine import Engines, Opinion
from aiverify.pickles.fickling_engine import FicklingEngine

RUN = b.stream(b.call("os.system", b.text("true")))


@pytest.fixture(scope="module")
def engine():
    engine = FicklingEngine()
    yield engine
    engine.close()


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, engine, name: str = "a.pkl"):
        path = tmp_path / "content"
        path.write_bytes(raw)
        return examine(path, name, ScanOptions(engines=Engines([("fickling", engine)])))

    return look


class Says:
    """An engine that always says the same."""

    def __init__(self, **opinion) -> None:
        self.opinion = Opinion(engine="other", **opinion)
        self.streams = []
        self.shown = []

    def declines(self, *, size: int, opcodes: int) -> str | None:
        return None

    def examine(self, stream: bytes, *, opcodes: int, shown: bool) -> Opinion:
        self.streams.append((stream, opcodes))
        self.shown.append(shown)
        return self.opinion

    def close(self) -> None:
        pass


def rules(examination) -> list[str]:
    return [item.rule for item in examination.findings]


# What an opinion is worth


def test_both_engines_agree_on_ordinary_files(engine, look, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "m.pt")
    for raw, name in [
        (pickle.dumps({"a": [1, "x"]}, 4), "a.pkl"),
        (pickle.dumps({"a": [1, "x"]}, 2), "a.pkl"),
        ((tmp_path / "m.pt").read_bytes(), "m.pt"),
    ]:
        assert rules(look(raw, engine, name)) == []


def test_a_payload_comes_with_the_second_opinion(engine, look):
    (item,) = look(RUN, engine).findings
    assert item.evidence["second_engine"]["engine"] == "fickling"
    assert "system" in item.evidence["second_engine"]["source"]
    assert item.evidence["payload"] == "os.system('true')"


def test_each_stream_of_a_file_gets_its_own_opinion(engine, look):
    first, second = look(RUN + b.stream(b.call("os.remove", b.text("x"))), engine).findings
    assert "system" in first.evidence["second_engine"]["source"]
    assert "remove" in second.evidence["second_engine"]["source"]


def test_an_opinion_about_a_later_stream_says_nothing_of_an_earlier_one(look):
    class Once(Says):
        def examine(self, stream, *, opcodes, shown):
            answer = super().examine(stream, opcodes=opcodes, shown=shown)
            return answer if len(self.streams) > 1 else Opinion(engine="other", incomplete="tired")

    examination = look(RUN + b.stream(b"N"), Once())
    (item,) = [item for item in examination.findings if item.rule == "AIV301"]
    assert "second_engine" not in item.evidence


def test_the_engine_is_given_exactly_the_stream(look):
    engine = Says()
    look(b.stream(b"N") + b.stream(b"]"), engine)
    assert engine.streams == [(b.stream(b"N"), 3), (b.stream(b"]"), 3)]


def test_a_name_that_only_the_other_engine_sees_is_a_finding(look):
    examination = look(b.stream(b"N"), Says(names=frozenset({("os", "system")})))
    assert rules(examination) == ["AIV309"]
    assert "fickling names os.system" in examination.findings[0].message


def test_names_in_either_spelling_are_no_disagreement(look):
    stream = b.stream(b.call("__builtin__.set"), 2)
    for names in ({("__builtin__", "set")}, {("builtins", "set")}, set()):
        assert "AIV309" not in rules(look(stream, Says(names=frozenset(names))))


def test_where_a_name_is_computed_no_disagreement_is_told(look):
    stream = b.stream(b.call("builtins.str") + b.text("x") + b"\x93")
    assert "AIV309" not in rules(look(stream, Says(names=frozenset({("os", "system")}))))


def test_its_severity_changes_nothing(look):
    assert rules(look(b.stream(b"N"), Says(severity="OVERTLY_MALICIOUS"))) == []


def test_an_incomplete_opinion_is_told_and_changes_nothing(look):
    examination = look(RUN, Says(incomplete="tired"))
    assert sorted(rules(examination)) == ["AIV301", "AIV312"]
    note = next(item for item in examination.findings if item.rule == "AIV312")
    assert note.severity == "info"
    assert "tired" in note.message
    assert examination.unexamined == []


# What can go wrong


def incomplete(engine, stream=b"N.", opcodes=2) -> str:
    opinion = engine.examine(stream, opcodes=opcodes)
    assert opinion.incomplete is not None
    assert (opinion.names, opinion.severity, opinion.source) == (frozenset(), None, None)
    return opinion.incomplete


def test_streams_beyond_the_budget_are_not_given_to_it():
    engine = FicklingEngine(opcodes=10, size=20)
    assert "11 opcodes are beyond its budget" in incomplete(engine, opcodes=11)
    assert "21 bytes are beyond its budget" in incomplete(engine, b"N" * 21)
    assert engine._child is None


@pytest.mark.parametrize(
    "stream",
    [b"", b"\xff\xff", b"F1.5\n.", b"\x82\x01.", b"\x97.", b"Pid\n.", b"(", b"cos\nsystem\n", b"N" * 1000 + b"."],
)
def test_what_it_cannot_read_is_an_incomplete_opinion_or_one(engine, stream):
    opinion = engine.examine(stream, opcodes=5)
    assert opinion.incomplete is None or len(opinion.incomplete) <= 220


MANY_GETS = b"\x80\x04]q\x00(" + b"h\x00" * 60 + b"e."


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"F1.5\n.", "FLOAT"),
        (b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.", "BYTEARRAY8"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (MANY_GETS, "a limit of its own"),
        (b"\x80\x04" + b"(" * 11_000 + b"1" * 11_000 + b"N.", "a limit of its own"),
    ],
    ids=["FLOAT", "BYTEARRAY8", "EXT", "PERSID", "GETs", "stack"],
)
def test_its_known_limits_are_recorded_and_change_nothing(engine, look, stream, reason):
    assert reason in incomplete(engine, stream)
    with_it, without = look(stream, engine), look(stream, Says())
    notes = [item for item in with_it.findings if item.rule == "AIV312"]
    assert reason in notes[0].message
    assert notes[0].severity == "info"
    assert [item for item in with_it.findings if item not in notes] == without.findings


def test_a_long_constant_does_not_make_it_slow_or_its_answer_long(engine):
    stream = pickle.dumps([b"x" * (20 << 20), "y" * 100_000], 4)
    opinion = engine.examine(stream, opcodes=8)
    assert opinion.incomplete is None
    assert len(opinion.source) < 20_000


def test_what_an_engine_raises_is_an_incomplete_opinion(look):
    class Broken(Says):
        def examine(self, stream, *, opcodes, shown):
            raise RuntimeError("no")

    class Refusing(Says):
        def declines(self, *, size, opcodes):
            raise RuntimeError("no")

    for engine in (Broken(), Refusing()):
        examination = look(b.stream(b"N"), engine)
        assert rules(examination) == ["AIV312"]
        assert "it failed (RuntimeError)" in examination.findings[0].message


def test_an_engine_that_declines_is_not_given_the_stream(look):
    class Declining(Says):
        def declines(self, *, size, opcodes):
            return f"{size} bytes and {opcodes} opcodes"

    engine = Declining()
    assert "4 bytes and 3 opcodes" in look(b.stream(b"N"), engine).findings[0].message
    assert engine.streams == []


def test_who_waits_for_an_opinion_is_told_when_the_engines_are_closed():
    engine = FicklingEngine()
    slow = b.stream(b"]" + b"K\x01a" * 45_000)
    with Engines([("fickling", engine)]) as engines:
        answers = [engines.ask(slow, 0, len(slow), 90_000), engines.ask(RUN, 0, len(RUN), 9)]
        while engine._child is None:
            time.sleep(0.001)
        child = engine._child
    (opinion,) = answers[0]()
    assert "the engine stopped" in (opinion.incomplete or "")  # and not that it had no time left
    with pytest.raises(CancelledError):
        answers[1]()
    assert child.poll() is not None


def test_an_engine_may_prepare_itself_before_a_stream_is_read(look):
    class Prepared(Says):
        def __init__(self):
            super().__init__()
            self.done = []

        def prepare(self):
            self.done.append("prepared")
            raise RuntimeError("which is its own business")

        def examine(self, stream, *, opcodes, shown):
            self.done.append("asked")
            return super().examine(stream, opcodes=opcodes, shown=shown)

    engine = Prepared()
    assert rules(look(b.stream(b"N"), engine)) == []
    assert engine.done == ["prepared", "asked"]


def test_identical_streams_are_examined_once():
    said = Says(severity="odd")
    engines = Engines([("one", said)])
    stream, other = b.stream(b"N"), b.stream(b"]")
    answers = [engines.opinions(stream + other, 0, len(stream), 3) for _ in range(3)]
    answers.append(engines.opinions(other + stream, len(other), len(other + stream), 3))
    assert answers == [[Opinion(engine="one", severity="odd")]] * 4
    assert said.streams == [(stream, 3)]


def test_a_stream_is_examined_again_when_more_of_the_opinion_is_to_be_shown():
    said = Says()
    engines = Engines([("one", said)])
    for shown in (False, False, True, True, False):
        engines.opinions(b"N.", 0, 2, 2, shown=shown)
    assert said.shown == [False, True]


def test_only_an_opinion_about_something_dangerous_is_going_to_be_shown(look):
    for stream, shown in ((b.stream(b"N"), False), (RUN, True), (b.stream(b.call("odd.name")), False)):
        said = Says()
        look(stream, said)
        assert said.shown == [shown]


@pytest.mark.parametrize("stream", [RUN, b.stream(b.call("collections.OrderedDict")), b.stream(b"N")])
def test_what_is_not_shown_is_not_worked_out_and_the_names_are_the_same(engine, stream):
    whole, bare = (engine.examine(stream, opcodes=9, shown=shown) for shown in (True, False))
    assert None not in (whole.severity, whole.source)
    assert bare == Opinion(engine="fickling", names=whole.names)


def test_the_memory_for_opinions_is_bounded(monkeypatch):
    monkeypatch.setattr(engine_module, "_KEPT", 5_000)
    said = Says(source="x" * 1_000)
    engines = Engines([("one", said)])
    for number in range(20):
        engines.opinions(b"%d" % number, 0, 2, 1)
    engines.opinions(b"19", 0, 2, 1)
    assert len(said.streams) == 20
    engines.opinions(b"0", 0, 1, 1)
    assert len(said.streams) == 21


def test_one_file_cannot_have_all_of_an_engines_time(monkeypatch):
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: float(next(clock)))
    engines = Engines([("one", Says())])
    said = [engines.opinions(b"%d" % number, 0, 1, 1)[0].incomplete for number in range(4)]
    assert said == [None, None, *["this file took 120 s of its time"] * 2]
    engines.file()
    assert engines.opinions(b"9", 0, 1, 1)[0].incomplete is None


def test_every_engine_is_heard(look, tmp_path):
    path = tmp_path / "content"
    path.write_bytes(RUN)
    engines = Engines([("one", Says(severity="a")), ("two", Says(severity="b")), ("three", Says(severity="c"))])
    (item,) = examine(path, "a.pkl", ScanOptions(engines=engines)).findings
    assert item.evidence["second_engine"]["engine"] == "one"
    assert [said["engine"] for said in item.evidence["further_engines"]] == ["two", "three"]


@pytest.fixture
def answering(monkeypatch):
    """Replaces the child by a program that answers as it is told."""
    engines = []

    def answering(program: str, **options) -> FicklingEngine:
        monkeypatch.setattr(fickling_engine, "_BOOT", program)
        engine = FicklingEngine(**options)
        engines.append(engine)
        return engine

    yield answering
    for engine in engines:
        engine.close()


def answer(raw: bytes) -> str:
    framed = struct.pack("<Q", len(raw)) + raw
    speak = f"sys.stdout.buffer.write({framed!r}); sys.stdout.flush()"
    return f"import sys, time; sys.stdin.buffer.read(9); {speak}; time.sleep(60)"


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(1)",
        "import os; os.abort()",
        "import sys; sys.stdin.buffer.read(8); sys.stdout.buffer.write(b'xy')",
        answer(b"not json"),
        answer(b"[]"),
        answer(b"{}"),
        answer(b'{"names": 1}'),
        answer(b'{"names": [["a"]], "severity": "x", "source": "y"}'),
        answer(b'{"names": [1], "severity": "x", "source": "y"}'),
        answer(b'{"names": []}'),
        answer(b"\xff"),
        "import sys; sys.stdout.buffer.write(b'\\xff' * 8); sys.stdout.flush(); import time; time.sleep(60)",
        "import sys; sys.stdout.buffer.write(b'x' * 100000000)",
    ],
)
def test_an_engine_that_crashes_or_answers_nonsense_is_incomplete(answering, program):
    engine = answering(program, seconds=20.0)
    assert "the engine stopped" in incomplete(engine)
    assert engine._child is None


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "import sys\nwhile True: sys.stdin.buffer.read(8)"])
def test_an_engine_that_says_nothing_is_ended(answering, program):
    engine = answering(program, seconds=0.3)
    start = time.monotonic()
    assert "no answer within 0.3 s" in incomplete(engine, b"N" * 200_000)
    assert time.monotonic() - start < 10
    assert engine._child is None


def test_an_engine_that_reads_nothing_is_ended(answering):
    engine = answering("import time; time.sleep(60)", seconds=0.3)
    assert "no answer" in incomplete(engine, b"N" * 10_000_000)


def test_a_very_long_complaint_is_cut(answering):
    engine = answering(answer(json.dumps({"incomplete": "x" * 5000}).encode()))
    assert len(incomplete(engine)) == 200


def test_an_interruption_ends_the_child(answering, monkeypatch):
    engine = answering("import time; time.sleep(60)")
    monkeypatch.setattr(fickling_engine, "_wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        engine.examine(b"N.", opcodes=2)
    assert engine._child is None


def test_a_stream_that_takes_long_is_given_up_and_the_next_one_is_read():
    engine = FicklingEngine(seconds=0.6)
    slow = b"(" + b"(" * 3000 + b"N" + b"t" * 3000 + b"t."
    try:
        engine.examine(slow * 20, opcodes=1)
        engine._seconds = 20.0
        assert engine.examine(b"N.", opcodes=2).incomplete is None
    finally:
        engine.close()


def test_a_child_that_was_killed_is_replaced(engine):
    assert engine.examine(b"N.", opcodes=2).incomplete is None
    engine._child.kill()
    engine._child.wait()
    assert "the engine stopped" in incomplete(engine)
    assert engine.examine(b"N.", opcodes=2).incomplete is None


def test_the_child_is_warm_and_gone_after_close():
    engine = FicklingEngine()
    engine.examine(b"N.", opcodes=2)
    child = engine._child
    engine.examine(b"].", opcodes=2)
    assert engine._child is child
    engine.close()
    assert child.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    engine.close()


# What the child may do


DOORS = """
import sys, json
sys.path[:] = sys.argv[2:]
from aiverify.pickles.confinement import close_doors
import os, socket, subprocess, pathlib, threading, ctypes
close_doors(4 << 30)
try:
    exec(sys.argv[1])
except BaseException as error:
    print(type(error).__name__)
else:
    print("done")
"""

# What measures coverage writes a file at the end, for which the child would be ended.
UNMEASURED = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}


@pytest.mark.parametrize(
    "deed",
    [
        "open('{target}', 'w')",
        "open('{target}', 'x')",
        "open('{target}', 'ab')",
        "open('/dev/null', 'r+b')",
        "os.write(os.open('{target}', os.O_WRONLY | os.O_CREAT), b'x')",
        "pathlib.Path('{target}').touch()",
        "os.remove('{target.parent}/kept')",
        "pathlib.Path('{target}').parent.joinpath('kept').unlink()",
        "os.rename('{target.parent}/kept', '{target}')",
        "os.mkdir('{target}')",
        "os.symlink('x', '{target}')",
        "os.kill(os.getppid(), 0)",
        "os.system('touch {target}')",
        "subprocess.run(['touch', '{target}'])",
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], dict())",
        "os.execv('/bin/touch', ['touch', '{target}'])",
        "socket.socket()",
        "socket.create_connection(('127.0.0.1', 9))",
        "ctypes.CDLL(None)",
        "bytearray(5 << 30)",
        "[os.dup(0) for _ in range(100)]",
    ],
)
def test_the_child_cannot_do_harm(tmp_path, deed):
    target = tmp_path / "made"
    (tmp_path / "kept").touch()
    command = [sys.executable, "-I", "-c", DOORS, deed.format(target=target), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() != "done", (done.stdout, done.stderr)
    assert not target.exists()
    assert (tmp_path / "kept").exists()


def test_the_child_can_still_read():
    command = [sys.executable, "-I", "-c", DOORS, f"open({__file__!r}).read()", *sys.path]
    assert (
        subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=UNMEASURED).stdout.strip()
        == "done"
    )


# The child's own work, in this process


def test_the_child_answers_with_names_severity_and_source():
    said = fickling_child._examine(RUN, shown=True)
    assert said["names"] == [("os", "system")]
    assert "system" in said["source"]
    for shown in (True, False):
        assert fickling_child._examine(b"\x80\x04\xff", shown=shown)["incomplete"]
        assert fickling_child._examine(b"", shown=shown)["incomplete"]


def test_the_child_reads_until_its_input_ends():
    command = [sys.executable, "-I", "-c", fickling_engine._BOOT, "20", *sys.path]
    question = b"".join(struct.pack("<Q?", len(stream), False) + stream for stream in (RUN, b"N."))
    done = subprocess.run(command, input=question, capture_output=True, timeout=60, check=True, env=UNMEASURED)
    answers, rest = [], done.stdout
    while rest:
        (length,) = struct.unpack_from("<Q", rest)
        answers.append(json.loads(rest[8 : 8 + length]))
        rest = rest[8 + length :]
    assert [answer_["names"] for answer_ in answers] == [[["os", "system"]], []]
    assert done.stderr == b""
