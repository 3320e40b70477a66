"""Markdown: a comment that says what matters and in which nothing of the artifact acts."""

import json
import re

import pytest
from fuzzing import effort
from hypothesis import given
from report_builder import report, reports

from aiverify.finding import Severity
from aiverify.report import Outcome, Report, Verdict
from aiverify.reporters.interface import ReporterError
from aiverify.reporters.markdown import LONGEST, MAX_FINDINGS, MarkdownReporter
from aiverify.rules import finding

_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


def text(*found: Report, verbosity: int = 0) -> str:
    return MarkdownReporter(verbosity=verbosity).render(found)


def outside_of_code(markdown: str) -> str:
    return _SPAN.sub("", markdown)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_verdict_comes_first(outcome: Outcome) -> None:
    lines = text(report(verdict=Verdict(outcome=outcome, reasons=("because",)))).splitlines()
    assert outcome.value.upper() in next(line for line in lines if line.startswith("###"))


def test_several_targets_begin_with_a_table() -> None:
    made = text(report(), report(target="other"))
    assert made.index("| target |") < made.index("###")


def test_information_is_shown_on_request() -> None:
    found = report(findings=(finding("AIV201", "not signed", severity=Severity.INFO),))
    assert "AIV201" not in text(found)
    assert "AIV201" in text(found, verbosity=1)


HOSTILE = [
    "@everyone",
    "![x](http://host/y.png)",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:x)",
    "a | b",
    "``` `x",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_of_the_artifact_stays_text(hostile: str) -> None:
    made = text(report(target=hostile, findings=(finding("AIV301", hostile, file=hostile),)))
    assert hostile not in outside_of_code(made)
    for line in made.splitlines():
        if line.startswith("| ") and "AIV301" in line:
            assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_a_bar_in_a_name_stays_alone_outside_of_tables() -> None:
    reasons = ("the file a|b",)
    found = (finding("AIV301", "x", file="c|d"),)
    made = text(report(findings=found, verdict=Verdict(outcome=Outcome.PASS, reasons=reasons)))
    assert "- `the file a|b`" in made
    assert "`c\\|d`" in made


def test_a_command_is_whole_however_long_it_is() -> None:
    names = [f"{'package' * 9}.Class{number}" for number in range(8)]
    found = tuple(finding("AIV302", "unknown", file="a.bin", evidence={"global": name}) for name in names)
    made = text(report(findings=found, verdict=Verdict(outcome=Outcome.REVIEW, variant="safetensors", reasons=())))
    assert f"`trust.globals = {json.dumps(names)}`" in made


def test_a_long_report_is_cut_and_says_so() -> None:
    many = tuple(finding("AIV301", "x" * 300, file=f"file{number}" * 30) for number in range(5000))
    made = text(*[report(findings=many)] * 20)
    assert len(made.encode()) <= LONGEST + 200
    assert "left out" in made
    assert f"{5000 - MAX_FINDINGS} findings" in text(report(findings=many))


def test_no_report_is_refused() -> None:
    with pytest.raises(ReporterError):
        text()


@effort(50)
@given(reports)
def test_any_report_can_be_written(found: Report) -> None:
    made = text(found)
    assert made.endswith("\n")
    assert made.isprintable() or all(char.isprintable() or char == "\n" for char in made)
