from pathlib import Path

import pytest
from scorecard.page import page
from scorecard.running import Case, Judgement
from scorecard.tally import Tally, by_class, totals

ALARM, UNABLE, SILENT = Judgement.ALARM, Judgement.UNABLE, Judgement.SILENT


@pytest.fixture
def tally():
    cases = [
        Case(name="secret recipe | box | 0", path=Path("a"), mechanism="acts", container="bare", hostile=True),
        Case(name="another recipe | box | 0", path=Path("b"), mechanism="acts", container="packed", hostile=True),
        Case(name="weights", path=Path("c"), mechanism="torch", container="", hostile=False),
    ]
    return Tally(cases, {"aiverify": [ALARM, ALARM, SILENT], "other": [SILENT, UNABLE, ALARM]})


def test_what_was_missed_is_neither_detected_nor_unable(tally):
    count = tally.count("other", tally.hostile())
    assert (count.cases, count.alarms, count.unable, count.silent) == (2, 0, 1, 1)
    assert [case.name for case in tally.missed("other")] == ["secret recipe | box | 0"]
    assert list(tally.missed("aiverify")) == []


def test_the_page_counts_and_names_no_sample(tally):
    text = page(tally)
    assert "| other | 0 | 1 | **1** | 1 | 0 |" in text
    assert "| acts | 2 | 2 / 0 / **0** | 0 / 1 / **1** |" in text
    assert "recipe" not in text.replace("no list of recipes", "")


def test_the_terminal_shows_every_class(tally):
    lines = list(by_class(tally))
    assert [line.split("  ")[0] for line in lines[1:]] == ["acts, bare", "acts, packed"]
    assert len(list(totals(tally))) == 3
