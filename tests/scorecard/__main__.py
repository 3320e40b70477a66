"""``make scorecard``: attacks and benign files against aiverify and against other scanners, by their own exit codes.

Prints what each detected, missed, could not examine and raised without reason, and writes the same to
``docs/scorecard.md``. Run as ``python -m scorecard --peers DIR`` with ``tests`` on the path; ``DIR`` is the ``bin``
folder of an environment that holds the peers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import attacks.corpus
import attacks.other_formats
import benign.corpus
from scorecard.page import page
from scorecard.running import Case, judgements
from scorecard.tally import Tally, by_class, totals

DOCS = Path(__file__).parents[2] / "docs" / "scorecard.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="the bin folder of the peers' environment")
    parser.add_argument("--output", type=Path, default=DOCS, help="where the page goes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="processes of peers at a time")
    parser.add_argument("--every", type=int, default=1, help="take one of so many cases only, for a quick look")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scorecard-") as folder:
        cases = _cases(Path(folder))[:: arguments.every]
        tally = Tally(cases, judgements(cases, arguments.peers.absolute(), arguments.jobs))
    for line in (*totals(tally), "", *by_class(tally)):
        print(line)
    arguments.output.write_text(page(tally, arguments.every), "utf-8")
    print(f"\n{arguments.output} written, {time.monotonic() - started:.0f} s")
    missed = [case.name for case in tally.missed("aiverify")]
    for name in missed:
        print(f"aiverify missed: {name}")
    return 1 if missed else 0


def _cases(folder: Path) -> list[Case]:
    """Every sample on disk; a sample of several files is judged as a folder."""
    bad, good = folder / "attacks", folder / "benign"
    bad.mkdir()
    good.mkdir()
    cases = [
        Case(
            name=sample.plan.name,
            path=sample.folder if sample.plan.mechanism.beside else sample.file,
            mechanism=sample.plan.mechanism.family,
            container=sample.plan.container.family,
            hostile=True,
        )
        for sample in attacks.corpus.write_corpus(bad)
    ]
    for number, attack in enumerate(attacks.other_formats.ATTACKS):
        place, _, _ = attacks.other_formats.write_attack(attack, bad, number)
        name = f"{attack.family}: {attack.title}"
        cases.append(
            Case(name=name, path=place, mechanism=attack.title, container=f"{attack.family} file", hostile=True)
        )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # libraries talk
        samples = benign.corpus.write_corpus(good)
    cases += (
        Case(name=sample.name, path=sample.path, mechanism=sample.library, container="", hostile=False)
        for sample in samples
    )
    return cases


if __name__ == "__main__":
    sys.exit(main())
