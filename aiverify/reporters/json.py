"""The report as JSON, and a saved report back as a value.

The form is a public interface, described by ``docs/report.schema.json``: one target gives a report object, several give
an object with ``schema_version``, ``reports`` and the worst ``outcome``. The text is pure ASCII: other characters are
escaped, so it is valid UTF-8 whatever a file is called, lone surrogates of undecodable names survive, and nothing in it
can act on a terminal.

A saved report is untrusted input. What ``load`` returns is valid; the rest is a ReporterError that names the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from aiverify.artifact import Artifact, ArtifactFile, FileClass, SourceKind
from aiverify.finding import Finding, Location, Severity, Unexamined
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
from aiverify.reporters.fields import Fields, json_value
from aiverify.reporters.interface import Reporter, ReporterError
from aiverify.rules import HELP_URL

MAX_BYTES = 64 * 1024 * 1024

SIGNATURE_KINDS = ("keyless", "key", "certificate", "none")
SIGNATURE_OUTCOMES = ("verified", "unpinned", "unchecked", "failed", "absent")
ATTESTATION_OUTCOMES = ("accepted", "refused")

_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}")
_RULE = re.compile("AIV[1-7][0-9]{2}")
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|\+00:00)")
_SOME = re.compile("(?s).+")

# The last three came later: a report without them is read as if they said nothing.
_SIGNATURE = ("kind", "signer", "covers", "outcome", "detail", "root", "partial", "files")
_RUN = ("schema_version", "reports", "outcome")
_REPORT = (
    "schema_version",
    "tool",
    "started_at",
    "duration_s",
    "target",
    "policy",
    "artifact",
    "signatures",
    "findings",
    "unexamined",
    "conversions",
    "variants",
    "verdict",
    "attestations",
)
_ATTESTATION = ("kind", "signer", "outcome", "detail", "statement", "root", "verified_at", "tool", "policy", "verdict")
# A report from before there were any is read as one without.
_LATER: dict[str, object] = {"attestations": []}


class JsonReporter(Reporter):
    """Writes the form that ``load`` reads."""

    def render(self, reports: Sequence[Report], *, verbosity: int = 0) -> str:  # noqa: ARG002 - always complete
        """One report object, or an object with all of them. Always complete, whatever the verbosity."""
        if not reports:
            raise ReporterError("there is no report to write")
        form: object = to_dict(reports[0])
        if len(reports) > 1:
            form = {
                "schema_version": SCHEMA_VERSION,
                "reports": [to_dict(report) for report in reports],
                "outcome": worst(report.verdict.outcome for report in reports).value,
            }
        text = json.dumps(form, indent=2, ensure_ascii=True, allow_nan=False)
        # DEL is the one control character that JSON lets stand.
        return text.replace("\x7f", "\\u007f") + "\n"


def to_dict(report: Report) -> dict[str, object]:
    """The report in JSON values. Raises ReporterError when evidence holds something that JSON has no form for."""
    return {
        "schema_version": report.schema_version,
        "tool": report.tool,
        "started_at": report.started_at,
        "duration_s": json_value(report.duration_s, "duration_s"),
        "target": report.target,
        "policy": {
            "sources": [{"name": source.name, "digest": source.digest} for source in report.policy.sources],
            "digest": report.policy.digest,
        },
        "artifact": {
            "source": report.artifact.source.value,
            "repo": report.artifact.repo,
            "revision": report.artifact.revision,
            "files": [_file(file) for file in report.artifact.files],
        },
        "signatures": [
            {
                "kind": signature.kind,
                "signer": signature.signer,
                "covers": list(signature.covers),
                "outcome": signature.outcome,
                "detail": signature.detail,
                "root": signature.root,
                "partial": signature.partial,
                "files": [{"path": path, "state": state.value} for path, state in signature.files],
            }
            for signature in report.signatures
        ],
        "findings": [_finding(finding, f"findings[{index}]") for index, finding in enumerate(report.findings)],
        "unexamined": [{"file": item.file, "member": item.member, "reason": item.reason} for item in report.unexamined],
        "conversions": [
            {
                "source": conversion.source,
                "output": conversion.output,
                "tensors": conversion.tensors,
                "dropped": [{"path": dropped.path, "type": dropped.type} for dropped in conversion.dropped],
                "receipt": conversion.receipt,
            }
            for conversion in report.conversions
        ],
        "variants": [
            {"name": variant.name, "files": list(variant.files), "outcome": variant.outcome.value}
            for variant in report.variants
        ],
        "verdict": {
            "outcome": report.verdict.outcome.value,
            "variant": report.verdict.variant,
            "reasons": list(report.verdict.reasons),
        },
        "attestations": [
            {name: getattr(attestation, name) for name in _ATTESTATION} for attestation in report.attestations
        ],
    }


def _file(file: ArtifactFile) -> dict[str, object]:
    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "format": file.format,
        "class": file.file_class.value,
    }


def _finding(finding: Finding, where: str) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "file": finding.file,
        "location": {"member": finding.location.member, "offset": finding.location.offset},
        "message": finding.message,
        "evidence": json_value(finding.evidence, f"{where}.evidence"),
        "help_url": HELP_URL.format(rule=finding.rule),
    }


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
    run = Fields(form, "", _RUN)
    _check_version(run)
    reports = tuple(_report(fields) for fields in run.objects("reports", _REPORT, _LATER))
    if not reports:
        raise ReporterError("reports: must not be empty")
    outcome = worst(report.verdict.outcome for report in reports)
    if run.choice("outcome", Outcome) is not outcome:
        raise ReporterError(f"outcome: must be {outcome}, the worst of the reports")
    return reports


def from_dict(form: object) -> Report:
    """The report that ``to_dict`` gave this form for. Raises ReporterError when it is not valid.

    ``help_url`` is not taken over: it follows from the rule.
    """
    return _report(Fields(form, "", _REPORT, _LATER))


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


def _check_version(fields: Fields) -> None:
    fields.word("schema_version", (SCHEMA_VERSION,))


def _report(fields: Fields) -> Report:
    _check_version(fields)
    policy = fields.nested("policy", ("sources", "digest"))
    verdict = fields.nested("verdict", ("outcome", "variant", "reasons"))
    return Report(
        schema_version=SCHEMA_VERSION,
        tool=fields.text("tool", _SOME),
        started_at=fields.text("started_at", _UTC),
        duration_s=fields.number("duration_s"),
        target=fields.text("target", _SOME),
        policy=PolicyRecord(
            sources=tuple(
                PolicySource(name=source.text("name", _SOME), digest=source.optional_text("digest", _SHA256))
                for source in policy.objects("sources", ("name", "digest"))
            ),
            digest=policy.text("digest", _SHA256),
        ),
        artifact=_artifact(fields.nested("artifact", ("source", "repo", "revision", "files"))),
        signatures=tuple(
            SignatureResult(
                kind=signature.word("kind", SIGNATURE_KINDS),
                signer=signature.optional_text("signer"),
                covers=signature.texts("covers"),
                outcome=signature.word("outcome", SIGNATURE_OUTCOMES),
                detail=signature.text("detail"),
                root=signature.optional_text("root"),
                partial=signature.flag("partial"),
                files=tuple(
                    (file.text("path", _SOME), file.choice("state", FileState))
                    for file in signature.objects("files", ("path", "state"))
                ),
            )
            for signature in fields.objects("signatures", _SIGNATURE, {"root": None, "partial": False, "files": []})
        ),
        findings=tuple(
            _read_finding(finding)
            for finding in fields.objects(
                "findings", ("rule", "severity", "file", "location", "message", "evidence", "help_url")
            )
        ),
        unexamined=tuple(
            Unexamined(file=item.text("file", _SOME), member=item.optional_text("member"), reason=item.text("reason"))
            for item in fields.objects("unexamined", ("file", "member", "reason"))
        ),
        conversions=tuple(
            Conversion(
                source=conversion.text("source", _SOME),
                output=conversion.optional_text("output"),
                tensors=conversion.count("tensors"),
                dropped=tuple(
                    Dropped(path=dropped.text("path"), type=dropped.text("type"))
                    for dropped in conversion.objects("dropped", ("path", "type"))
                ),
                receipt=conversion.optional_text("receipt"),
            )
            for conversion in fields.objects("conversions", ("source", "output", "tensors", "dropped", "receipt"))
        ),
        variants=tuple(
            Variant(
                name=variant.text("name", _SOME),
                files=variant.texts("files"),
                outcome=variant.choice("outcome", Outcome),
            )
            for variant in fields.objects("variants", ("name", "files", "outcome"))
        ),
        verdict=Verdict(
            outcome=verdict.choice("outcome", Outcome),
            variant=verdict.optional_text("variant"),
            reasons=verdict.texts("reasons"),
        ),
        attestations=tuple(_attestation(one) for one in fields.objects("attestations", _ATTESTATION)),
    )


def _attestation(fields: Fields) -> AttestationResult:
    verdict = fields.optional_text("verdict")
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
        verdict=None if verdict is None else fields.choice("verdict", Outcome),
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


def _read_finding(fields: Fields) -> Finding:
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
