"""The generated pages say what the program says now."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from aiverify.rules import rules


def test_generated_pages_are_up_to_date(generate: ModuleType, docs: Path) -> None:
    stale = [
        name
        for name, text in generate.pages().items()
        if not (docs / name).exists() or (docs / name).read_text("utf-8") != text
    ]

    assert not stale, "run: python docs/generate.py"


def test_every_rule_has_a_page_at_the_address_that_findings_give(docs: Path) -> None:
    for rule in rules().values():
        path = rule.help_url.removeprefix("https://aiverify-weights.readthedocs.io/").rstrip("/")

        assert (docs / f"{path}.md").is_file()


def test_no_page_speaks_of_a_rule_that_is_gone(docs: Path) -> None:
    assert {path.stem for path in (docs / "rules").glob("AIV*.md")} == set(rules())


def test_the_generator_writes_what_is_missing_and_removes_what_is_gone(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "AIV000.md").write_text("a rule of old")
    monkeypatch.setattr(generate, "DOCS", tmp_path)

    generate.main()

    assert not (tmp_path / "rules" / "AIV000.md").exists()
    assert (tmp_path / "rules" / "AIV301.md").read_text("utf-8") == generate.rule_page(rules()["AIV301"])


def test_the_command_reference_names_every_option(generate: ModuleType) -> None:
    text = generate.commands()

    for words in ("## aiverify verify", "`--cert-identity`", "`--convert-to`", "`AIVERIFY_OFFLINE`", "| `error` | 2 |"):
        assert words in text
