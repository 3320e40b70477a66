"""Counts of judgements: by scanner, by what an attack does and what it travels in, and by library for benign files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scorecard.running import Case, Judgement

BARE = "bare or surrounded pickle"


@dataclass(frozen=True, slots=True)
class Count:
    """Of how many cases, how many were met with what."""

    cases: int
    alarms: int
    unable: int

    @property
    def silent(self) -> int:
        return self.cases - self.alarms - self.unable


@dataclass(frozen=True, slots=True)
class Tally:
    """Every case and every judgement of it."""

    cases: Sequence[Case]
    said: Mapping[str, Sequence[Judgement]]

    @property
    def scanners(self) -> list[str]:
        return list(self.said)

    def count(self, scanner: str, cases: Iterable[int]) -> Count:
        chosen = [self.said[scanner][index] for index in cases]
        return Count(len(chosen), chosen.count(Judgement.ALARM), chosen.count(Judgement.UNABLE))

    def hostile(self) -> list[int]:
        return [index for index, case in enumerate(self.cases) if case.hostile]

    def benign(self) -> list[int]:
        return [index for index, case in enumerate(self.cases) if not case.hostile]

    def missed(self, scanner: str) -> Iterator[Case]:
        """Attacks that ``scanner`` was silent about."""
        for index in self.hostile():
            if self.said[scanner][index] is Judgement.SILENT:
                yield self.cases[index]

    def groups(self, key: str) -> dict[str, list[int]]:
        """Attacks by ``mechanism``, ``container`` or ``class`` (both), in the order of the corpus."""
        result: dict[str, list[int]] = {}
        for index in self.hostile():
            case = self.cases[index]
            name = f"{case.mechanism}, {case.container}" if key == "class" else getattr(case, key)
            result.setdefault(name, []).append(index)
        return result


def totals(tally: Tally) -> Iterator[str]:
    """Lines for a terminal: one for each scanner."""
    yield f"{'':14}{'attacks':>9}{'detected':>10}{'unable':>8}{'missed':>8}   {'benign':>8}{'alarms':>8}{'unable':>8}"
    for scanner in tally.scanners:
        bad, good = tally.count(scanner, tally.hostile()), tally.count(scanner, tally.benign())
        yield (
            f"{scanner:14}{bad.cases:>9}{bad.alarms:>10}{bad.unable:>8}{bad.silent:>8}   "
            f"{good.cases:>8}{good.alarms:>8}{good.unable:>8}"
        )


def by_class(tally: Tally) -> Iterator[str]:
    """Lines for a terminal: detected/unable/missed for each class."""
    yield f"{'detected/unable/missed':58}" + "".join(f"{scanner:>14}" for scanner in tally.scanners)
    for name, cases in sorted(tally.groups("class").items()):
        counts = (tally.count(scanner, cases) for scanner in tally.scanners)
        yield f"{name:58}" + "".join(f"{f'{c.alarms}/{c.unable}/{c.silent}':>14}" for c in counts)
