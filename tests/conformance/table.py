"""The table of results in ``docs/conformance.md``; ``python -m tests.conformance.table`` writes it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"


def results(folder: Path) -> list[tuple[str, str, str]]:
    """Of each case its name, what must come of it, and what did."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    from tests.conformance.cases import make_cases
    from tests.conformance.vectors import vectors

    rows = []
    for case in make_cases(folder):
        accepted = {case.run(by_digest=by_digest) for by_digest in (False, True)}
        did = "differs" if len(accepted) > 1 else "accepted" if accepted.pop() else "refused"
        rows.append((case.name, "refused" if case.must_fail else "accepted", did))
    return [*vectors(), *rows]


def table(rows: list[tuple[str, str, str]]) -> str:
    """The rows as Markdown, with a sentence that counts them."""
    right = sum(must == did for _, must, did in rows)
    lines = [f"{right} of {len(rows)} come out as they must.", "", "| case | must be | is |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {must} | {did} |" for name, must, did in rows)]) + "\n"


def page(text: str, rows: list[tuple[str, str, str]]) -> str:
    """The page with this table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        PAGE.write_text(page(PAGE.read_text("utf-8"), results(Path(work))), "utf-8")
