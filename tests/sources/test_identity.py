"""A repository that is named like another, was made lately, or has another name on the Hub."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.finding import Severity
from aiverify.sources.identity import lookalikes, renamed, young

KNOWN = ("deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.1-8B", "acme/*")
NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "repo",
    [
        "deepseek_ai/DeepSeek-R1",
        "deepseekai/deepseek-r1",
        "deepseek-al/DeepSeek-R1",
        "deepsek-ai/DeepSeek-R1",
        "deepseek-ia/DeepSeek-R1",
        "rneta-llama/Llama-3.1-8B",
        "meta-11ama/Llama-3.1-8B",
        "acrne/anything",
    ],
)
def test_a_name_like_a_known_one_is_said_as_information(repo: str) -> None:
    (said,) = lookalikes(repo, KNOWN)
    assert (said.rule, said.severity) == ("AIV611", Severity.INFO)
    assert said.evidence["found"] == repo


@pytest.mark.parametrize(
    "repo",
    [
        *KNOWN[:2],
        "acme/anything",
        "ACME/Anything",
        KNOWN[0].lower(),
        "deepseek-ai/DeepSeek-V3",
        "deepseek-ai/DeepSeek-R2",
        "gpt2",
        "org/model",
        "acm/x",
    ],
)
def test_a_known_name_and_a_quite_different_one_are_not(repo: str) -> None:
    assert list(lookalikes(repo, KNOWN)) == []


@given(st.text("abcABC0123-_./", min_size=1, max_size=20), st.lists(st.text("abcAB01-_./*", max_size=20), max_size=4))
def test_no_name_is_like_itself_and_none_breaks_it(repo: str, known: list[str]) -> None:
    assert list(lookalikes(repo, [*known, repo])) == []
    assert len(list(lookalikes(repo, known))) <= len(known)


def test_another_name_on_the_hub_is_said() -> None:
    assert [said.rule for said in renamed("org/old", "new/name")] == ["AIV608"]
    assert list(renamed("org/Model", "org/model")) == []
    assert list(renamed("org/model", None)) == []


@pytest.mark.parametrize(
    ("created", "rules"),
    [
        ("2026-10-25T00:00:00.000Z", ["AIV612"]),
        ("2026-11-02T00:00:00.000Z", ["AIV612"]),
        ("2026-01-01T00:00:00Z", []),
        ("2026-99-99T00:00:00Z", []),
        (None, []),
    ],
)
def test_a_repository_made_lately_is_said(created: str | None, rules: list[str]) -> None:
    assert [said.rule for said in young(created, NOW)] == rules
