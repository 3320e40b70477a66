"""The rules and the findings that refer to them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiverify.finding import Severity
from aiverify.rules import finding, rules

PACKAGE = Path(__file__).parent.parent / "aiverify"


def test_every_rule_has_a_stable_id_and_all_its_texts() -> None:
    assert list(rules()) == sorted(rules())
    for key, rule in rules().items():
        assert re.fullmatch("AIV[1-7][0-9]{2}", key)
        assert rule.id == key
        for text in (rule.title, rule.what, rule.why, rule.fix):
            assert text == text.strip()
            assert text.isprintable()
            assert text
        assert not rule.title.endswith(".")
        assert all(text.endswith(".") for text in (rule.what, rule.why, rule.fix))
        assert rule.help_url.endswith(f"/rules/{key}/")


def test_titles_are_unlike_each_other() -> None:
    assert len({rule.title for rule in rules().values()}) == len(rules())


def named_in_the_code() -> dict[str, set[str]]:
    places: dict[str, set[str]] = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.toml")]:
        if path.name != "rules.toml":
            for rule in re.findall(r"\bAIV[0-9]{3}\b", path.read_text("utf-8")):
                places.setdefault(rule, set()).add(path.name)
    return places


def test_every_rule_that_the_code_names_exists() -> None:
    assert set(named_in_the_code()) <= set(rules())


def test_a_finding_has_the_severity_of_its_rule_unless_another_is_given() -> None:
    assert finding("AIV301", "seen").severity is Severity.CRITICAL
    assert finding("AIV301", "seen", severity=Severity.INFO).severity is Severity.INFO
    full = finding("AIV301", "seen", file="a", member="b", offset=3, evidence={"c": 1})
    assert (full.file, full.location.member, full.location.offset, full.evidence) == ("a", "b", 3, {"c": 1})


def test_a_finding_under_no_rule_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        finding("AIV999", "seen")


def test_severities_have_an_order() -> None:
    assert [severity.value for severity in sorted(Severity, key=lambda item: item.rank)] == [
        *("info", "low", "medium", "high", "critical"),
    ]
