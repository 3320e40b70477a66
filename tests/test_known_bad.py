"""Feeds of known-bad models: what an entry is about, and that a feed is understood or refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from repository_builder import safetensors, write

from aiverify.known_bad import BadModel, FeedError, read_feed
from aiverify.pipeline import Options, run
from aiverify.policy import DEFAULT_POLICY, PolicyError, read_policy
from aiverify.report import Outcome

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(name: str = "org/bad", **more: Any) -> dict[str, Any]:
    return {
        "id": "ORG-1",
        "summary": "steals",
        "affected": [{"package": {"ecosystem": "HuggingFace", "name": name}, **more}],
    }


def feed(folder: Path, content: object) -> Path:
    path = folder / "feed.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("more", "meant", "other"),
    [
        ({}, [COMMIT, None], []),
        ({"versions": [COMMIT]}, [COMMIT, None], ["f" * 40]),
        ({"versions": [COMMIT[:12]]}, [COMMIT], ["f" * 40]),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}, {"fixed": COMMIT}]}]}, ["f" * 40], [COMMIT]),
    ],
)
def test_an_entry_is_about_the_commits_that_it_names(
    tmp_path: Path, more: dict[str, Any], meant: list[str | None], other: list[str]
) -> None:
    (model,) = read_feed(feed(tmp_path, {"vulns": [entry(**more)]}))
    assert all(model.speaks_of("ORG/bad", commit) for commit in meant)
    assert not any(model.speaks_of("org/bad", commit) for commit in other)
    assert not model.speaks_of("org/good", COMMIT)
    assert not model.speaks_of(None, None)


def test_a_content_that_a_feed_of_the_policy_lists_blocks(tmp_path: Path) -> None:
    weights = safetensors(["a"])
    folder = write(tmp_path / "model", {"model.safetensors": weights})
    listed = {**entry(), "database_specific": {"sha256": [hashlib.sha256(weights).hexdigest()]}}
    feed(tmp_path, [listed, {"id": "PYSEC-1", "affected": [{"package": {"ecosystem": "PyPI", "name": "x"}}]}])
    rules = tmp_path / "aiverify.toml"
    rules.write_text('known_bad = ["feed.json"]')
    policy = read_policy(rules, may_weaken=False)

    options = Options(policy=policy, authenticate=False, convert=False, engines=(), digests=False)
    report = run(str(folder), options)

    assert [(item.rule, item.file) for item in report.findings] == [("AIV620", "model.safetensors")]
    assert report.verdict.outcome is Outcome.BLOCK
    assert "steals" in report.verdict.reasons[1]
    assert policy.digest != DEFAULT_POLICY.digest
    assert DEFAULT_POLICY.tightened_by(policy).known_bad == policy.known_bad


@pytest.mark.parametrize(
    "content",
    [
        1,
        "x",
        [1],
        {"id": 1},
        {"vulns": {}},
        {"id": "A", "affected": {}},
        {"id": "A", "affected": [{}]},
        entry("../x"),
        entry(versions=["main"]),
        entry(versions="x"),
        entry(ranges=[1]),
        entry(ecosystem_specific={"sha256": ["ABC"]}),
    ],
)
def test_a_feed_that_cannot_be_understood_is_an_error_of_the_policy(tmp_path: Path, content: object) -> None:
    path = feed(tmp_path, content)
    with pytest.raises(FeedError):
        read_feed(path)
    rules = tmp_path / "aiverify.toml"
    rules.write_text('known_bad = ["feed.json"]')
    with pytest.raises(PolicyError, match="known_bad"):
        read_policy(rules)


def test_a_feed_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="cannot be read"):
        read_feed(tmp_path / "none.json")


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "affected", "package", "ecosystem", "versions", "sha256"]), inner)
    ),
    max_leaves=20,
)


@effort(100)
@given(JSON)
def test_any_value_is_a_feed_or_an_error(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = feed(tmp_path_factory.mktemp("feed"), value)
    with contextlib.suppress(FeedError):
        assert all(isinstance(model, BadModel) for model in read_feed(path))
