"""The report as SARIF 2.1.0, for code scanning services and editors.

The rules:

- Each report is a run of its own, told apart by the target (``automationDetails``). Every rule of aiverify stands in
  the tool's description, with its texts.
- A result lies in a file, at a byte where one is known; the member of an archive is a logical location. Files of a
  folder are named as seen from where aiverify ran, which is the root of a checkout in CI; those of a repository on the
  Hub below the repository's name, so that they are not taken for files of the checkout.
- GitHub refuses a whole log for one result without a file, and shows none without a line: what concerns the artifact
  as a whole lies in its folder, and every place has the line 1 beside the byte.
- A fingerprint depends on the rule, the file, the member and the message: not on dates, versions or the order.
- What could not be examined is a notification of the run, which then was not successful.
- A message is one harmless line, and nothing in it is a link.

Sources: https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/sarif-v2.1.0-errata01-os-complete.html,
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from aiverify.artifact import SourceKind
from aiverify.finding import Finding, Severity, Unexamined
from aiverify.report import Outcome, Report
from aiverify.reporters.fields import json_value
from aiverify.reporters.hostile import printable
from aiverify.reporters.interface import Reporter, ReporterError
from aiverify.reporters.json import ascii_json
from aiverify.reporters.links import HOME, escaped, page_on_hub
from aiverify.rules import Rule, rules

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_BASE = "%SRCROOT%"

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
    """Writes one SARIF log. Always complete."""

    def render(self, reports: Sequence[Report]) -> str:
        """One log with a run for each report."""
        if not reports:
            raise ReporterError("there is no report to write")
        known = list(rules().values())
        runs = [_Run(report, known).form() for report in reports]
        return ascii_json({"$schema": SCHEMA, "version": "2.1.0", "runs": runs})


class _Run:
    """One report in the terms of the form; ``known`` are the rules that the tool's description lists."""

    def __init__(self, report: Report, known: Sequence[Rule]) -> None:
        self._report = report
        self._known = known
        self._index = {rule.id: index for index, rule in enumerate(known)}
        self._folder = _folder(report)

    def form(self) -> dict[str, object]:
        """The run."""
        report = self._report
        name, _, version = report.tool.partition(" ")
        run: dict[str, object] = {
            "tool": {
                "driver": {
                    "name": name,
                    "version": version or "0",
                    "informationUri": HOME,
                    "rules": [_rule(rule) for rule in self._known],
                }
            },
            "automationDetails": {"id": f"aiverify/{report.target}/"},
            "invocations": [self._invocation()],
            "originalUriBaseIds": {_BASE: {"description": {"text": "The folder in which aiverify ran"}}},
            "artifacts": [
                {
                    "location": self._place(file.path),
                    "length": file.size,
                    "roles": ["analysisTarget"],
                    **({"hashes": {"sha-256": file.sha256}} if file.sha256 else {}),
                }
                for file in report.artifact.files
            ],
            "results": [self._result(finding, index) for index, finding in enumerate(report.findings)],
            "columnKind": "unicodeCodePoints",
            "properties": {
                "verdict": report.verdict.outcome.value,
                "variant": report.verdict.variant,
                "reasons": list(report.verdict.reasons),
            },
        }
        page, revision = page_on_hub(report.artifact), report.artifact.revision
        if page is not None:
            run["versionControlProvenance"] = [
                {"repositoryUri": page, **({"revisionId": revision} if revision else {})}
            ]
        return run

    def _invocation(self) -> dict[str, object]:
        report = self._report
        done = report.verdict.outcome is not Outcome.ERROR
        notes = [self._notification(item) for item in report.unexamined]
        if not done and not notes:
            notes = [{"level": "error", "message": _message(reason)} for reason in report.verdict.reasons]
        return {
            "executionSuccessful": done,
            "startTimeUtc": report.started_at,
            "toolExecutionNotifications": notes,
        }

    def _notification(self, item: Unexamined) -> dict[str, object]:
        return {
            "level": "error",
            "message": _message(f"not examined: {item.reason}"),
            "locations": [self._location(item.file, item.member, None)],
        }

    def _result(self, finding: Finding, index: int) -> dict[str, object]:
        fingerprint = _fingerprint(finding)
        result: dict[str, object] = {
            "ruleId": finding.rule,
            "level": _LEVELS[finding.severity],
            "message": _message(finding.message),
            "locations": [self._location(finding.file or "", finding.location.member, finding.location.offset)],
            # GitHub knows the second name only, and would else make one hash of all findings of a rule in a file.
            "partialFingerprints": {"aiverify/v1": fingerprint, "primaryLocationLineHash": f"{fingerprint[:16]}:1"},
            "properties": {
                "severity": finding.severity.value,
                "security-severity": _SCORES[finding.severity],
                "evidence": json_value(finding.evidence, f"findings[{index}].evidence"),
            },
        }
        if finding.rule in self._index:
            result["ruleIndex"] = self._index[finding.rule]
        return result

    def _location(self, path: str, member: str | None, offset: int | None) -> dict[str, object]:
        region: dict[str, object] = {"startLine": 1}
        # An offset inside a member is no offset inside the file.
        if offset is not None and member is None:
            region |= {"byteOffset": offset, "byteLength": 0}
        location: dict[str, object] = {
            "physicalLocation": {"artifactLocation": self._place(path), "region": region},
        }
        if member is not None:
            inside = member if offset is None else f"{member} at byte {offset}"
            location["logicalLocations"] = [{"fullyQualifiedName": inside, "kind": "member"}]
        return location

    def _place(self, path: str) -> dict[str, object]:
        """Where the file at ``path`` in the artifact lies; the artifact's folder, for an empty one."""
        above = f"{self._folder.rstrip('/')}/" if self._folder else ""
        whole = f"{above}{path}" if path else self._folder or "."
        if whole.startswith("/"):
            return {"uri": f"file://{escaped(whole)}"}
        return {"uri": escaped(whole), "uriBaseId": _BASE}


def _folder(report: Report) -> str:
    """What the paths of the artifact are relative to: a path, absolute as the target is, or empty."""
    artifact = report.artifact
    if artifact.source is SourceKind.HUB:
        return artifact.repo or report.target
    target = PurePosixPath(report.target)
    folder = str(target if artifact.source is SourceKind.FOLDER else target.parent)
    return "" if folder == "." else folder


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


def _message(text: str) -> dict[str, object]:
    # A viewer makes a link of what follows on "](", also in plain text.
    return {"text": printable(text).replace("](", "] (")}


def _fingerprint(finding: Finding) -> str:
    parts = (finding.rule, finding.file or "", finding.location.member or "", finding.message)
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()
