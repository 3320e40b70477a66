"""A verdict as an in-toto statement that others can rely on: a SLSA Verification Summary, version 1.

Source: https://slsa.dev/spec/v1.1/verification_summary. The subjects are the files of the artifact, each with its
SHA-256; size, format and class stand in their annotations. What the predicate has no field for (the outcome and the
variant that it is about, where the artifact came from) stands in an extension field, whose name is ``EXTENSION``.

A ``Summary`` exists only if it is valid: a statement of ours, complete, and at one with itself. Fields that are not
known are ignored, as the specification asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from aiverify.artifact import Artifact, ArtifactFile, FileClass, SourceKind
from aiverify.attestations.interface import AttestationError
from aiverify.report import Outcome, Report, Variant, Verdict
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.manifest import MAX_RESOURCES, STATEMENT_TYPE
from aiverify.signatures.strict_json import optional, parse_object, required

PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER = "https://aiverify-weights.readthedocs.io/verifier/v1"
EXTENSION = "https://aiverify-weights.readthedocs.io/verdict/v1"
POLICY = "https://aiverify-weights.readthedocs.io/policy/"
TOOL = "aiverify-weights"
SLSA_VERSION = "1.1"
PASSED, FAILED = "PASSED", "FAILED"
LEVEL_PASS, LEVEL_SIGNED, LEVEL_COMPLETE = "AIVERIFY_PASS", "AIVERIFY_SIGNED", "AIVERIFY_COMPLETE"

Choice = TypeVar("Choice", Outcome, SourceKind, FileClass)

_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}")
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What was verified, when, by which version under which policy (SHA-256), and what came of it."""

    artifact: Artifact
    verdict: Verdict
    variants: tuple[Variant, ...]
    verified_at: datetime
    version: str
    policy: str
    levels: tuple[str, ...]


def summary_payload(report: Report) -> bytes:
    """The statement that a report comes to. Raises AttestationError for a report that says nothing about any bytes."""
    artifact, verdict = report.artifact, report.verdict
    if not artifact.files:
        raise AttestationError("the report is about no files, so there is nothing to attest")
    if report.attestations:
        raise AttestationError(
            "the report rests on an attestation itself", hint="Attest the report of a run that examined the files."
        )
    spared = next((file.path for file in artifact.files if file.sha256 is None), None)
    if spared is not None:
        raise AttestationError(
            f"the report pins no digest of {spared}", hint="aiverify verify --format json writes one that does."
        )
    name, _, version = report.tool.partition(" ")
    if name != "aiverify" or not version:
        raise AttestationError(f"the report is by {report.tool}, and not by aiverify")
    passed = verdict.outcome is Outcome.PASS
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [_subject(file) for file in artifact.files],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "verifier": {"id": VERIFIER, "version": {TOOL: version}},
            "timeVerified": report.started_at.replace("+00:00", "Z"),
            "resourceUri": resource_uri(artifact, report.target),
            "policy": {
                "uri": f"{POLICY}{report.policy.digest}",
                "digest": {"sha256": report.policy.digest},
                "annotations": {"sources": [_source(one.name, one.digest) for one in report.policy.sources]},
            },
            "verificationResult": PASSED if passed else FAILED,
            "verifiedLevels": _levels(report) if passed else [FAILED],
            "slsaVersion": SLSA_VERSION,
            EXTENSION: {
                "outcome": verdict.outcome.value,
                "variant": verdict.variant,
                "variants": [
                    {"name": one.name, "files": list(one.files), "outcome": one.outcome.value}
                    for one in report.variants
                ],
                "source": artifact.source.value,
                "repo": artifact.repo,
                "revision": artifact.revision,
            },
        },
    }
    payload = json.dumps(statement, indent=1).encode()
    try:
        parse_summary(payload)
    except MalformedError as error:
        raise AttestationError(f"the report cannot be attested: {error}") from error
    return payload


def resource_uri(artifact: Artifact, target: str) -> str:
    """A package URL (https://github.com/package-url/purl-spec) for what was verified, without anybody's folders."""
    if artifact.repo is not None:
        revision = f"@{artifact.revision}" if artifact.revision else ""
        return f"pkg:huggingface/{quote(artifact.repo)}{revision}"
    name = target.rstrip("/").rpartition("/")[2]
    return f"pkg:generic/{quote(name if name.strip('.') else 'model', safe='')}"


def parse_summary(payload: bytes) -> Summary:
    """The summary in the payload of an envelope. Raises MalformedError."""
    statement = parse_object(payload)
    if statement.get("_type") != STATEMENT_TYPE:
        raise MalformedError("the payload is not an in-toto Statement v1")
    predicate_type = required(statement, "predicateType", str)
    if predicate_type != PREDICATE_TYPE:
        raise MalformedError(f"the statement is about {predicate_type[:80]!r}, not the summary of a verification")
    predicate = required(statement, "predicate", dict)
    verifier = required(predicate, "verifier", dict)
    if required(verifier, "id", str) != VERIFIER:
        raise MalformedError("the verification is not one by aiverify")
    said = required(predicate, EXTENSION, dict)
    artifact = _artifact(statement, said)
    variants = tuple(_variant(one) for one in _tables(said, "variants"))
    outcome = _outcome(said)
    variant = optional(said, "variant", str, "") or None
    if variant is not None and variant not in [one.name for one in variants]:
        raise MalformedError("the verdict is about a variant that is not listed")
    result = required(predicate, "verificationResult", str)
    levels = required(predicate, "verifiedLevels", list)
    if not all(isinstance(level, str) for level in levels):
        raise MalformedError("'verifiedLevels' holds something that is not a string")
    if result != (PASSED if outcome is Outcome.PASS else FAILED) or (FAILED in levels) != (result == FAILED):
        raise MalformedError("the result, the levels and the outcome contradict each other")
    return Summary(
        artifact=artifact,
        verdict=Verdict(outcome=outcome, variant=variant, reasons=()),
        variants=variants,
        verified_at=_time(required(predicate, "timeVerified", str)),
        version=required(required(verifier, "version", dict), TOOL, str),
        policy=_of_form(required(required(predicate, "policy", dict), "digest", dict), "sha256", _SHA256),
        levels=tuple(levels),
    )


def _subject(file: ArtifactFile) -> dict[str, object]:
    annotations = {"size": file.size, "format": file.format, "class": file.file_class.value}
    return {"name": file.path, "digest": {"sha256": file.sha256}, "annotations": annotations}


def _source(name: str, digest: str | None) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": digest} if digest else {}}


def _levels(report: Report) -> list[str]:
    signed = any(signature.outcome == "verified" for signature in report.signatures)
    levels = {LEVEL_PASS: True, LEVEL_SIGNED: signed, LEVEL_COMPLETE: not report.unexamined}
    return [level for level, reached in levels.items() if reached]


def _artifact(statement: Mapping[str, Any], said: Mapping[str, Any]) -> Artifact:
    subjects = _tables(statement, "subject")
    if not subjects:
        raise MalformedError("the statement is about no files")
    if len(subjects) > MAX_RESOURCES:
        raise MalformedError(f"the statement is about more than {MAX_RESOURCES} files")
    files = {file.path: file for file in map(_file, subjects)}
    if len(files) != len(subjects):
        raise MalformedError("the statement names a file twice")
    revision = said.get("revision")
    return Artifact(
        source=_choice(said, "source", SourceKind),
        files=tuple(files.values()),
        repo=optional(said, "repo", str, "") or None,
        revision=None if revision is None else _of_form(said, "revision", _COMMIT),
    )


def _file(table: Mapping[str, Any]) -> ArtifactFile:
    annotations = required(table, "annotations", dict)
    size, path = required(annotations, "size", int), required(table, "name", str)
    if isinstance(size, bool) or size < 0 or not path:
        raise MalformedError("a subject has no name, or no size")
    return ArtifactFile(
        path=path,
        size=size,
        sha256=_of_form(required(table, "digest", dict), "sha256", _SHA256),
        format=required(annotations, "format", str),
        file_class=_choice(annotations, "class", FileClass),
    )


def _variant(table: Mapping[str, Any]) -> Variant:
    files = required(table, "files", list)
    if not all(isinstance(file, str) for file in files):
        raise MalformedError("a variant holds something that is not a path")
    return Variant(name=required(table, "name", str), files=tuple(files), outcome=_outcome(table))


def _tables(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = required(table, key, list)
    if not all(isinstance(entry, dict) for entry in entries):
        raise MalformedError(f"{key!r} holds something that is not an object")
    return entries


def _outcome(table: Mapping[str, Any]) -> Outcome:
    return _choice(table, "outcome", Outcome)


def _choice(table: Mapping[str, Any], key: str, kind: type[Choice]) -> Choice:
    try:
        return kind(required(table, key, str))
    except ValueError as error:
        raise MalformedError(f"{key!r} has a value that is not known") from error


def _of_form(table: Mapping[str, Any], key: str, form: re.Pattern[str]) -> str:
    text = required(table, key, str)
    if not form.fullmatch(text):
        raise MalformedError(f"{key!r} is not of its form")
    return text


def _time(text: str) -> datetime:
    try:
        if _UTC.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        pass
    raise MalformedError(f"{text[:80]!r} is not a time")
