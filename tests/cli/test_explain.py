"""``aiverify explain``: what a rule means."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from aiverify.cli.app import app
from aiverify.rules import rules


@pytest.mark.parametrize("rule", ["AIV301", "aiv301"])
def test_a_rule_is_explained_with_what_why_and_fix(rule: str) -> None:
    ran = CliRunner().invoke(app, ["explain", rule])
    assert ran.exit_code == 0
    known = rules()["AIV301"]
    assert ran.stdout.startswith(f"AIV301: {known.title}  [critical]\n\nWhat: ")
    words = " ".join(ran.stdout.split())
    for text in (known.what, known.why, known.fix, known.help_url):
        assert " ".join(text.split()) in words
    assert max(map(len, ran.stdout.splitlines())) <= 100


def test_without_a_rule_all_are_listed() -> None:
    ran = CliRunner().invoke(app, ["explain"])
    assert [line.split()[0] for line in ran.stdout.splitlines()] == list(rules())


@pytest.mark.parametrize("rule", ["AIV999", "", "301", "\x1b[2J"])
def test_an_unknown_rule_is_an_error(rule: str) -> None:
    ran = CliRunner().invoke(app, ["explain", rule])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "is not a rule" in ran.stderr
    assert "\x1b" not in ran.stderr
