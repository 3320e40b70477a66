"""Every page that shows Python is tried out by a test of its name, and the index leads to it."""

from __future__ import annotations

import re
from pathlib import Path

from integration_pages import PAGES, examples

WITH_PYTHON = {page.stem for page in PAGES.glob("*.md") if examples(page.name)}


def test_every_page_with_an_example_has_its_test() -> None:
    tests = {test.stem.removeprefix("test_").replace("_", "-") for test in Path(__file__).parent.glob("test_*.py")}
    assert len(WITH_PYTHON) > 5
    assert tests >= WITH_PYTHON


def test_the_index_leads_to_every_page_with_an_example() -> None:
    rows = re.findall(r"^\| \[.*?\]\(([\w-]+)\.md\) \|", (PAGES / "index.md").read_text("utf-8"), re.MULTILINE)
    assert set(rows) >= WITH_PYTHON
