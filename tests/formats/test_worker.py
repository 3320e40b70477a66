"""What travels between the processes that examine files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pickle_builder as b
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.finding import Finding, Location, Severity, Unexamined
from aiverify.formats import worker
from aiverify.formats.interface import Examination, Format
from aiverify.formats.worker import LENGTH, Line, framed, packed, serve, unpacked

texts = st.text(st.characters(), max_size=20)  # lone surrogates included: a pickle may hold them
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
findings = st.builds(
    Finding,
    rule=texts,
    severity=st.sampled_from(Severity),
    message=texts,
    file=st.none() | texts,
    location=st.builds(Location, st.none() | texts, st.none() | st.integers(0, 2**63)),
    evidence=st.dictionaries(texts, values, max_size=3),
)
unexamined = st.builds(Unexamined, file=texts, reason=texts, member=st.none() | texts)
examinations = st.builds(
    Examination,
    format=st.sampled_from(Format),
    findings=st.lists(findings, max_size=3),
    unexamined=st.lists(unexamined, max_size=3),
)


@given(examinations)
def test_an_examination_arrives_as_it_was_sent(examination: Examination) -> None:
    frame = framed(packed(examination))
    (length,) = LENGTH.unpack_from(frame)
    assert length == len(frame) - LENGTH.size
    assert unpacked(json.loads(frame[LENGTH.size :])) == examination


def answers(*messages: dict[str, object]) -> list[dict[str, object]]:
    tasks, said = io.BytesIO(b"".join(map(framed, messages))), io.BytesIO()
    serve(tasks, said)
    said.seek(0)
    line = Line(said, io.BytesIO())
    return list(iter(line.receive, None))


def test_a_worker_answers_each_task_until_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b.stream(b.call("os.system", b.text("true"))))
    (tmp_path / "b").write_bytes(b.stream(b"N"))
    files = [{"location": str(tmp_path / name), "path": name, "state": None} for name in "axb"]
    tasks = [{"index": number, **file} for number, file in enumerate(files)]
    ready, first, second, third = answers({"engines": [], "trust": []}, *tasks)
    assert ready == {"ready": True}
    assert [item.rule for item in unpacked(first["examination"]).findings] == ["AIV301"]
    assert "x: cannot be read" in second["unreadable"]
    assert unpacked(third["examination"]).findings == []
    (_, exchanged) = answers({"engines": [], "trust": []}, tasks[2] | {"state": [0] * 5})  # not the file that was meant
    assert [item.rule for item in unpacked(exchanged["examination"]).findings] == ["AIV103"]

    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(worker, "examine", broken)
    assert answers({"engines": [], "trust": []}, tasks[0])[1] == {"index": 0, "failed": "RecursionError: too deep"}


def test_a_worker_without_a_word_ends() -> None:
    assert answers() == []


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_message_that_breaks_off_is_none(cut: int) -> None:
    assert Line(io.BytesIO(framed({"index": 1})[:-cut]), io.BytesIO()).receive() is None


def test_tasks_that_come_before_a_reply_are_kept() -> None:
    incoming = io.BytesIO(framed({"index": 1}) + framed({"opinion": None}) + framed({"index": 2}))
    line = Line(incoming, io.BytesIO())
    assert line.ask({"known": ["a", "b"]}, "opinion") is None
    assert [line.receive(), line.receive(), line.receive()] == [{"index": 1}, {"index": 2}, None]
    with pytest.raises(EOFError):
        line.ask({"known": ["a", "b"]}, "opinion")
