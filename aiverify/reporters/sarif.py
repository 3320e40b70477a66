"""The report as SARIF 2.1.0, for code scanning services and editors.

The rules:

- Each report is a run of its own, told apart by the target (``automationDetails``). Every rule of aiverify stands in
  the tool's description, with its texts.
- A result lies in a file of the artifact, at a byte where one is known; the member of an archive is a logical location.
- A fingerprint depends on the rule, the file, the member and the message: not on dates, versions or the order.
- What could not be examined is a notification of the run, which then was not successful.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from aiverify.artifact import SourceKind
from aiverify.finding import Finding, Severity, Unexamined
from aiverify.report import Outcome, Report
from aiverify.reporters.fields import json_value
from aiverify.reporters.interface import Reporter, ReporterError
from aiverify.rules import Rule, rules

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
HOME = "https://aiverify-weights.readthedocs.io/"
_ROOT = "ARTIFACT"

_LEVELS: Mapping[Severity, str] = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
#: How GitHub orders security results: a number from 0 to 10 as text.
_SCORES: Mapping[Severity, str] = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "3.0",
    Severity.INFO: "1.0",
}


class SarifReporter(Reporter):
    """Writes one SARIF log."""

    def render(self, reports: Sequence[Report], *, verbosity: int = 0) -> str:  # noqa: ARG002 - always complete
        """One log with a run for each report. Always complete, whatever the verbosity."""
        if not reports:
            raise ReporterError("there is no report to write")
        known = list(rules().values())
        log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report, known) for report in reports]}
        return json.dumps(log, indent=2, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f") + "\n"


def _run(report: Report, known: Sequence[Rule]) -> dict[str, object]:
    places = {rule.id: index for index, rule in enumerate(known)}
    name, _, version = report.tool.partition(" ")
    run: dict[str, object] = {
        "tool": {
            "driver": {
                "name": name,
                "version": version or "0",
                "informationUri": HOME,
                "rules": [_rule(rule) for rule in known],
            }
        },
        "automationDetails": {"id": f"aiverify/{report.target}/"},
        "invocations": [_invocation(report)],
        "originalUriBaseIds": {_ROOT: {"description": {"text": f"The files of {report.target}"}}},
        "artifacts": [
            {
                "location": _place(file.path),
                "length": file.size,
                "roles": ["analysisTarget"],
                **({"hashes": {"sha-256": file.sha256}} if file.sha256 else {}),
            }
            for file in report.artifact.files
        ],
        "results": [_result(finding, places, index) for index, finding in enumerate(report.findings)],
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": report.verdict.outcome.value,
            "variant": report.verdict.variant,
            "reasons": list(report.verdict.reasons),
        },
    }
    artifact = report.artifact
    if artifact.source is SourceKind.HUB and artifact.repo:
        name_there = quote(artifact.repo, errors="surrogatepass")
        origin: dict[str, object] = {"repositoryUri": f"https://huggingface.co/{name_there}"}
        if artifact.revision:
            origin["revisionId"] = artifact.revision
        run["versionControlProvenance"] = [origin]
    return run


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.what} {rule.why}"},
        "help": {"text": rule.fix, "markdown": f"{rule.why}\n\n**What to do:** {rule.fix}"},
        "helpUri": rule.help_url,
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"security-severity": _SCORES[rule.severity], "tags": ["security"]},
    }


def _invocation(report: Report) -> dict[str, object]:
    done = report.verdict.outcome is not Outcome.ERROR
    notes = [_notification(item) for item in report.unexamined]
    if not done and not notes:
        notes = [{"level": "error", "message": {"text": reason}} for reason in report.verdict.reasons]
    return {
        "executionSuccessful": done,
        "startTimeUtc": report.started_at,
        "toolExecutionNotifications": notes,
    }


def _notification(item: Unexamined) -> dict[str, object]:
    return {
        "level": "error",
        "message": {"text": f"not examined: {item.reason}"},
        "locations": [_location(item.file, item.member, None)],
    }


def _result(finding: Finding, places: Mapping[str, int], index: int) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [] if finding.file is None else [_found_at(finding)],
        "partialFingerprints": {"aiverify/v1": _fingerprint(finding)},
        "properties": {
            "severity": finding.severity.value,
            "security-severity": _SCORES[finding.severity],
            "evidence": json_value(finding.evidence, f"findings[{index}].evidence"),
        },
    }
    if finding.rule in places:
        result["ruleIndex"] = places[finding.rule]
    return result


def _found_at(finding: Finding) -> dict[str, object]:
    return _location(finding.file or "", finding.location.member, finding.location.offset)


def _location(path: str, member: str | None, offset: int | None) -> dict[str, object]:
    physical: dict[str, object] = {"artifactLocation": _place(path)}
    # An offset inside a member is no offset inside the file.
    if offset is not None and member is None:
        physical["region"] = {"byteOffset": offset, "byteLength": 0}
    location: dict[str, object] = {"physicalLocation": physical}
    if member is not None:
        inside = member if offset is None else f"{member} at byte {offset}"
        location["logicalLocations"] = [{"fullyQualifiedName": inside, "kind": "member"}]
    return location


def _place(path: str) -> dict[str, object]:
    return {"uri": quote(path, errors="surrogatepass"), "uriBaseId": _ROOT}


def _fingerprint(finding: Finding) -> str:
    parts = (finding.rule, finding.file or "", finding.location.member or "", finding.message)
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()
