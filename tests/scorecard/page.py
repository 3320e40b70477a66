"""The page ``docs/scorecard.md``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from scorecard.tally import Tally

_MAKEFILE = Path(__file__).parents[2] / "Makefile"

_HEAD = """# Scorecard

`make scorecard` writes this page. It gives {attacks} attacks and {benign} benign files to aiverify and to four other
scanners, and counts what their exit codes say.

**Read it with care.** The attacks are a sample that is adversarial by construction: it was made to cover {mechanisms}
mechanisms and {containers} ways of packing them, not to resemble what is found in the wild. A count here is no rate of
anything out there, and whoever writes the attacks and a scanner has an advantage on both. The page says how many of a
class were missed and never which: it is no list of recipes.

## How it is measured

- **Attacks.** Each is a payload in a file, and no two share mechanism, container and opcode path. The test suite proves
  each of them live: it runs in its real loader (`pickle`, `torch.load`, `joblib.load`, `numpy.load`, `pandas`, `dill`)
  in a process of its own, and leaves a harmless marker or ends that process.
- **Benign files** are written by the real libraries.
- **Judgement** by documented exit codes alone. Detected: 1. Missed: 0. Could not examine: any other code, a crash,
  or no answer in 60 seconds. Of benign files, 1 is a false alarm. A finding that leaves the exit code at 0 is not
  counted: nobody who runs a scanner in a pipeline would see it.
- **Options** are the defaults, with telemetry and caches turned off. Each file is given by its name, an attack of
  several files as a folder. What aiverify blocks or wants reviewed counts as detected, as its exit code says, and a
  part of its answers is checked against the command itself.
- **Versions**: {versions}; aiverify of this checkout.
"""


def page(tally: Tally, every: int = 1) -> str:
    """The whole page, in Markdown. ``every`` says that one of so many cases was taken."""
    hostile = [tally.cases[index] for index in tally.hostile()]
    head = _HEAD.format(
        attacks=len(hostile),
        benign=len(tally.benign()),
        mechanisms=len({case.name.split(" | ")[0] for case in hostile}),
        containers=len({part for case in hostile for part in case.name.split(" | ")[1:2]}),  # formats have none
        versions=", ".join(_versions()),
    )
    lines = [
        head,
        *(
            [f"**A quick look**: one of {every} cases only (`--every {every}`), on a busy machine.", ""]
            if every > 1
            else []
        ),
        "## In all",
        "",
        *_summary(tally),
        "",
        "## Attacks, by what they do",
        "",
        "Detected / could not examine / **missed**.",
        "",
        *_groups(tally, "mechanism", "The attack …"),
        "",
        "## Attacks, by what they travel in",
        "",
        *_groups(tally, "container", "Container"),
        "",
        "## Benign files, by the library that wrote them",
        "",
        "False alarms / could not examine.",
        "",
        *_libraries(tally),
        "",
    ]
    return "\n".join(lines)


def _versions() -> Iterator[str]:
    """The pinned versions, as they stand in the Makefile."""
    (pins,) = re.findall(r"^SCANNER_PACKAGES := (.+)$", _MAKEFILE.read_text("utf-8"), re.MULTILINE)
    for pin in pins.split():
        yield pin.replace("==", " ")


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _summary(tally: Tally) -> Iterator[str]:
    yield _row(("", "detected", "could not examine", "**missed**", "false alarms", "benign, could not examine"))
    yield _row(("---", "---:", "---:", "---:", "---:", "---:"))
    for scanner in tally.scanners:
        bad, good = tally.count(scanner, tally.hostile()), tally.count(scanner, tally.benign())
        yield _row((scanner, bad.alarms, bad.unable, f"**{bad.silent}**", good.alarms, good.unable))


def _groups(tally: Tally, key: str, title: str) -> Iterator[str]:
    yield _row((title, "number", *tally.scanners))
    yield _row(("---", "---:", *("---:" for _ in tally.scanners)))
    for name, cases in tally.groups(key).items():
        counts = (tally.count(scanner, cases) for scanner in tally.scanners)
        yield _row((name, len(cases), *(f"{c.alarms} / {c.unable} / **{c.silent}**" for c in counts)))


def _libraries(tally: Tally) -> Iterator[str]:
    groups: dict[str, list[int]] = {}
    for index in tally.benign():
        groups.setdefault(tally.cases[index].mechanism, []).append(index)
    yield _row(("Library", "number", *tally.scanners))
    yield _row(("---", "---:", *("---:" for _ in tally.scanners)))
    for name, cases in groups.items():
        counts = (tally.count(scanner, cases) for scanner in tally.scanners)
        yield _row((name, len(cases), *(f"{c.alarms} / {c.unable}" for c in counts)))
