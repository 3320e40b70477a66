"""The report as a CycloneDX 1.6 bill of materials, through the project's own library (the extra ``cyclonedx``).

The rules:

- A report on one target is a bill of that model: the model is what the bill describes, its files are the components,
  and the model depends on each. Reports on several targets are one bill with all models among the components.
- The same report gives the same bytes: the time is the report's, and the serial number is derived from its content.
- A finding above ``info`` is a vulnerability of its file, rated with its severity; its ``detail`` says where it lies.
- What the form has no field for stands in properties under ``aiverify:``: verdict, reasons, policy, signatures, and
  what was not examined. Its evidence is about who a component is, and holds the signatures that were verified.

Sources: https://cyclonedx.org/docs/1.6/json/,
https://github.com/package-url/purl-spec/blob/main/types-doc/huggingface-definition.md.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import (
    AnalysisTechnique,
    ComponentEvidence,
    Identity,
    IdentityField,
    Method,
)
from cyclonedx.model.tool import ToolRepository
from cyclonedx.model.vulnerability import (
    BomTarget,
    Vulnerability,
    VulnerabilityAdvisory,
    VulnerabilityRating,
    VulnerabilitySeverity,
    VulnerabilitySource,
)
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from aiverify.artifact import ArtifactFile, SourceKind
from aiverify.finding import Finding, Severity
from aiverify.report import Report
from aiverify.reporters.document import document
from aiverify.reporters.interface import Reporter
from aiverify.reporters.json import ascii_json
from aiverify.reporters.links import HOME, escaped, page_on_hub
from aiverify.reporters.unexamined import by_reason, place
from aiverify.rules import HELP_URL, rules

_TOOL = "aiverify"
_CARD = "README.md"
# How the Hub names repositories: an optional owner, and a name.
_REPOSITORY = re.compile(r"(?:([A-Za-z0-9][\w.-]*)/)?([A-Za-z0-9][\w.-]*)", re.ASCII)


class CycloneDxReporter(Reporter):
    """Writes a bill of materials."""

    def render(self, reports: Sequence[Report]) -> str:
        """One bill for all reports."""
        content = json.dumps(document(reports), sort_keys=True)
        models = [_Model(report, f"model-{number}") for number, report in enumerate(reports, 1)]
        bom = Bom(
            serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{HOME}#{hashlib.sha256(content.encode()).hexdigest()}"),
            metadata=BomMetaData(
                timestamp=datetime.datetime.fromisoformat(reports[0].started_at),
                tools=ToolRepository(components=[_tool(tool) for tool in sorted({one.tool for one in reports})]),
                component=models[0].component if len(models) == 1 else None,
            ),
            vulnerabilities=[found for model in models for found in model.vulnerabilities()],
        )
        for model in models:
            if len(models) > 1:
                bom.components.add(model.component)
            bom.components.update(model.files.values())
            bom.register_dependency(model.component, model.files.values())
        return ascii_json(json.loads(JsonV1Dot6(bom).output_as_string()))


def _tool(text: str) -> Component:
    name, _, version = text.partition(" ")
    home = ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(HOME))
    return Component(
        type=ComponentType.APPLICATION,
        name=name,
        version=version or None,
        bom_ref=f"{_TOOL}/{escaped(text)}",
        external_references=[home],
    )


class _Model:
    """One report in the terms of the form. ``ref`` begins every reference to something of it."""

    def __init__(self, report: Report, ref: str) -> None:
        self._report = report
        self._ref = ref
        self.component = self._component()
        self.files = {file.path: self._file(file) for file in report.artifact.files}

    def _component(self) -> Component:
        artifact = self._report.artifact
        on_hub = _REPOSITORY.fullmatch(artifact.repo or "") if artifact.source is SourceKind.HUB else None
        owner, name = on_hub.groups() if on_hub else (None, self._report.target)
        return Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            group=owner,
            name=name,
            version=artifact.revision,
            bom_ref=self._ref,
            purl=PackageURL("huggingface", owner, name, artifact.revision) if on_hub else None,
            evidence=self._evidence(),
            external_references=self._links(),
            properties=_properties(self._facts()),
        )

    def _file(self, file: ArtifactFile) -> Component:
        return Component(
            type=ComponentType.FILE,
            name=file.path,
            bom_ref=self._file_ref(file.path),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)] if file.sha256 else (),
            properties=_properties(
                (("class", file.file_class.value), ("format", file.format), ("size", str(file.size)))
            ),
        )

    def _file_ref(self, path: str) -> str:
        return f"{self._ref}/{escaped(path)}"

    def _links(self) -> Iterator[ExternalReference]:
        """Where the model is to be had, at the commit that was verified."""
        artifact, kinds = self._report.artifact, ExternalReferenceType
        page = page_on_hub(artifact)
        if page is None:
            return
        if artifact.revision is None:
            yield ExternalReference(type=kinds.WEBSITE, url=XsUri(page))
            return
        yield ExternalReference(type=kinds.DISTRIBUTION, url=XsUri(f"{page}/tree/{artifact.revision}"))
        if any(file.path == _CARD for file in artifact.files):
            yield ExternalReference(type=kinds.MODEL_CARD, url=XsUri(f"{page}/blob/{artifact.revision}/{_CARD}"))

    def _evidence(self) -> ComponentEvidence | None:
        """The signatures that say who published the model, where they were verified."""
        methods = [
            Method(technique=AnalysisTechnique.ATTESTATION, confidence=Decimal(1), value=signature.signer)
            for signature in self._report.signatures
            if signature.outcome == "verified"
        ]
        if not methods:
            return None
        tool = _tool(self._report.tool).bom_ref
        return ComponentEvidence(identity=[Identity(field=IdentityField.HASH, methods=methods, tools=[tool])])

    def _facts(self) -> Iterator[tuple[str, str]]:
        """What the form has no fields for, by name."""
        report = self._report
        yield "verdict", report.verdict.outcome.value
        yield "target", report.target
        yield "policy:sha256", report.policy.digest
        if report.verdict.variant is not None:
            yield "verdict:variant", report.verdict.variant
        for reason in report.verdict.reasons:
            yield "verdict:reason", reason
        for signature in report.signatures:
            who = f" {signature.kind}: {signature.signer or signature.detail}" if signature.kind != "none" else ""
            yield "signature", f"{signature.outcome}{who}"
        for attestation in report.attestations:
            yield "attestation", f"{attestation.outcome}: {attestation.signer or attestation.detail}"
        for reason, items in by_reason(report).items():
            for item in items:
                yield "unexamined", f"{place(item)}: {reason}"

    def vulnerabilities(self) -> Iterator[Vulnerability]:
        """The findings above ``info``."""
        for number, finding in enumerate(self._report.findings, 1):
            if finding.severity is not Severity.INFO:
                yield self._vulnerability(finding, f"{self._ref}#finding-{number}")

    def _vulnerability(self, finding: Finding, ref: str) -> Vulnerability:
        page = XsUri(HELP_URL.format(rule=finding.rule))
        source = VulnerabilitySource(name=_TOOL, url=page)
        severity = VulnerabilitySeverity(finding.severity.value)
        rule = rules().get(finding.rule)
        file = finding.file if finding.file in self.files else None
        return Vulnerability(
            bom_ref=ref,
            id=finding.rule,
            source=source,
            ratings=[VulnerabilityRating(source=source, severity=severity)],
            description=finding.message,
            detail=_where(finding),
            recommendation=rule.fix if rule else None,
            advisories=[VulnerabilityAdvisory(url=page, title=rule.title if rule else None)],
            affects=[BomTarget(ref=self._ref if file is None else self._file_ref(file))],
        )


def _where(finding: Finding) -> str | None:
    byte = None if finding.location.offset is None else f"byte {finding.location.offset}"
    return ", ".join(part for part in (finding.file, finding.location.member, byte) if part) or None


def _properties(facts: Iterable[tuple[str, str]]) -> Iterator[Property]:
    for name, value in facts:
        yield Property(name=f"{_TOOL}:{name}", value=value)
