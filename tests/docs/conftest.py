"""What the tests of the documentation share: where it is, and what the pages hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def docs() -> Path:
    return ROOT / "docs"


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Every Markdown page that the project publishes, by its path in the checkout."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    built = ROOT / "docs" / "site"
    return {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for path in sorted(files)
        if not path.is_relative_to(built)
    }


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    """The generator of pages, which is a program and no part of the package."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
