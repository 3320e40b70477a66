"""The table of imports in docs/architecture.md, checked against the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ENTRY_POINTS = {"__init__", "__main__"}


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module of the package that ``tree`` imports, inside functions and type checks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """The part of the package that a dotted name below it belongs to."""
    name = module.removeprefix("aiverify.").partition(".")[0]
    return "version" if name == "__version__" else name


@pytest.fixture(scope="module")
def edges(root: Path) -> dict[str, set[str]]:
    """For each part, the dotted names below the package that it imports from other parts."""
    found: dict[str, set[str]] = {}
    for path in (root / "aiverify").rglob("*.py"):
        own = path.relative_to(root / "aiverify").with_suffix("").parts[0]
        names = {name for name in imported(ast.parse(path.read_text("utf-8"))) if name.startswith("aiverify.")}
        found.setdefault(own, set()).update(name for name in names if part(name) != own)
    return found


@pytest.fixture(scope="module")
def stated(docs: Path) -> dict[str, str]:
    """The rows of the table: part and what it may import, as written."""
    section = (docs / "architecture.md").read_text("utf-8").partition("## Imports")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", section, re.MULTILINE)
    return {name: allowed for names, allowed in rows for name in re.findall(r"`(\w+)`", names)}


def may(allowed: str, name: str) -> bool:
    """Whether a row allows the import of ``name``."""
    listed = re.findall(r"`([\w.]+)`", allowed)
    if allowed.startswith("everything"):
        return part(name) not in listed
    return any(
        name == f"aiverify.{entry}" or name.startswith(f"aiverify.{entry}.") or part(name) == entry for entry in listed
    )


def test_the_table_has_a_row_for_every_part(edges: dict[str, set[str]], stated: dict[str, str]) -> None:
    assert set(stated) == set(edges) - ENTRY_POINTS


def test_no_part_imports_what_its_row_does_not_list(edges: dict[str, set[str]], stated: dict[str, str]) -> None:
    wrong = {
        f"{own} imports {name}"
        for own, names in edges.items()
        if own not in ENTRY_POINTS
        for name in names
        if not may(stated[own], name)
    }

    assert not wrong


def test_every_import_that_a_row_lists_is_there(edges: dict[str, set[str]], stated: dict[str, str]) -> None:
    idle = {
        f"{own} does not import {entry}"
        for own, allowed in stated.items()
        if not allowed.startswith("everything")
        for entry in re.findall(r"`([\w.]+)`", allowed)
        if not any(may(f"`{entry}`", name) for name in edges[own])
    }

    assert not idle


def test_nothing_imports_the_command_line(edges: dict[str, set[str]]) -> None:
    importers = {own for own, names in edges.items() if any(part(name) == "cli" for name in names)}

    assert importers == {"__main__"}


def test_pickles_know_no_formats(edges: dict[str, set[str]]) -> None:
    assert not any(part(name) in ("formats", "convert") for name in edges["pickles"])


def test_the_command_line_starts_without_the_slow_libraries() -> None:
    slow = "{'sigstore', 'huggingface_hub', 'fickling', 'safetensors', 'yaml', 'cryptography'}"
    program = f"import sys, aiverify.cli.app, aiverify.api; print(sorted({slow} & set(sys.modules)))"

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_a_scan_needs_neither_sigstore_nor_the_hub_client(root: Path) -> None:
    sample = root / "aiverify" / "demo" / "repositories" / "demo" / "payload"
    program = (
        f"import sys, aiverify; print(aiverify.scan({str(sample)!r}).verdict.outcome,"
        " sorted({'sigstore', 'huggingface_hub'} & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "block []"


def test_the_rooms_that_the_page_draws_exist(root: Path, docs: Path) -> None:
    drawing = (docs / "architecture.md").read_text("utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    names = re.findall(r"\b(\w+(?:\.py|/))", drawing.replace("aiverify/", "", 1))

    assert len(names) > 15
    for name in names:
        assert list((root / "aiverify").rglob(name.rstrip("/"))), name
