"""The report in JSON values: what ``--format json`` writes, and what the machine-readable forms are made from.

The form is a public interface, described by ``docs/report.schema.json``: one target gives a report object, several give
an object with ``schema_version``, ``reports`` and the worst ``outcome``. ``reading.py`` is the way back.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiverify.artifact import ArtifactFile
from aiverify.finding import Finding
from aiverify.layers import Layer
from aiverify.report import SCHEMA_VERSION, AttestationResult, Conversion, Report, SignatureResult, worst
from aiverify.reporters.fields import json_value
from aiverify.reporters.interface import ReporterError
from aiverify.rules import HELP_URL


def document(reports: Sequence[Report]) -> dict[str, object]:
    """One report object, or an object with all of them. Raises ReporterError as ``to_dict`` does, or for no report."""
    if not reports:
        raise ReporterError("there is no report to write")
    if len(reports) == 1:
        return to_dict(reports[0])
    return {
        "schema_version": SCHEMA_VERSION,
        "reports": [to_dict(report) for report in reports],
        "outcome": worst(report.verdict.outcome for report in reports).value,
    }


def to_dict(report: Report) -> dict[str, object]:
    """One report. Raises ReporterError when evidence holds something that JSON has no form for."""
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
        "signatures": [_signature(signature) for signature in report.signatures],
        "findings": [_finding(finding, f"findings[{index}]") for index, finding in enumerate(report.findings)],
        "unexamined": [{"file": item.file, "member": item.member, "reason": item.reason} for item in report.unexamined],
        "conversions": [_conversion(conversion) for conversion in report.conversions],
        "variants": [
            {"name": variant.name, "files": list(variant.files), "outcome": variant.outcome.value}
            for variant in report.variants
        ],
        "verdict": {
            "outcome": report.verdict.outcome.value,
            "variant": report.verdict.variant,
            "reasons": list(report.verdict.reasons),
        },
        "attestations": [_attestation(attestation) for attestation in report.attestations],
        "layers": [_layer(layer) for layer in report.layers],
    }


def _file(file: ArtifactFile) -> dict[str, object]:
    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "format": file.format,
        "class": file.file_class.value,
    }


def _signature(signature: SignatureResult) -> dict[str, object]:
    return {
        "kind": signature.kind,
        "signer": signature.signer,
        "covers": list(signature.covers),
        "outcome": signature.outcome,
        "detail": signature.detail,
        "root": signature.root,
        "partial": signature.partial,
        "files": [{"path": path, "state": state.value} for path, state in signature.files],
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


def _conversion(conversion: Conversion) -> dict[str, object]:
    return {
        "source": conversion.source,
        "output": conversion.output,
        "tensors": conversion.tensors,
        "dropped": [{"path": dropped.path, "type": dropped.type} for dropped in conversion.dropped],
        "receipt": conversion.receipt,
        "sha256": conversion.sha256,
    }


def _attestation(attestation: AttestationResult) -> dict[str, object]:
    return {
        "kind": attestation.kind,
        "signer": attestation.signer,
        "outcome": attestation.outcome,
        "detail": attestation.detail,
        "statement": attestation.statement,
        "root": attestation.root,
        "verified_at": attestation.verified_at,
        "tool": attestation.tool,
        "policy": attestation.policy,
        "verdict": None if attestation.verdict is None else attestation.verdict.value,
    }


def _layer(layer: Layer) -> dict[str, object]:
    return {
        "file": layer.file,
        "name": layer.name,
        "dtype": layer.dtype,
        "tensors": layer.tensors,
        "size": layer.size,
    }
