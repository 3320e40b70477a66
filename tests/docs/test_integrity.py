"""Every case in the table of docs/integrity.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_row_names_a_test_that_exists(root: Path, docs: Path) -> None:
    text = (docs / "integrity.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| case")]
    sources = "\n".join(path.read_text("utf-8") for path in (root / "tests").rglob("test_*.py"))
    existing = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))

    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= existing, set(named) - existing
