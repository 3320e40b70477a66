"""SARIF: what services and editors read."""

import json
from dataclasses import replace

import pytest
from fuzzing import effort
from hypothesis import given
from report_builder import report, reports

from aiverify.finding import Location
from aiverify.report import Outcome, Report, Verdict
from aiverify.reporters.interface import ReporterError
from aiverify.reporters.sarif import SarifReporter
from aiverify.rules import finding, rules


def log(*found: Report) -> dict:
    return json.loads(SarifReporter().render(found))


def result(**changes: object) -> dict:
    made = replace(finding("AIV301", "names os.system", file="a b/model.bin"), **changes)
    (only,) = log(report(findings=(made,)))["runs"][0]["results"]
    return only


def test_every_rule_stands_in_the_tool_and_is_referred_to() -> None:
    (run,) = log(report(findings=(finding("AIV301", "x", file="f"), finding("AIV101", "y", file="f"))))["runs"]
    described = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in described] == list(rules())
    for found in run["results"]:
        assert described[found["ruleIndex"]]["id"] == found["ruleId"]


def test_a_result_lies_in_its_file_at_its_byte() -> None:
    (location,) = result(location=Location(None, 17))["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/model.bin"
    assert location["physicalLocation"]["region"]["byteOffset"] == 17


def test_a_byte_of_a_member_is_no_byte_of_the_file() -> None:
    (location,) = result(location=Location("archive/data.pkl", 17))["locations"]
    assert "region" not in location["physicalLocation"]
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "archive/data.pkl at byte 17"


def test_a_finding_about_the_whole_artifact_has_no_place() -> None:
    assert result(file=None)["locations"] == []


def test_a_fingerprint_stays_when_only_the_place_in_the_list_changes() -> None:
    one, other = finding("AIV301", "x", file="f"), finding("AIV101", "y", file="f")
    prints = [
        {found["ruleId"]: found["partialFingerprints"] for found in log(report(findings=order))["runs"][0]["results"]}
        for order in ((one, other), (other, one))
    ]
    assert prints[0] == prints[1]
    assert prints[0]["AIV301"] != prints[0]["AIV101"]


def test_a_run_that_could_not_verify_was_not_successful() -> None:
    failed = report(verdict=Verdict(outcome=Outcome.ERROR, reasons=("no network",)))
    (invocation,) = log(failed)["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "no network"
    assert log(report())["runs"][0]["invocations"][0]["executionSuccessful"] is True


def test_each_report_is_a_run_of_its_own() -> None:
    ids = [run["automationDetails"]["id"] for run in log(report(target="a"), report(target="b"))["runs"]]
    assert len(set(ids)) == 2


def test_no_report_is_refused() -> None:
    with pytest.raises(ReporterError):
        log()


@effort(50)
@given(reports)
def test_any_report_can_be_written(found: Report) -> None:
    (run,) = log(found)["runs"]
    assert len(run["results"]) == len(found.findings)
    assert all(place["location"]["uri"].isascii() for place in run["artifacts"])
