"""Every example of a policy in the documentation is a policy."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from aiverify.finding import Severity
from aiverify.policy import PROFILES, PolicyError, RemoteCode, read_policy
from aiverify.policy.keys import TABLE_KEYS
from aiverify.policy.reading import profile
from aiverify.policy.values import FORMATS
from aiverify.signers import KeylessSigner

EXAMPLE = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[str]:
    return EXAMPLE.findall(page.read_text("utf-8"))


@pytest.fixture
def written(docs: Path, tmp_path: Path) -> list[Path]:
    """The examples of the page, as files, with the key that one of them names beside them."""
    key = docs.parent / "aiverify" / "demo" / "trust" / "publisher.pub"
    (tmp_path / "keys").mkdir()
    for name in ("other.pub", "root.pem"):
        (tmp_path / "keys" / name).write_bytes(key.read_bytes())
    paths = []
    for number, text in enumerate(examples(docs / "policy.md")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, "utf-8")
        paths.append(path)
    return paths


def test_the_full_example_is_read_as_the_page_says(written: list[Path]) -> None:
    policy = read_policy(written[0])

    assert policy.require_signature
    assert (policy.review_at, policy.block_at) == (Severity.LOW, Severity.HIGH)
    assert policy.remote_code is RemoteCode.REVIEW
    assert policy.formats == {"safetensors", "gguf"}
    assert policy.for_repository("acme/lab-1").formats == {"safetensors", "gguf", "pytorch"}
    assert policy.accept_unexamined == ("onnx/*",)
    assert policy.trusted_globals == {"torch.nn.modules.linear.Linear"}
    assert [signer.repositories for signer in policy.signers] == [("org/*",), ("other/name",), ("acme/*",)]
    assert str(policy.signers[1].expected) == "key keys/other.pub"
    assert str(policy.signers[2].expected).startswith("2 of (https://github.com/acme/*/")
    assert [waiver.rule for waiver in policy.waivers] == ["AIV302"]


def test_the_example_for_pyproject_is_read_from_its_table(written: list[Path]) -> None:
    (text,) = [path for path in written if "tool.aiverify" in path.read_text("utf-8")]
    policy = read_policy(text, table="tool.aiverify")

    assert policy.require_signature
    assert policy.signers[0].expected == KeylessSigner("release@example.org", "https://accounts.google.com")


def test_the_example_of_an_organisation_and_a_project_fit_together(written: list[Path]) -> None:
    organisation, project = written[1:3]
    policy = read_policy(project, fetch=lambda url, sha256: organisation.read_bytes())

    assert policy.require_signature
    assert policy.formats == {"safetensors", "gguf", "onnx"}
    assert [signer.repositories for signer in policy.signers] == [("acme/*",), ("other/name",)]


def test_every_example_is_valid_by_the_schema(written: list[Path], docs: Path) -> None:
    validator = Draft202012Validator(json.loads((docs / "policy.schema.json").read_text("utf-8")))
    for path in written:
        content = tomllib.loads(path.read_text("utf-8"))
        content = content.get("tool", {}).get("aiverify", content)
        validator.validate(json.loads(json.dumps(content, default=str)))


def test_the_table_of_profiles_says_what_they_say(docs: Path) -> None:
    section = (docs / "policy.md").read_text("utf-8").partition("## Profiles")[2].partition("\n\nWhat")[0]
    names, _, *rows = [line.strip("| ").split(" | ") for line in section.strip().splitlines()]
    assert {name.strip("`") for name in names[1:]} == set(PROFILES)
    stated: dict[str, dict[str, object]] = {name.strip("`"): {} for name in names[1:]}
    for key, *cells in rows:
        for name, cell in zip(stated, cells, strict=True):
            if cell != "any":
                stated[name][key.strip("`")] = json.loads(cell.strip("`"))
    assert stated == {name: dict(profile(name)) for name in PROFILES}


def test_the_page_names_every_format_and_every_key_of_a_table(docs: Path) -> None:
    text = (docs / "policy.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)`", text.partition("- `formats` are")[2].partition("What has")[0]))
    assert named == set(FORMATS)
    named = set(re.findall(r"`(\w+)`", text.partition("any of `")[2].partition(". For these")[0].join("``")))
    assert named == set(TABLE_KEYS)


def test_the_page_has_a_row_for_every_key_and_no_other(docs: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown.toml"
    unknown.write_text("no_such_key = 1")
    with pytest.raises(PolicyError) as refused:
        read_policy(unknown)
    known = set(str(refused.value).partition("known are ")[2].split(", "))

    section = (docs / "policy.md").read_text("utf-8").partition("| key |")[2].partition("\n\n")[0]

    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == known


@pytest.mark.parametrize(
    ("line", "weakens"),
    [
        ("require_signature = true", False),
        ('review_at = "low"', False),
        ('review_at = "high"', True),
        ('block_at = "critical"', True),
        ('accept_unexamined = ["*"]', True),
        ("twin_of_blocked = true", True),
        ('remote_code = "block"', False),
        ('formats = ["gguf"]', False),
        ('profile = "strict"', False),
        ('profile = "permissive"', True),
        ('[[overrides]]\nrepositories = ["a/*"]\nrequire_signature = true', False),
        ('[[overrides]]\nrepositories = ["a/*"]\nreview_at = "high"', True),
        ('[trust]\nglobals = ["some.name"]', True),
        ('[[signers]]\nidentity = "a@b.example"\nissuer = "https://c.example"', False),
        (f'[[waivers]]\nrule = "AIV302"\nsha256 = "{"0" * 64}"\nreason = "read"\nexpires = 2027-01-31', True),
    ],
)
def test_the_keys_that_the_page_says_weaken_are_refused_from_the_environment(
    tmp_path: Path, line: str, weakens: bool
) -> None:
    path = tmp_path / "aiverify.toml"
    path.write_text(line, "utf-8")

    read_policy(path)
    if weakens:
        with pytest.raises(PolicyError, match="weakens"):
            read_policy(path, may_weaken=False)
    else:
        read_policy(path, may_weaken=False)
