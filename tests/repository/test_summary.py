"""Summaries of Python: any text gives one, or an error of the parser, and the child process survives it."""

from __future__ import annotations

import ast
import sys

import pytest
from fuzzing import effort
from hypothesis import example, given
from hypothesis import strategies as st

from aiverify.repository import summaries as module
from aiverify.repository.summaries import summaries
from aiverify.repository.summary import summarise

PIECES = st.sampled_from(
    [
        "import os",
        "from x import *",
        "def f():",
        "class A(B):",
        " ",
        "x = 1",
        "os.system('x')",
        "eval",
        "f()",
        "A()",
        "lambda: f()",
        "[",
        "(",
        "if x:",
        "getattr(os, 'a')",
        "@f",
        "async def g(): pass",
        "return",
        "f'{x!r}'",
        "\x00",
        "\\",
    ]
)


@effort(200)
@given(st.lists(PIECES, max_size=20).map("\n".join) | st.text(max_size=300))
@example("f'{" * 50)
def test_any_text_has_a_summary_or_is_no_python(source: str) -> None:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        with pytest.raises((SyntaxError, ValueError, RecursionError, MemoryError)):
            summarise(source)
    else:
        told = summarise(source)
        assert set(told["at_import"]) <= set(told["does"])


def test_sources_that_end_their_reader_leave_the_others_a_summary() -> None:
    deep = "x = " + "-" * 300_000 + "1"
    told = summaries(["import os", deep, "(" * 9000, "x = \ud800", "\x00", "import socket\nsocket.socket()"])
    assert [bool(item.error) for item in told] == [False, True, True, True, True, False]
    assert told[-1].at_import == {"network": ["socket.socket (line 2)"]}


def test_a_function_that_is_called_on_import_counts_and_one_that_is_not_does_not() -> None:
    source = "import os\ndef a(): b()\ndef b(): os.system('x')\ndef c(): eval('x')\n"
    assert set(summarise(source + "a()\n")["at_import"]) == {"process"}
    assert summarise(source)["at_import"] == {}
    assert set(summarise(source)["does"]) == {"process", "dynamic"}


def test_without_a_process_for_its_reader_a_source_has_no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (told,) = summaries(["import os"])
    assert told.error is not None
    assert "could not be started" in told.error


def test_a_reader_that_is_too_slow_is_given_up_and_what_it_said_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    told = '{"does": {}, "at_import": {}, "imports": []}'
    monkeypatch.setattr(module, "_BOOT", f"import time; print({told!r}, flush=True); time.sleep(60)")
    monkeypatch.setattr(module, "SECONDS", 0.5)
    assert [bool(item.error) for item in summaries(["a", "b", "c", "d"])] == [False, True, False, True]
