"""What a policy says about one artifact, where it says so, and what in it deserves a look."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from aiverify.finding import Severity
from aiverify.policy import DEFAULT_POLICY, Policy, read_policy
from aiverify.policy.checking import remarks
from aiverify.policy.explaining import Explanation, Standing, explained
from aiverify.policy.values import Place
from aiverify.report import Outcome

TODAY = datetime.date(2026, 6, 15)
DIGEST, OTHER = "0123456789abcdef" * 4, "f" * 64
ISSUER = 'issuer = "https://i.example"'


def read(folder: Path, text: str) -> Policy:
    (folder / "own.toml").write_text(text)
    return read_policy(folder / "own.toml")


def said(policy: Policy, repo: str | None = None, sha256: str | None = None, rule: str | None = None) -> Explanation:
    return explained(policy, "target", repo=repo, today=TODAY, sha256=sha256, rule=rule)


def lines(explanation: Explanation) -> dict[str, list[int | None]]:
    return {item.key: [place.line for place in item.places] for item in explanation.settings}


def test_each_setting_comes_with_its_value_and_the_lines_that_say_so(tmp_path: Path) -> None:
    text = """\
profile = "strict"
review_at = "info"
trust.globals = ["b.c", "a.b"]

[[overrides]]
repositories = ["acme/*"]
formats = ["pytorch"]
accept_unexamined = ["x"]
"""
    policy = read(tmp_path, text)
    here, there = said(policy), said(policy, "acme/model")
    values = {item.key: item.value for item in there.settings}
    assert values == {
        "require_signature": True,
        "review_at": "info",
        "block_at": "medium",
        "remote_code": "block",
        "formats": ["pytorch"],
        "trust": ["a.b", "b.c"],
        "accept_unexamined": ["x"],
        "twin_of_blocked": False,
        "known_repositories": [],
    }
    assert (lines(here)["formats"], lines(there)["formats"]) == ([1], [5])
    assert (lines(here)["accept_unexamined"], lines(there)["accept_unexamined"]) == ([], [5])
    assert (lines(here)["review_at"], lines(here)["block_at"], lines(here)["trust"]) == ([2], [1], [3])
    assert {place.source for item in there.settings for place in item.places} == {str(tmp_path / "own.toml")}
    assert here.policy == there.policy == policy.record


def test_only_the_signers_of_the_repository_are_named(tmp_path: Path) -> None:
    signers = "".join(
        f'[[signers]]\nrepositories = ["{where}"]\nidentity = "{who}"\n{ISSUER}\n' for who, where in ("ax", "by", "c*")
    )
    policy = read(tmp_path, signers.replace('"x"', '"acme/*"').replace('"y"', '"other/*"'))
    assert [str(rule.place) for rule in said(policy, "acme/model").signers] == [
        f"{tmp_path / 'own.toml'}:1",
        f"{tmp_path / 'own.toml'}:9",
    ]
    assert [str(rule.expected) for rule in said(policy).signers] == ["c (issuer https://i.example)"]


@pytest.mark.parametrize(
    ("expires", "sha256", "standing"),
    [
        ("2026-06-15", DIGEST, Standing.COUNTS),
        ("2026-06-14", DIGEST, Standing.EXPIRED),
        ("2026-06-15", OTHER, Standing.OTHER_CONTENT),
        ("2026-06-15", None, Standing.DEPENDS),
    ],
)
def test_of_each_waiver_it_is_said_whether_it_counts(
    tmp_path: Path, expires: str, sha256: str | None, standing: Standing
) -> None:
    text = f'[[waivers]]\nrule = "AIV302"\nsha256 = "{DIGEST}"\nreason = "r"\nexpires = {expires}\n'
    policy = read(tmp_path, text)
    ((waiver, found),) = said(policy, sha256=sha256).waivers
    assert (waiver.place, found) == (Place(str(tmp_path / "own.toml"), 1), standing)
    assert said(policy, sha256=sha256, rule="AIV302").waivers
    assert not said(policy, sha256=sha256, rule="AIV303").waivers


@pytest.mark.parametrize(
    ("text", "rule", "outcome", "because"),
    [
        ("", "AIV302", Outcome.REVIEW, "review_at"),
        ("", "AIV301", Outcome.BLOCK, "block_at"),
        ("", "AIV502", Outcome.PASS, None),
        ('remote_code = "block"', "AIV501", Outcome.BLOCK, "remote_code"),
        ('remote_code = "block"', "AIV411", Outcome.BLOCK, "block_at"),
        ('review_at = "low"', "AIV314", Outcome.REVIEW, "review_at"),
        ("", "AIV314", Outcome.PASS, None),
    ],
)
def test_what_a_finding_comes_to_is_said_with_the_setting_that_decides(
    tmp_path: Path, text: str, rule: str, outcome: Outcome, because: str | None
) -> None:
    effect = said(read(tmp_path, text), rule=rule).rule
    assert effect is not None
    assert (effect.outcome, effect.because and effect.because.key) == (outcome, because)


def test_the_effects_are_those_of_the_severities() -> None:
    assert said(DEFAULT_POLICY).effects == {
        Severity.INFO: Outcome.PASS,
        Severity.LOW: Outcome.PASS,
        Severity.MEDIUM: Outcome.REVIEW,
        Severity.HIGH: Outcome.BLOCK,
        Severity.CRITICAL: Outcome.BLOCK,
    }


# remarks


WAIVER = f'[[waivers]]\nrule = "AIV302"\nsha256 = "{DIGEST}"\nreason = "r"\n'
KEYLESS = f'[[signers]]\nidentity = "https://g.example/acme/*"\n{ISSUER}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"\n{WAIVER}expires = 2026-06-14", ("waivers", 2, "ran out on 2026-06-14")),
        (f"{WAIVER}expires = 2026-06-15", None),
        ("require_signature = true", ("require_signature", 1, "no signer is named")),
        (
            '[[overrides]]\nrepositories = ["a/*"]\nrequire_signature = true',
            ("require_signature", None, "no signer is named"),
        ),
        (f"require_signature = true\n{KEYLESS}source_repository = 'https://g.example/acme/m'", None),
        (KEYLESS, ("signers", 1, "source_repository would pin it")),
        (KEYLESS.replace("/*", "/m"), None),
        (KEYLESS.replace("signers", "attestors"), ("attestors", 1, "source_repository would pin it")),
        ('[[signers]]\nca = "-----BEGIN CERTIFICATE-----"', ("signers", 1, "without subject")),
        ('[[signers]]\nca = "-----BEGIN CERTIFICATE-----"\nsubject = "CN=a"', None),
        ('accept_unexamined = ["*.x", "**"]', ("accept_unexamined", 1, "lets every file pass")),
        ('accept_unexamined = ["*.x"]', None),
    ],
)
def test_what_does_not_do_what_it_seems_to_is_said_with_its_line(
    tmp_path: Path, text: str, expected: tuple[str, int | None, str] | None
) -> None:
    found = list(remarks(read(tmp_path, text), TODAY))
    if expected is None:
        assert found == []
        return
    (remark,) = found
    assert (remark.key, remark.place and remark.place.line) == expected[:2]
    assert expected[2] in remark.message
