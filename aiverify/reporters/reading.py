"""A saved report back as a value: the way back from ``document.py``.

A saved report is untrusted input. What ``load`` returns is valid; the rest is a ReporterError that names the field.
Fields that came later have a default: a report from before them is read as if it said nothing of them.
"""

from __future__ import annotations

import datetime
import json
import re

from aiverify.artifact import Artifact, ArtifactFile, FileClass, SourceKind
from aiverify.finding import Finding, Location, Severity, Unexamined
from aiverify.layers import Layer
from aiverify.report import (
    SCHEMA_VERSION,
    AttestationResult,
    Conversion,
    Dropped,
    FileState,
    Outcome,
    PolicyRecord,
    PolicySource,
    Report,
    SignatureResult,
    Variant,
    Verdict,
    worst,
)
from aiverify.reporters.fields import Fields
from aiverify.reporters.interface import ReporterError

MAX_BYTES = 64 * 1024 * 1024

SIGNATURE_KINDS = ("keyless", "key", "certificate", "none")
SIGNATURE_OUTCOMES = ("verified", "unpinned", "unchecked", "failed", "absent")
ATTESTATION_OUTCOMES = ("accepted", "refused")

_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}")
_RULE = re.compile("AIV[1-7][0-9]{2}")
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|\+00:00)")
_SOME = re.compile("(?s).+")
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")

_RUN = ("schema_version", "reports", "outcome")
_REPORT = (
    *("schema_version", "tool", "started_at", "duration_s", "target", "policy", "artifact", "signatures", "findings"),
    *("unexamined", "conversions", "variants", "verdict", "attestations", "layers"),
)
_REPORT_LATER: dict[str, object] = {"attestations": [], "layers": []}
_SIGNATURE = ("kind", "signer", "covers", "outcome", "detail", "root", "partial", "files")
_SIGNATURE_LATER: dict[str, object] = {"root": None, "partial": False, "files": []}
_CONVERSION = ("source", "output", "tensors", "dropped", "receipt", "sha256")
_FINDING = ("rule", "severity", "file", "location", "message", "evidence", "help_url")
_ATTESTATION = ("kind", "signer", "outcome", "detail", "statement", "root", "verified_at", "tool", "policy", "verdict")


def load(text: str | bytes) -> Report:
    """The saved report of one target. Raises ReporterError when it is not valid, or holds several."""
    reports = load_all(text)
    if len(reports) != 1:
        raise ReporterError(f"reports: one report is expected here, the file holds {len(reports)}")
    return reports[0]


def load_all(text: str | bytes) -> tuple[Report, ...]:
    """The saved reports, whether of one target or of several. Raises ReporterError when they are not valid."""
    form = _parsed(text)
    if not (isinstance(form, dict) and "reports" in form):
        return (from_dict(form),)
    _check_version(form, "")
    run = Fields(form, "", _RUN)
    reports = tuple(_report(one, f"reports[{index}]") for index, one in enumerate(run.values("reports")))
    if not reports:
        raise ReporterError("reports: must not be empty")
    outcome = worst(report.verdict.outcome for report in reports)
    if run.choice("outcome", Outcome) is not outcome:
        raise ReporterError(f"outcome: must be {outcome}, the worst of the reports")
    return reports


def from_dict(form: object) -> Report:
    """The report that ``document.to_dict`` gave this form for. Raises ReporterError when it is not valid.

    ``help_url`` is not taken over: it follows from the rule.
    """
    return _report(form, "")


def _parsed(text: str | bytes) -> object:
    if len(text) > MAX_BYTES:
        raise ReporterError(f"the report is larger than {MAX_BYTES} bytes")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ReporterError(f"the report is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise ReporterError("the report is nested too deeply") from error
    except ValueError as error:
        raise ReporterError(f"the report is not JSON: {error}") from error


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object repeats a name")
    return values


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value")


def _check_version(form: object, where: str) -> None:
    """Before all other fields, since which fields there are depends on it."""
    if not isinstance(form, dict):
        return
    place = f"{where}.schema_version" if where else "schema_version"
    if "schema_version" not in form:
        raise ReporterError(f"{place}: is missing", hint="A report is what aiverify writes with --format json.")
    version = form["schema_version"]
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ReporterError(f"{place}: must be a version such as '{SCHEMA_VERSION}'")
    if version != SCHEMA_VERSION:
        newer = _numbers(version) > _numbers(SCHEMA_VERSION)
        way_out = "Update aiverify to read it." if newer else "Verify again, or use the aiverify that wrote it."
        raise ReporterError(f"{place}: is {version}, and this aiverify reads {SCHEMA_VERSION}", hint=way_out)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _report(form: object, where: str) -> Report:
    _check_version(form, where)
    fields = Fields(form, where, _REPORT, _REPORT_LATER)
    return Report(
        schema_version=SCHEMA_VERSION,
        tool=fields.text("tool", _SOME),
        started_at=_time(fields, "started_at"),
        duration_s=fields.number("duration_s"),
        target=fields.text("target", _SOME),
        policy=_policy(fields.nested("policy", ("sources", "digest"))),
        artifact=_artifact(fields.nested("artifact", ("source", "repo", "revision", "files"))),
        signatures=tuple(_signature(one) for one in fields.objects("signatures", _SIGNATURE, _SIGNATURE_LATER)),
        findings=tuple(_finding(one) for one in fields.objects("findings", _FINDING)),
        unexamined=tuple(
            Unexamined(file=item.text("file", _SOME), member=item.optional_text("member"), reason=item.text("reason"))
            for item in fields.objects("unexamined", ("file", "member", "reason"))
        ),
        conversions=tuple(_conversion(one) for one in fields.objects("conversions", _CONVERSION, {"sha256": None})),
        variants=tuple(
            Variant(name=one.text("name", _SOME), files=one.texts("files"), outcome=one.choice("outcome", Outcome))
            for one in fields.objects("variants", ("name", "files", "outcome"))
        ),
        verdict=_verdict(fields.nested("verdict", ("outcome", "variant", "reasons"))),
        attestations=tuple(_attestation(one) for one in fields.objects("attestations", _ATTESTATION)),
        layers=tuple(_layer(one) for one in fields.objects("layers", ("file", "name", "dtype", "tensors", "size"))),
    )


def _time(fields: Fields, name: str) -> str:
    """A time in UTC, RFC 3339, that exists."""
    text = fields.text(name, _UTC)
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ReporterError(f"{fields.place(name)}: there is no such time: {error}") from error
    return text


def _policy(fields: Fields) -> PolicyRecord:
    return PolicyRecord(
        sources=tuple(
            PolicySource(name=source.text("name", _SOME), digest=source.optional_text("digest", _SHA256))
            for source in fields.objects("sources", ("name", "digest"))
        ),
        digest=fields.text("digest", _SHA256),
    )


def _artifact(fields: Fields) -> Artifact:
    files: dict[str, ArtifactFile] = {}
    for file in fields.objects("files", ("path", "size", "sha256", "format", "class")):
        path = file.text("path", _SOME)
        if path in files:
            raise ReporterError(f"{file.place('path')}: stands there twice")
        files[path] = ArtifactFile(
            path=path,
            size=file.count("size"),
            sha256=file.optional_text("sha256", _SHA256),
            format=file.text("format", _SOME),
            file_class=file.choice("class", FileClass),
        )
    return Artifact(
        source=fields.choice("source", SourceKind),
        repo=fields.optional_text("repo"),
        revision=fields.optional_text("revision", _COMMIT),
        files=tuple(files.values()),
    )


def _signature(fields: Fields) -> SignatureResult:
    return SignatureResult(
        kind=fields.word("kind", SIGNATURE_KINDS),
        signer=fields.optional_text("signer"),
        covers=fields.texts("covers"),
        outcome=fields.word("outcome", SIGNATURE_OUTCOMES),
        detail=fields.text("detail"),
        root=fields.optional_text("root"),
        partial=fields.flag("partial"),
        files=tuple(
            (file.text("path", _SOME), file.choice("state", FileState))
            for file in fields.objects("files", ("path", "state"))
        ),
    )


def _finding(fields: Fields) -> Finding:
    location = fields.nested("location", ("member", "offset"))
    fields.text("help_url")
    return Finding(
        rule=fields.text("rule", _RULE),
        severity=fields.choice("severity", Severity),
        file=fields.optional_text("file"),
        location=Location(location.optional_text("member"), location.optional_count("offset")),
        message=fields.text("message"),
        evidence=fields.free("evidence"),
    )


def _conversion(fields: Fields) -> Conversion:
    return Conversion(
        source=fields.text("source", _SOME),
        output=fields.optional_text("output"),
        tensors=fields.count("tensors"),
        dropped=tuple(
            Dropped(path=dropped.text("path"), type=dropped.text("type"))
            for dropped in fields.objects("dropped", ("path", "type"))
        ),
        receipt=fields.optional_text("receipt"),
        sha256=fields.optional_text("sha256", _SHA256),
    )


def _verdict(fields: Fields) -> Verdict:
    return Verdict(
        outcome=fields.choice("outcome", Outcome),
        variant=fields.optional_text("variant"),
        reasons=fields.texts("reasons"),
    )


def _attestation(fields: Fields) -> AttestationResult:
    return AttestationResult(
        kind=fields.word("kind", SIGNATURE_KINDS),
        signer=fields.optional_text("signer"),
        outcome=fields.word("outcome", ATTESTATION_OUTCOMES),
        detail=fields.text("detail"),
        statement=fields.text("statement", _SHA256),
        root=fields.optional_text("root"),
        verified_at=fields.optional_text("verified_at", _UTC),
        tool=fields.optional_text("tool"),
        policy=fields.optional_text("policy", _SHA256),
        verdict=None if fields.optional_text("verdict") is None else fields.choice("verdict", Outcome),
    )


def _layer(fields: Fields) -> Layer:
    return Layer(
        file=fields.optional_text("file"),
        name=fields.text("name"),
        dtype=fields.text("dtype"),
        tensors=fields.count("tensors"),
        size=fields.count("size"),
    )
