"""The schema for editors, and the reader: they know the same keys, and what the schema refuses the reader refuses."""

from __future__ import annotations

import datetime
import functools
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from toml_writer import document

from aiverify.finding import Severity
from aiverify.policy import PROFILES, PolicyError, RemoteCode, read_policy
from aiverify.policy.keys import KEYS, STRUCTURE, TABLE_KEYS
from aiverify.policy.signer_tables import _FORMS
from aiverify.policy.template import template
from aiverify.policy.values import FORMATS

PATH = Path(__file__).parents[2] / "docs" / "policy.schema.json"
SCHEMA: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
DIGEST = "0123456789abcdef" * 4


def as_json(value: object) -> object:
    """A value of TOML as editors show it to a JSON schema: a date is text."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] in template("default").partition("\n")[0]


def test_the_schema_and_the_reader_know_the_same_keys() -> None:
    definitions = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]) == {*KEYS, *STRUCTURE}
    assert set(definitions["override"]["properties"]) == {"repositories", *TABLE_KEYS}
    assert SCHEMA["properties"]["may_weaken"]["items"]["enum"] == list(KEYS)
    assert SCHEMA["properties"]["profile"]["enum"] == list(PROFILES)
    assert SCHEMA["properties"]["formats"]["items"]["enum"] == list(FORMATS)
    assert SCHEMA["properties"]["remote_code"]["enum"] == list(RemoteCode)
    forms = {tuple(sorted(set(form["properties"]) - {"repositories"})) for form in definitions["signer_rule"]["oneOf"]}
    assert forms == {tuple(sorted(known)) for known, _, _ in _FORMS.values()}


def test_every_key_is_described() -> None:
    assert all(entry["description"] for entry in SCHEMA["properties"].values())


@pytest.mark.parametrize("profile", PROFILES)
def test_the_file_to_begin_with_is_valid_and_so_it_is_without_its_comments(tmp_path: Path, profile: str) -> None:
    lines = template(profile).splitlines()
    examples = "\n".join(line.removeprefix("# ") if " = " in line or "[[" in line else line for line in lines)
    for text in (template(profile), examples):
        (tmp_path / "aiverify.toml").write_text(text)
        VALIDATOR.validate(as_json(tomllib.loads(text)))
        read_policy(tmp_path / "aiverify.toml")
    assert tomllib.loads(template(profile)) == {"profile": profile}
    assert set(tomllib.loads(examples)) == {"profile", "signers", "overrides", "waivers"}


VOCABULARY: list[object] = [
    *(True, False, 0, 1, 1.0, datetime.date(2027, 1, 31), "", "a", "https://a.example/b", DIGEST),
    *(*Severity, *RemoteCode, *FORMATS[:2], *PROFILES, "trust", "extends"),
]


@pytest.mark.parametrize("key", [*KEYS, *STRUCTURE, *(f"overrides.{key}" for key in TABLE_KEYS)])
def test_what_the_reader_takes_for_a_key_the_schema_takes_too(tmp_path: Path, key: str) -> None:
    taken = 0
    tables: list[object] = [{}, {"globals": ["a"]}, {"globals": "a"}]
    for value in (*VOCABULARY, *([word] for word in VOCABULARY), [], *tables):
        content: dict[str, Any] = {key: value}
        if key.startswith("overrides."):
            content = {"overrides": [{"repositories": ["a/*"], key.partition(".")[2]: value}]}
        taken += _agree(tmp_path, content)
    assert taken or key == "extends"


def _agree(folder: Path, content: dict[str, Any]) -> bool:
    """Whether the reader takes ``content``; then the schema must, too."""
    text = document(content)
    (folder / "aiverify.toml").write_text(text, "utf-8")
    try:
        read_policy(folder / "aiverify.toml")
    except PolicyError:
        return False
    VALIDATOR.validate(as_json(tomllib.loads(text)))
    return True


# properties

WORDS = st.sampled_from(["", "a", "low", "strict", "safetensors", "AIV302", DIGEST, "https://a.example/b", "review"])
SCALARS = st.one_of(st.booleans(), st.integers(-1, 3), st.floats(0, 2), st.dates(), WORDS)
TOP = list(SCHEMA["properties"])
INNER = ["repositories", "identity", "issuer", "key", "ca", "subject", "any_of", "all_of", "threshold", "of"]
INNER += ["rule", "sha256", "reason", "expires", "globals", "url", "review_at", "require_signature", "x"]
ANY = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(INNER), inner, min_size=1, max_size=4)
    ),
    max_leaves=6,
)


def valid(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema takes, and now and then any value."""
    return st.integers(0, 7).flatmap(functools.partial(_either, _taken(schema)))


def _either(taken: st.SearchStrategy[Any], die: int) -> st.SearchStrategy[Any]:
    return ANY if die == 7 else taken


@functools.cache
def _named(reference: str) -> st.SearchStrategy[Any]:
    found: Any = SCHEMA
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return st.deferred(lambda: valid(found))


def _taken(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _named(schema["$ref"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "oneOf" in schema:
        return st.one_of(*(_taken(form) for form in schema["oneOf"]))
    if schema["type"] == "object":
        needed = set(schema.get("required", ()))
        items = {name: valid(item) for name, item in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: item for name, item in items.items() if name in needed},
            optional={name: item for name, item in items.items() if name not in needed},
        )
    if schema["type"] == "array":
        return st.lists(valid(schema["items"]), min_size=schema.get("minItems", 0), max_size=2)
    if schema.get("format") == "date":
        return st.dates()
    if "pattern" in schema:
        return st.sampled_from(["AIV302", DIGEST, "https://a.example/b"])
    return {"boolean": st.booleans(), "integer": st.integers(0, 2), "string": WORDS}[schema["type"]]


CONTENTS = st.one_of(
    st.dictionaries(st.sampled_from([*TOP, "x"]), ANY, max_size=3),
    *(st.fixed_dictionaries({name: valid(SCHEMA["properties"][name])}) for name in TOP),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(CONTENTS)
@example({"threshold": 1})
@example({"signers": [{"threshold": True, "of": [{"key": "a"}]}]})
@example({"signers": [{"any_of": [{"identity": "a", "issuer": "b", "repositories": ["*"]}]}]})
@example({"trust": {"globals": "a"}, "formats": []})
@example({"overrides": [{"repositories": ["a/*"], "waivers": []}]})
def test_what_the_schema_refuses_the_reader_refuses(tmp_path: Path, content: dict[str, Any]) -> None:
    _agree(tmp_path, content)


@pytest.mark.parametrize(
    "text",
    [
        'profile = "strict"\nextends = "org.toml"\nmay_weaken = ["trust", "waivers"]',
        f'extends = {{ url = "https://a.example/b.toml", sha256 = "{DIGEST}" }}',
        'remote_code = "block"\nformats = ["gguf"]\ntrust.globals = ["a.b"]',
        '[[signers]]\nidentity = "a@b"\nissuer = "https://i"\nsource_ref = "refs/tags/*"',
        '[[signers]]\nthreshold = 1\nof = [{ key = "a.pub" }, { ca = "b.pem", subject = "CN=a" }]',
        '[[attestors]]\nall_of = [{ any_of = [{ key = "a.pub" }] }, { threshold = 1, of = [{ ca = "b" }] }]',
        '[[overrides]]\nrepositories = ["a/*"]\nrequire_signature = true',
    ],
)
def test_the_schema_takes_every_form(text: str) -> None:
    VALIDATOR.validate(as_json(tomllib.loads(text)))
