"""Every example of a policy in the documentation is a policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiverify.finding import Severity
from aiverify.policy import PolicyError, read_policy
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
    assert policy.accept_unexamined == ("onnx/*",)
    assert policy.trusted_globals == {"torch.nn.modules.linear.Linear"}
    assert [signer.repositories for signer in policy.signers] == [("org/*",), ("other/name",), ("acme/*",)]
    assert str(policy.signers[1].expected) == "key keys/other.pub"
    assert str(policy.signers[2].expected).startswith("2 of (https://github.com/acme/*/")
    assert [waiver.rule for waiver in policy.waivers] == ["AIV302"]


def test_the_example_for_pyproject_is_read_from_its_table(written: list[Path]) -> None:
    policy = read_policy(written[1], table="tool.aiverify")

    assert policy.require_signature
    assert policy.signers[0].expected == KeylessSigner("release@example.org", "https://accounts.google.com")


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
