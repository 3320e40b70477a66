"""The fixture, in a test suite of its own that pytest runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from end_to_end import SAMPLES

pytest_plugins = ["pytester"]

SUITE = """
def test_the_model_is_there(verified_model):
    assert list(verified_model({model!r}).glob("*.safetensors"))

def test_the_sealed_copy_is_what_is_loaded(verified_model):
    assert not verified_model({model!r}).is_relative_to({model!r})
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty test suite that asks for the fixture, with an empty store."""
    monkeypatch.setenv("AIVERIFY_STORE", str(tmp_path / "store"))
    pytester.makeconftest('pytest_plugins = ["aiverify.testing"]')
    return pytester


def test_a_model_that_passes_is_given_to_the_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE.format(model=str(SAMPLES / "checkpoint")))

    suite.runpytest().assert_outcomes(passed=2)


def test_a_model_that_is_blocked_fails_the_test_and_says_why(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE.format(model=str(SAMPLES / "payload")))

    result = suite.runpytest()

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*names posix.system*AIV301*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_model_that_is_not_there_fails_the_test_and_is_not_skipped(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE.format(model="no/such/folder/at/all"))

    suite.runpytest().assert_outcomes(failed=2)


def test_nothing_changes_for_a_suite_that_does_not_ask(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(verified_model): pass")

    result = pytester.runpytest()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'verified_model' not found*"])
