"""The report as JSON and back."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from report_builder import every_kind, report, reports, to_review

from aiverify.artifact import FileClass, SourceKind
from aiverify.errors import AiverifyError
from aiverify.finding import Finding, Severity
from aiverify.report import Outcome, Report
from aiverify.reporters.document import document, to_dict
from aiverify.reporters.fields import MAX_DEPTH
from aiverify.reporters.interface import ReporterError
from aiverify.reporters.json import JsonReporter
from aiverify.reporters.reading import MAX_BYTES, SIGNATURE_KINDS, SIGNATURE_OUTCOMES, from_dict, load, load_all
from aiverify.rules import rules

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
SOME = settings(max_examples=50, deadline=None)


def render(*several: Report) -> str:
    return JsonReporter().render(several)


def form_of(one: Report) -> dict[str, object]:
    return json.loads(render(one))


# --- writing


@SOME
@given(reports)
def test_a_report_survives_being_saved_and_loaded(one: Report) -> None:
    assert load(render(one)) == one


@SOME
@given(st.lists(reports, min_size=1, max_size=3))
def test_reports_and_their_document_are_the_same_thing_in_two_forms(several: list[Report]) -> None:
    read = load_all(json.dumps(document(several)))
    assert read == tuple(several)
    assert document(read) == document(several)


@SOME
@given(reports)
def test_the_text_is_printable_ascii_and_ends_with_a_newline(one: Report) -> None:
    text = render(one)
    assert text.isascii()
    assert text.endswith("\n")
    assert text.replace("\n", "").isprintable()


@SOME
@given(st.lists(reports, min_size=1, max_size=2))
def test_every_rendering_follows_the_published_schema(several: list[Report]) -> None:
    VALIDATOR.validate(json.loads(JsonReporter().render(several)))


def test_one_target_gives_the_report_itself() -> None:
    assert json.loads(render(report())) == to_dict(report())


def test_several_targets_give_all_reports_and_the_worst_outcome() -> None:
    form = json.loads(render(*every_kind()))
    assert set(form) == {"schema_version", "reports", "outcome"}
    assert form["outcome"] == "block"
    assert form["reports"] == [to_dict(one) for one in every_kind()]
    assert load_all(render(*every_kind())) == every_kind()


def test_findings_carry_the_page_of_their_rule() -> None:
    [first, *_] = form_of(to_review())["findings"]
    assert first["help_url"] == rules()["AIV302"].help_url


def test_a_file_name_that_is_not_unicode_survives() -> None:
    finding = Finding(rule="AIV401", severity=Severity.HIGH, message="m", file="caf\udce9.bin")
    text = render(report(findings=(finding,)))
    assert r"caf\udce9.bin" in text
    assert load(text.encode("utf-8")).findings == (finding,)


def test_an_empty_run_is_no_report() -> None:
    with pytest.raises(ReporterError, match="no report"):
        render()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ((1, 2), [1, 2]),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**64, "0x10000000000000000"),
        (1 << 20_000, hex(1 << 20_000)),
        (2**63, 2**63),
    ],
    ids=["tuple", "nan", "infinity", "65 bits", "too long for decimal digits", "64 bits"],
)
def test_evidence_without_a_json_form_that_all_readers_keep_is_spelled_out(value: object, written: object) -> None:
    finding = Finding(rule="AIV311", severity=Severity.LOW, message="m", evidence={"value": value})
    text = render(report(findings=(finding,)))
    assert json.loads(text)["findings"][0]["evidence"]["value"] == written


@pytest.mark.parametrize("value", [b"bytes", {1: 2}, {"a", "b"}, object()])
def test_evidence_that_is_no_json_value_is_refused_by_its_place(value: object) -> None:
    finding = Finding(rule="AIV311", severity=Severity.LOW, message="m", evidence={"value": value})
    with pytest.raises(ReporterError, match=r"findings\[0\]\.evidence: .* is no JSON value"):
        render(report(findings=(finding,)))


def test_evidence_of_endless_depth_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    finding = Finding(rule="AIV311", severity=Severity.LOW, message="m", evidence={"value": value})
    with pytest.raises(ReporterError, match=f"more than {MAX_DEPTH} levels"):
        render(report(findings=(finding,)))


# --- reading

Place = tuple[str | int, ...]


def at(form: object, path: Place) -> object:
    for step in path:
        form = form[step]  # type: ignore[index]
    return form


def changed(path: Place, value: object) -> str:
    form = form_of(FULL)
    at(form, path[:-1])[path[-1]] = value  # type: ignore[index]
    return json.dumps(form)


FULL = replace(
    to_review(),
    unexamined=every_kind()[2].unexamined[:1],
)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema_version",), "2.0", "schema_version: is 2.0, and this aiverify reads 1.0"),
        (("schema_version",), 1, "schema_version: must be a version such as '1.0'"),
        (("schema_version",), "1.0\n", "schema_version: must be a version such as '1.0'"),
        (("tool",), "", "tool: is not of the expected form"),
        (("started_at",), "yesterday", "started_at: is not of the expected form"),
        (("started_at",), "2026-05-04T12:30:00Z\n", "started_at: is not of the expected form"),
        (("started_at",), "2026-02-30T12:30:00Z", "started_at: there is no such time"),
        (("duration_s",), -1, "duration_s: must be a number from 0"),
        (("duration_s",), True, "duration_s: must be a number, is a boolean"),
        (("target",), None, "target: must be a string, is null"),
        (("policy", "digest"), "abc", "policy.digest: is not of the expected form"),
        (("policy", "sources", 1, "digest"), "abc", "policy.sources[1].digest: is not of the expected form"),
        (("artifact", "source"), "web", "artifact.source: must be one of hub, folder, file, is 'web'"),
        (("artifact", "files", 0, "size"), 1.5, "artifact.files[0].size: must be a whole number"),
        (("artifact", "files", 0, "size"), -1, "artifact.files[0].size: must not be negative"),
        (("artifact", "files", 0, "size"), 10**400, "artifact.files[0].size: must not be greater than 2**64"),
        (("artifact", "files", 1, "path"), "config.json", "artifact.files[1].path: stands there twice"),
        (("artifact", "files", 0, "class"), "\x1b[2J", r"is '\x1b[2J'"),
        (("signatures",), {}, "signatures: must be an array, is an object"),
        (("signatures", 0, "covers"), ["a", 1], "signatures[0].covers[1]: must be a string, is a number"),
        (("findings", 0), "x", "findings[0]: must be an object, is a string"),
        (("findings", 0, "rule"), "AIV999", "findings[0].rule: is not of the expected form"),
        (("findings", 0, "severity"), "grave", "findings[0].severity: must be one of info"),
        (("findings", 0, "location", "offset"), True, "findings[0].location.offset: must be a whole number"),
        (("findings", 0, "evidence"), [], "findings[0].evidence: must be an object, is an array"),
        (("findings", 0, "surprise"), 1, "findings[0].surprise: is not a field of this object"),
        (("conversions", 0, "tensors"), "many", "conversions[0].tensors: must be a whole number, is a string"),
        (("variants", 0, "outcome"), "maybe", "variants[0].outcome: must be one of pass, review, error, block"),
        (("verdict", "reasons"), None, "verdict.reasons: must be an array, is null"),
    ],
)
def test_a_wrong_field_is_named(path: Place, value: object, message: str) -> None:
    with pytest.raises(ReporterError) as caught:
        load(changed(path, value))
    assert message in str(caught.value)


def test_a_report_from_before_the_files_of_a_signature_is_read() -> None:
    form = form_of(report())
    for signature in form["signatures"]:
        for field in LATER["signature"]:
            del signature[field]
    assert from_dict(form) == report()


def test_a_missing_field_is_named() -> None:
    form = form_of(FULL)
    del form["verdict"]["reasons"]
    with pytest.raises(ReporterError, match=r"^verdict\.reasons: is missing$"):
        from_dict(form)


def test_the_help_url_of_a_saved_report_is_not_believed() -> None:
    text = changed(("findings", 0, "help_url"), "https://phish.example/")
    assert "phish" not in render(load(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "the report: must be an object, is an array"),
        ("{", "not JSON"),
        ('{"a": 1, "a": 2}', "repeats a name"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "not UTF-8"),
        (b" " * (MAX_BYTES + 1), "larger than"),
        ('{"schema_version": "1.0", "reports": [], "outcome": "pass"}', "reports: must not be empty"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_report_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ReporterError, match=message):
        load_all(text)


@pytest.mark.parametrize(
    ("version", "hint"), [("0.9", "Verify again"), ("1.1", "Update aiverify"), ("2.0", "Update aiverify")]
)
def test_another_version_of_the_schema_is_refused_with_the_way_out(version: str, hint: str) -> None:
    # Its other fields may be anything: the version is looked at first.
    nested = {"schema_version": "1.0", "reports": [{"schema_version": version}], "outcome": "pass"}
    for form, place in (
        ({"schema_version": version, "surprise": 1}, "schema_version"),
        ({"schema_version": version, "reports": 1}, "schema_version"),
        (nested, "reports[0].schema_version"),
    ):
        with pytest.raises(ReporterError) as caught:
            load_all(json.dumps(form))
        assert str(caught.value).startswith(f"{place}: is {version}")
        assert hint in caught.value.hint


@pytest.mark.parametrize("foreign", [{}, {"runs": [], "version": "2.1.0"}, {"bomFormat": "CycloneDX"}, {"_type": "x"}])
def test_foreign_json_is_told_what_a_report_is(foreign: dict[str, object]) -> None:
    with pytest.raises(ReporterError, match=r"^schema_version: is missing$") as caught:
        load_all(json.dumps(foreign))
    assert "--format json" in caught.value.hint


def test_a_run_that_claims_a_better_outcome_than_its_reports_is_refused() -> None:
    form = json.loads(render(*every_kind()))
    form["outcome"] = "pass"
    with pytest.raises(ReporterError, match="outcome: must be block"):
        load_all(json.dumps(form))


def test_an_error_in_one_of_several_reports_says_which() -> None:
    form = json.loads(render(*every_kind()))
    form["reports"][2]["target"] = 7
    with pytest.raises(ReporterError, match=r"^reports\[2\]\.target: must be a string"):
        load_all(json.dumps(form))


def test_several_reports_are_not_taken_for_one() -> None:
    with pytest.raises(ReporterError, match="the file holds 4"):
        load(render(*every_kind()))


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_input_gives_anything_but_a_report_or_a_typed_error(text: str | bytes) -> None:
    with pytest.raises(AiverifyError):
        load_all(text)


# --- the schema


def objects() -> list[tuple[str, dict[str, object]]]:
    """Every object type of the schema, by its name."""
    return [(name, node) for name, node in SCHEMA["$defs"].items() if "properties" in node]


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


# Fields that came after the first release; a saved report may lack them.
LATER = {"signature": ("root", "partial", "files"), "report": ("attestations", "layers"), "conversion": ("sha256",)}


def test_every_object_of_the_schema_is_closed_and_complete() -> None:
    for name, node in objects():
        assert node["additionalProperties"] is False, name
        later = LATER.get(name, ())
        assert [*node["required"], *later] == list(node["properties"]), name


def test_every_field_has_a_title_and_a_description() -> None:
    for name, node in objects():
        for field, entry in [("", node), *node["properties"].items()]:
            described = SCHEMA["$defs"][entry["$ref"].rsplit("/", 1)[1]] if set(entry) == {"$ref"} else entry
            assert described["title"], (name, field)
            assert described["description"], (name, field)


@pytest.mark.parametrize(
    ("where", "values"),
    [
        (("outcome",), list(Outcome)),
        (("finding", "properties", "severity"), list(Severity)),
        (("artifact", "properties", "source"), list(SourceKind)),
        (("file", "properties", "class"), list(FileClass)),
        (("signature", "properties", "kind"), list(SIGNATURE_KINDS)),
        (("signature", "properties", "outcome"), list(SIGNATURE_OUTCOMES)),
    ],
)
def test_the_closed_sets_of_schema_and_code_are_the_same(where: Place, values: Sequence[str]) -> None:
    assert at(SCHEMA["$defs"], where)["enum"] == [str(value) for value in values]


def places(form: object, path: Place = ()) -> list[Place]:
    """Every place in ``form`` below the root; evidence is free and left out."""
    match form:
        case dict():
            steps: list[str | int] = [key for key in form if key != "evidence"]
        case list():
            steps = list(range(len(form)))
        case _:
            steps = []
    return [place for step in steps for place in [(*path, step), *places(form[step], (*path, step))]]


FULL_FORM = form_of(FULL)
REMOVED = object()


@pytest.mark.parametrize(
    "wrong", [REMOVED, None, 7, -1, 0.5, "", "x", True, [], {}, ["x"], [7], {"x": 7}], ids=lambda wrong: repr(wrong)[:9]
)
def test_the_schema_and_the_reader_agree_on_what_is_valid(wrong: object) -> None:
    accepted = 0
    for place in places(FULL_FORM):
        form = copy.deepcopy(FULL_FORM)
        parent = at(form, place[:-1])
        if wrong is REMOVED:
            del parent[place[-1]]
        else:
            parent[place[-1]] = wrong
        valid = VALIDATOR.is_valid(form)
        assert valid == is_accepted(form), place
        accepted += valid
    assert accepted < len(places(FULL_FORM)) / 2


def is_accepted(form: object) -> bool:
    try:
        from_dict(form)
    except ReporterError:
        return False
    return True


def test_a_run_without_reports_breaks_the_schema() -> None:
    form = json.loads(render(*every_kind()))
    assert VALIDATOR.is_valid(form)
    for wrong in ({"reports": []}, {"outcome": "fine"}, {"extra": 1}, {"schema_version": "0.9"}):
        assert not VALIDATOR.is_valid({**form, **wrong}), wrong
