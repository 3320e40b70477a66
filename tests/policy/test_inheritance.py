"""A policy that extends another: what it may change, and what it may not."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from toml_writer import document

from aiverify.errors import UsageError
from aiverify.finding import Severity
from aiverify.policy import Policy, PolicyError, SignerRule, read_policy
from aiverify.policy.keys import KEYS
from aiverify.policy.reading import MAX_FILES
from aiverify.policy.strictness import STRICTNESS, may_meet
from aiverify.policy.values import BY_REPOSITORY, FORMATS
from aiverify.report import Outcome
from aiverify.signers import KeylessSigner

DIGEST = "0123456789abcdef" * 4
WAIVER = f'[[waivers]]\nrule = "AIV302"\nsha256 = "{DIGEST}"\nreason = "seen"\nexpires = 2027-01-31\n'


def signer(identity: str, *repositories: str) -> str:
    patterns = json.dumps(repositories or ("*",))
    return f'[[signers]]\nrepositories = {patterns}\nidentity = "{identity}"\nissuer = "https://i.example"\n'


def child(folder: Path, above: str, text: str) -> Policy:
    (folder / "org.toml").write_text(above)
    (folder / "own.toml").write_text(f'extends = "org.toml"\n{text}')
    return read_policy(folder / "own.toml")


def test_what_a_file_does_not_say_holds_as_the_file_above_says(tmp_path: Path) -> None:
    above = f'review_at = "low"\nformats = ["gguf"]\n{signer("a@b")}{WAIVER}'
    policy = child(tmp_path, above, "")
    assert policy == replace(read_policy(tmp_path / "org.toml"), sources=policy.sources)
    assert [source.name for source in policy.sources] == [str(tmp_path / "org.toml"), str(tmp_path / "own.toml")]


STRICTER = [
    ("", "require_signature = true"),
    ('review_at = "medium"', 'review_at = "info"'),
    ("", 'review_at = "low"\nblock_at = "medium"'),
    ('remote_code = "review"', 'remote_code = "block"'),
    ("", 'formats = ["safetensors"]'),
    ('formats = ["safetensors", "gguf"]', 'formats = ["gguf"]'),
    ("twin_of_blocked = true", "twin_of_blocked = false"),
    ("", signer("a@b")),
    (signer("a@b", "acme/*"), signer("c@d", "other/*")),
    ("", 'known_repositories = ["org/name"]'),
    ("", 'profile = "strict"'),
]
WEAKER = [
    ("require_signature = true", "require_signature = false", "require_signature"),
    ("", 'review_at = "high"', "review_at"),
    ("", 'block_at = "critical"', "block_at"),
    ('remote_code = "block"', 'remote_code = "review"', "remote_code"),
    ('formats = ["safetensors"]', 'formats = ["safetensors", "gguf"]', "formats"),
    ('formats = ["safetensors"]', 'formats = ["gguf"]', "formats"),
    ("", '[trust]\nglobals = ["a.b"]', "trust"),
    ("", 'accept_unexamined = ["*.x"]', "accept_unexamined"),
    ("", "twin_of_blocked = true", "twin_of_blocked"),
    (signer("a@b"), signer("c@d"), "signers"),
    (signer("a@b", "acme/*"), signer("c@d", "*/model"), "signers"),
    ("", signer("a@b").replace("signers", "attestors"), "attestors"),
    ("", WAIVER, "waivers"),
]


@pytest.mark.parametrize(("above", "text"), STRICTER)
def test_a_file_may_be_stricter_than_the_one_that_it_extends(tmp_path: Path, above: str, text: str) -> None:
    policy = child(tmp_path, above, text)
    assert replace(policy, sources=()) != replace(read_policy(tmp_path / "org.toml"), sources=())


@pytest.mark.parametrize(("above", "text", "key"), WEAKER)
def test_a_file_may_not_weaken_the_one_that_it_extends_unless_that_allows_it(
    tmp_path: Path, above: str, text: str, key: str
) -> None:
    with pytest.raises(PolicyError, match=rf"own\.toml:2: {key}: weakens .*org\.toml"):
        child(tmp_path, above, text)
    others = ", ".join(f'"{name}"' for name in KEYS if name != key)
    with pytest.raises(PolicyError, match=f"does not list {key} under may_weaken"):
        child(tmp_path, f"may_weaken = [{others}]\n{above}", text)
    allowed = child(tmp_path, f'may_weaken = ["{key}"]\n{above}', text)
    assert replace(allowed, sources=()) != replace(read_policy(tmp_path / "org.toml"), sources=())


def test_a_profile_may_not_weaken_either(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"own\.toml:2: profile: weakens .*org\.toml:1, which does not list"):
        child(tmp_path, 'profile = "strict"', 'profile = "permissive"')


def test_lists_add_up(tmp_path: Path) -> None:
    above = f'may_weaken = ["waivers", "trust"]\n[trust]\nglobals = ["a.b"]\n{signer("a@b", "acme/*")}{WAIVER}'
    other = WAIVER.replace("AIV302", "AIV303")
    policy = child(tmp_path, above, f'[trust]\nglobals = ["c.d"]\n{signer("c@d", "other/*")}{WAIVER}{other}')
    assert policy.trusted_globals == {"a.b", "c.d"}
    assert [rule.repositories for rule in policy.signers] == [("acme/*",), ("other/*",)]
    assert [waiver.rule for waiver in policy.waivers] == ["AIV302", "AIV303"]
    assert [place.line for place in policy.places["waivers"]] == [8, 8]


def test_what_may_be_weakened_may_be_handed_on_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "org.toml").write_text('may_weaken = ["review_at"]\n')
    (tmp_path / "team.toml").write_text('extends = "org.toml"\nmay_weaken = ["review_at"]\n')
    (tmp_path / "own.toml").write_text('extends = "team.toml"\nreview_at = "high"\n')
    assert read_policy(tmp_path / "own.toml").review_at is Severity.HIGH
    (tmp_path / "team.toml").write_text('extends = "org.toml"\n')
    with pytest.raises(PolicyError, match="does not list review_at under may_weaken"):
        read_policy(tmp_path / "own.toml")
    (tmp_path / "team.toml").write_text('extends = "org.toml"\nmay_weaken = ["review_at", "trust"]\n')
    with pytest.raises(PolicyError, match=r"team\.toml:2: may_weaken\[1\]: trust is not under may_weaken"):
        read_policy(tmp_path / "own.toml")


def test_files_are_taken_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "rules" / "keys").mkdir(parents=True)
    (tmp_path / "rules" / "keys" / "a.pub").write_text("-----BEGIN PUBLIC KEY-----\n")
    (tmp_path / "rules" / "pyproject.toml").write_text('[[tool.aiverify.signers]]\nkey = "keys/a.pub"\n')
    (tmp_path / "own.toml").write_text('extends = "rules/pyproject.toml"\n')
    assert str(read_policy(tmp_path / "own.toml").signers[0].expected) == "key keys/a.pub"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends = 1", "extends: must be a path"),
        ('extends = ""', "extends: must be a path"),
        ('extends = ["org.toml"]', "extends: must be a path"),
        ('extends = { url = "https://a.example/x" }', "extends: needs sha256"),
        (f'extends = {{ sha256 = "{DIGEST}" }}', "extends: needs url"),
        (f'extends = {{ url = "http://a.example/x", sha256 = "{DIGEST}" }}', r"extends\.url: must be an address"),
        (f'extends = {{ url = "file:///etc/x", sha256 = "{DIGEST}" }}', r"extends\.url: must be an address"),
        (f'extends = {{ url = "https:///x", sha256 = "{DIGEST}" }}', r"extends\.url: must be an address"),
        ('extends = { url = "https://a.example/x", sha256 = "0" }', r"extends\.sha256: must be 64"),
        (f'extends = {{ url = "https://a.example/x", sha256 = "{DIGEST}", x = 1 }}', r"extends\.x: is not a known key"),
        ('may_weaken = "trust"', "may_weaken: must be a list"),
        ('may_weaken = ["profile"]', r"may_weaken\[0\]: profile is none of"),
        ('profile = "lax"', "profile: must be one of default, strict, permissive"),
        ("profile = 1", "profile: must be one of"),
    ],
)
def test_what_is_no_way_to_extend_a_policy_is_an_error_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.toml").write_text(f"\n{text}\n")
    with pytest.raises(PolicyError, match=rf"own\.toml:2: {message}"):
        read_policy(tmp_path / "own.toml")


def test_an_error_above_is_said_of_the_file_above(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"org\.toml:2: review_at: must be one of"):
        child(tmp_path, '\nreview_at = "severe"', "")
    (tmp_path / "own.toml").write_text('extends = "nowhere.toml"')
    with pytest.raises(PolicyError, match=r"nowhere\.toml: cannot be read"):
        read_policy(tmp_path / "own.toml")


def test_files_that_extend_each_other_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(PolicyError, match=f"more than {MAX_FILES} files"):
        read_policy(tmp_path / "a.toml")


def test_each_file_that_is_extended_is_asked_about(tmp_path: Path) -> None:
    asked: list[str] = []

    def admit(path: Path) -> None:
        asked.append(path.name)
        if path.name == "c.toml":
            raise UsageError("no")

    for name, above in (("a", "b"), ("b", "c"), ("c", "d")):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{above}.toml"')
    with pytest.raises(UsageError, match="no"):
        read_policy(tmp_path / "a.toml", admit=admit)
    assert asked == ["b.toml", "c.toml"]


def test_what_weakens_is_refused_from_the_environment_whichever_file_says_it(tmp_path: Path) -> None:
    child(tmp_path, "twin_of_blocked = true", "")
    with pytest.raises(PolicyError, match=r"org\.toml:1: twin_of_blocked: weakens the policy"):
        read_policy(tmp_path / "own.toml", may_weaken=False)


# settings for some repositories


def override(text: str, *patterns: str) -> str:
    return f"[[overrides]]\nrepositories = {json.dumps(patterns)}\n{text}\n"


def read(folder: Path, text: str) -> Policy:
    (folder / "own.toml").write_text(text)
    return read_policy(folder / "own.toml")


def test_settings_for_some_repositories_take_the_place_of_the_others_there(tmp_path: Path) -> None:
    text = override('review_at = "low"\naccept_unexamined = ["b"]\nformats = ["gguf"]', "acme/*", "one/model")
    policy = read(tmp_path, 'accept_unexamined = ["a"]\n' + text + override('review_at = "high"', "acme/lab-*"))
    for repo, severity, accepted, formats in (
        (None, Severity.MEDIUM, ("a",), None),
        ("other/model", Severity.MEDIUM, ("a",), None),
        ("one/model", Severity.LOW, ("a", "b"), {"gguf"}),
        ("acme/model", Severity.LOW, ("a", "b"), {"gguf"}),
        ("acme/lab-1", Severity.HIGH, ("a", "b"), {"gguf"}),
    ):
        here = policy.for_repository(repo)
        assert (here.review_at, here.accept_unexamined, here.formats) == (severity, accepted, formats)
        assert here.digest == policy.digest


def test_the_digest_covers_the_settings_for_some_repositories(tmp_path: Path) -> None:
    texts = [
        "",
        override("require_signature = true", "a/*"),
        override("require_signature = true", "b/*"),
        override("require_signature = false", "a/*"),
        override("require_signature = true", "a/*") + override("require_signature = false", "a/b"),
        override("require_signature = false", "a/b") + override("require_signature = true", "a/*"),
    ]
    assert len({read(tmp_path, text).digest for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("overrides = {}", "overrides"),
        ("overrides = [1]", "overrides[0]"),
        ('[[overrides]]\nrepositories = ["a/*"]', "overrides[0]"),
        ("[[overrides]]\nrequire_signature = true", "overrides[0]"),
        (override("signers = []", "a/*"), "overrides[0].signers"),
        (override("review_at = 1", "a/*"), "overrides[0].review_at"),
        (override('review_at = "critical"', "a/*"), "overrides[0].review_at"),
        (override('block_at = "low"', "a/*"), "overrides[0].block_at"),
        (override("require_signature = true", ""), "overrides[0].repositories[0]"),
    ],
)
def test_a_table_that_is_not_valid_is_an_error_that_names_the_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(PolicyError, match=rf"own\.toml:[0-9]: {re.escape(key)}: "):
        read(tmp_path, text)


def test_below_another_file_a_table_may_be_stricter_and_not_weaker(tmp_path: Path) -> None:
    policy = child(tmp_path, 'review_at = "low"', override('review_at = "info"', "acme/*"))
    assert policy.for_repository("acme/model").review_at is Severity.INFO
    with pytest.raises(PolicyError, match=r"own\.toml:4: overrides\[0\]\.review_at: weakens .*org\.toml:1"):
        child(tmp_path, 'review_at = "low"', override('review_at = "medium"', "acme/*"))
    allowed = 'may_weaken = ["review_at"]\nreview_at = "low"'
    policy = child(tmp_path, allowed, override('review_at = "medium"', "acme/*"))
    assert policy.for_repository("acme/model").review_at is Severity.MEDIUM


def test_what_a_file_makes_stricter_holds_for_the_repositories_of_the_tables_above_it_too(tmp_path: Path) -> None:
    above = override('review_at = "high"', "acme/*")
    assert child(tmp_path, above, "").for_repository("acme/model").review_at is Severity.HIGH
    assert child(tmp_path, above, 'review_at = "low"').for_repository("acme/model").review_at is Severity.LOW


def test_an_option_that_demands_a_signature_holds_for_every_repository(tmp_path: Path) -> None:
    policy = read(tmp_path, override("require_signature = false", "acme/*"))
    assert policy.requiring_signature("--require-signature").for_repository("acme/model").require_signature
    rule = SignerRule(expected=KeylessSigner("a", "i"))
    assert policy.with_signer(rule, "--cert-identity").for_repository("acme/model").require_signature


# properties

REPOS = (None, "acme/model", "acme/lab", "other/model")
SETTINGS: dict[str, st.SearchStrategy[object]] = {
    "require_signature": st.booleans(),
    "review_at": st.sampled_from(["info", "low", "medium"]),
    "block_at": st.sampled_from(["medium", "high", "critical"]),
    "remote_code": st.sampled_from(["judge", "review", "block"]),
    "formats": st.lists(st.sampled_from(FORMATS[:4]), min_size=1, max_size=3),
    "accept_unexamined": st.lists(st.sampled_from(["a", "b"]), max_size=1),
    "twin_of_blocked": st.booleans(),
    "trust": st.fixed_dictionaries({"globals": st.lists(st.sampled_from(["a.b", "c.d"]), max_size=1)}),
}
PATTERNS = st.sampled_from(["*", "acme/*", "other/*", "acme/lab", "*/model"]).map(lambda pattern: [pattern])
SIGNERS = st.lists(
    st.fixed_dictionaries({"identity": st.sampled_from(["a", "b"]), "issuer": st.just("i"), "repositories": PATTERNS}),
    max_size=2,
)


def contents(key: str) -> st.SearchStrategy[dict[str, object]]:
    """Files that say something about one key, for all repositories or for some."""
    if key == "signers":
        return st.fixed_dictionaries({}, optional={key: SIGNERS})
    value = SETTINGS[key]
    tables = st.lists(st.fixed_dictionaries({"repositories": PATTERNS, key: value}), max_size=2)
    profiles = st.sampled_from(["default", "strict", "permissive"])
    return st.fixed_dictionaries({"overrides": tables}, optional={key: value, "profile": profiles})


def permitted(policy: Policy, repo: str | None) -> set[object]:
    """Everything that a policy lets pass for one repository."""
    here = policy.for_repository(repo)
    effects = {(rule, severity): here.effect(rule, severity) for rule in ("AIV302", "AIV501") for severity in Severity}
    return {
        *(
            (finding, "at most", limit)
            for finding, said in effects.items()
            for limit in Outcome
            if said.rank <= limit.rank
        ),
        *(("format", name) for name in (FORMATS if here.formats is None else here.formats)),
        *(("unexamined", pattern) for pattern in here.accept_unexamined),
        *(("global", name) for name in here.trusted_globals),
        *(["unsigned"] if not here.require_signature else []),
        *(["twin of blocked"] if here.twin_of_blocked else []),
    }


def expected(policy: Policy, repo: str | None) -> set[str]:
    return {str(rule.expected) for rule in policy.signers if rule.applies_to(repo)}


SEARCH = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
)


@pytest.mark.parametrize("key", [*SETTINGS, "signers"])
@SEARCH
@given(st.data())
def test_no_file_permits_what_the_file_that_it_extends_does_not(tmp_path: Path, key: str, data: st.DataObject) -> None:
    above, below = data.draw(contents(key)), data.draw(contents(key))
    (tmp_path / "org.toml").write_text(document(above))
    (tmp_path / "own.toml").write_text(document({"extends": "org.toml", **below}))
    try:
        org = read_policy(tmp_path / "org.toml")
        own = read_policy(tmp_path / "own.toml")
    except PolicyError:
        assume(False)
    for repo in REPOS:
        assert permitted(own, repo) <= permitted(org, repo), repo
        assert not expected(org, repo) or expected(own, repo) == expected(org, repo)


@pytest.mark.parametrize("key", [*SETTINGS, "signers"])
@SEARCH
@given(st.data())
def test_the_environment_permits_nothing_that_the_configuration_does_not(
    tmp_path: Path, key: str, data: st.DataObject
) -> None:
    (tmp_path / "own.toml").write_text(document(data.draw(contents(key))))
    (tmp_path / "named.toml").write_text(document(data.draw(contents(key))))
    try:
        own = read_policy(tmp_path / "own.toml")
        both = own.tightened_by(read_policy(tmp_path / "named.toml", may_weaken=False))
    except PolicyError:
        assume(False)
    for repo in REPOS:
        assert permitted(both, repo) <= permitted(own, repo), repo
        assert not expected(own, repo) or expected(both, repo) == expected(own, repo)


@given(st.text("ab*?[]/-!", max_size=6), st.text("ab*?[]/-!", max_size=6), st.text("ab/", max_size=5))
def test_patterns_that_match_one_name_may_meet(first: str, second: str, name: str) -> None:
    if fnmatchcase(name, first) and fnmatchcase(name, second):
        assert may_meet(first, second)
        assert may_meet(second, first)


def test_patterns_about_different_organisations_do_not_meet() -> None:
    assert not may_meet("acme/*", "other/*")
    assert not may_meet("acme/*", "other/model")
    assert not may_meet("acme/a", "acme/b")
    assert may_meet("acme/*", "*/model")
    assert may_meet("Acme/*", "acme/model")


def test_every_field_has_its_strictness_and_its_key() -> None:
    settable = {field.name for field in fields(Policy)} - {"sources", "overrides", "unlocked", "places", "whole"}
    assert set(STRICTNESS) == settable == {key.field for key in KEYS.values()}
    assert set(BY_REPOSITORY) < settable
