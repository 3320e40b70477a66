"""CycloneDX: what inventories and vulnerability trackers read."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from packageurl import PackageURL
from referencing import Registry, Resource
from report_builder import COMMIT, blocked, every_kind, report, reports, to_review, unreadable

from aiverify.artifact import Artifact, SourceKind
from aiverify.finding import Severity
from aiverify.report import Report, SignatureResult
from aiverify.reporters.cyclonedx import CycloneDxReporter
from aiverify.reporters.interface import ReporterError
from aiverify.rules import finding


def _published(name: str) -> dict:
    """A schema of the CycloneDX project, as its library carries it."""
    return json.loads((resources.files("cyclonedx.schema") / "_res" / f"{name}.SNAPSHOT.schema.json").read_bytes())


_PARTS = [Resource.from_contents(_published(name)) for name in ("spdx", "jsf-0.82", "cryptography-defs")]
SCHEMA = Draft7Validator(
    _published("bom-1.6"),
    registry=_PARTS @ Registry(),
    format_checker=Draft7Validator.FORMAT_CHECKER,
)
STRICT = JsonStrictValidator(SchemaVersion.V1_6)


def render(*found: Report) -> str:
    return CycloneDxReporter().render(found)


def bom(*found: Report) -> dict:
    return json.loads(render(*found))


def facts(component: dict) -> dict[str, list[str]]:
    """The properties under ``aiverify:``, by name."""
    found: dict[str, list[str]] = {}
    for one in component.get("properties", []):
        found.setdefault(one["name"].removeprefix("aiverify:"), []).append(one["value"])
    return found


# the model and its files


def test_a_repository_on_the_hub_is_a_model_at_its_commit() -> None:
    model = bom(report())["metadata"]["component"]
    assert (model["type"], model["group"], model["name"]) == ("machine-learning-model", "acme", "tiny-bert")
    assert model["version"] == COMMIT
    assert model["purl"] == f"pkg:huggingface/acme/tiny-bert@{COMMIT}"
    assert PackageURL.from_string(model["purl"]).version == COMMIT
    assert [(one["type"], one["url"]) for one in model["externalReferences"]] == [
        ("distribution", f"https://huggingface.co/acme/tiny-bert/tree/{COMMIT}"),
        ("model-card", f"https://huggingface.co/acme/tiny-bert/blob/{COMMIT}/README.md"),
    ]


def test_a_repository_without_an_owner_is_a_model_too() -> None:
    found = report(artifact=replace(report().artifact, repo="gpt2"))
    assert bom(found)["metadata"]["component"]["purl"] == f"pkg:huggingface/gpt2@{COMMIT}"


def test_a_folder_is_a_model_without_an_address() -> None:
    model = bom(to_review())["metadata"]["component"]
    assert model["name"] == "models/old-checkpoint"
    assert not {"purl", "externalReferences", "version", "group"} & set(model)


@pytest.mark.parametrize("repo", ["", "a/b/c", "a b/c", "../x", "a/b?x=1", "a/b@1", None])
def test_what_is_no_name_of_a_repository_gets_no_package_url(repo: str | None) -> None:
    found = report(artifact=Artifact(source=SourceKind.HUB, repo=repo, revision=COMMIT, files=()))
    assert "purl" not in bom(found)["metadata"]["component"]


def test_files_are_components_with_their_digests_and_the_model_depends_on_them() -> None:
    made = bom(report())
    files = {one["name"]: one for one in made["components"]}
    assert set(files) == {file.path for file in report().artifact.files}
    for file in report().artifact.files:
        component = files[file.path]
        assert component["type"] == "file"
        assert component["hashes"] == [{"alg": "SHA-256", "content": file.sha256}]
        assert facts(component) == {"class": [file.file_class], "format": [file.format], "size": [str(file.size)]}
    (of_model,) = [one for one in made["dependencies"] if one["ref"] == made["metadata"]["component"]["bom-ref"]]
    assert sorted(of_model["dependsOn"]) == sorted(one["bom-ref"] for one in made["components"])


def test_a_file_that_was_not_hashed_has_no_digest() -> None:
    found = report()
    plain = tuple(replace(file, sha256=None) for file in found.artifact.files)
    made = bom(replace(found, artifact=replace(found.artifact, files=plain)))
    assert not any("hashes" in one for one in made["components"])


def test_several_targets_are_one_bill_with_a_model_each() -> None:
    made = bom(*every_kind())
    assert "component" not in made["metadata"]
    models = [one for one in made["components"] if one["type"] == "machine-learning-model"]
    verdicts = [facts(one)["verdict"] for one in models]
    assert sorted(verdicts) == sorted([one.verdict.outcome] for one in every_kind())
    assert len(made["components"]) == sum(1 + len(one.artifact.files) for one in every_kind())


# verdict and findings


@pytest.mark.parametrize("found", every_kind(), ids=lambda found: found.verdict.outcome.value)
def test_the_verdict_stands_at_the_model(found: Report) -> None:
    said = facts(bom(found)["metadata"]["component"])
    assert said["verdict"] == [found.verdict.outcome]
    assert said["verdict:variant"] == [found.verdict.variant]
    assert sorted(said["verdict:reason"]) == sorted(found.verdict.reasons)
    assert said["policy:sha256"] == [found.policy.digest]


def test_what_was_not_examined_stands_at_the_model() -> None:
    said = facts(bom(unreadable())["metadata"]["component"])["unexamined"]
    assert len(said) == 15
    assert "model.ckpt, member archive/data.pkl: the archive ends before its central directory" in said


def test_a_finding_is_a_vulnerability_of_its_file() -> None:
    made = bom(blocked())
    (one,) = [found for found in made["vulnerabilities"] if found["id"] == "AIV301"]
    (file,) = [part for part in made["components"] if part["name"] == "pytorch_model.bin"]
    assert one["affects"] == [{"ref": file["bom-ref"]}]
    assert [rating["severity"] for rating in one["ratings"]] == ["critical"]
    assert one["detail"] == "pytorch_model.bin, archive/data.pkl, byte 37"
    assert one["source"]["url"].endswith("/rules/AIV301/")


def test_a_finding_about_the_artifact_or_an_unknown_file_is_one_of_the_model() -> None:
    made = bom(report(findings=(finding("AIV301", "x"), finding("AIV301", "y", file="gone.bin"))))
    refs = [found["affects"] for found in made["vulnerabilities"]]
    assert refs == [[{"ref": made["metadata"]["component"]["bom-ref"]}]] * 2


def test_information_is_no_vulnerability() -> None:
    found = report(findings=(finding("AIV201", "not signed", severity=Severity.INFO),))
    assert "vulnerabilities" not in bom(found)


def test_equal_findings_are_all_there() -> None:
    twice = (finding("AIV301", "x", file="config.json"),) * 2
    assert len(bom(report(findings=twice))["vulnerabilities"]) == 2


def test_only_verified_signatures_are_evidence() -> None:
    (identity,) = bom(report())["metadata"]["component"]["evidence"]["identity"]
    assert identity["methods"] == [
        {"technique": "attestation", "confidence": 1, "value": report().signatures[0].signer}
    ]
    for outcome in ("unpinned", "unchecked", "failed", "absent"):
        other = SignatureResult(kind="keyless", outcome=outcome, signer="mallory", detail="d")
        assert "evidence" not in bom(report(signatures=(other,)))["metadata"]["component"]


# the document


def test_the_same_report_gives_the_same_bytes_and_another_one_another_serial_number() -> None:
    assert render(report()) == render(report())
    assert bom(report())["serialNumber"] != bom(report(target="other"))["serialNumber"]
    assert bom(report())["metadata"]["timestamp"] == "2026-05-04T12:30:00+00:00"


def test_the_schema_tells_right_from_wrong() -> None:
    good = bom(*every_kind())
    assert SCHEMA.is_valid(good)
    good["components"][0]["type"] = "weights"
    assert not SCHEMA.is_valid(good)
    assert STRICT.validate_str(json.dumps(good)) is not None


def test_no_report_is_refused() -> None:
    with pytest.raises(ReporterError):
        render()


@effort(12)
@given(st.lists(reports, min_size=1, max_size=2))
def test_any_report_becomes_a_bill_that_the_standard_takes(found: list[Report]) -> None:
    text = render(*found)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert STRICT.validate_str(text) is None
    made = json.loads(text)
    SCHEMA.validate(made)
    above_info = sum(one.severity is not Severity.INFO for made in found for one in made.findings)
    assert len(made.get("vulnerabilities", [])) == above_info
    refs = [one["bom-ref"] for one in [*made.get("components", []), *made.get("vulnerabilities", [])]]
    assert len(refs) == len(set(refs))
