"""The sections of a report that say how it stands with the artifact, its files and its signers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.report import AttestationResult, FileState, Outcome, Report, SignatureResult, Variant
from aiverify.reporters.advice import Step, next_steps, title_of
from aiverify.reporters.hostile import printable
from aiverify.reporters.html.elements import (
    MAX_LISTED,
    Markup,
    Node,
    Place,
    Section,
    code,
    element,
    facts,
    folded,
    joined,
    left_out,
    listed,
    prose,
    said,
    table,
)
from aiverify.reporters.quantities import number_of, size
from aiverify.reporters.quiet import facts as amounts
from aiverify.reporters.unexamined import by_reason
from aiverify.reporters.unexamined import place as place_of

MAX_REASONS = 50

GLYPHS = {Outcome.PASS: "✓", Outcome.REVIEW: "!", Outcome.ERROR: "?", Outcome.BLOCK: "✗"}
_MEANINGS = {
    Outcome.PASS: "Everything that a load would use was examined and allowed.",
    Outcome.REVIEW: "Something here is not known to be safe. Look at it before you load the model.",
    Outcome.ERROR: "The model could not be verified. Do not take that for a pass.",
    Outcome.BLOCK: "There is evidence of danger or of a broken promise. Do not load this.",
}
_CLASSES = {
    FileClass.WEIGHTS: "Weights",
    FileClass.CODE: "Code",
    FileClass.CONFIG: "Configuration",
    FileClass.INERT: "Texts and pictures",
    FileClass.OTHER_FRAMEWORK: "For other frameworks, which this load does not use",
}
_SIGNATURE_OUTCOMES = {
    "verified": Outcome.PASS,
    "accepted": Outcome.PASS,
    "unpinned": Outcome.REVIEW,
    "unchecked": Outcome.ERROR,
    "failed": Outcome.BLOCK,
    "refused": Outcome.BLOCK,
}


def word(outcome: Outcome, text: str | None = None) -> Markup:
    """The word for an outcome in its colour; ``text`` says it in another word."""
    glyph = element("span", GLYPHS[outcome], aria_hidden="true")
    return element("span", glyph, " ", text or outcome.value.upper(), class_=f"outcome {outcome.value}")


def verdict(place: Place, report: Report) -> Markup:
    """What it came to, and why."""
    found = report.verdict
    about = joined((" The verdict is about loading ", said(found.variant), ".")) if found.variant else None
    reasons = listed(said(reason) for reason in found.reasons[:MAX_REASONS])
    left = len(found.reasons) - MAX_REASONS
    number = None if place.number is None else f"{place.number}. "
    return element(
        "header",
        place.heading(joined((number, word(found.outcome), " ", said(title_of(report)))), id=place.id("title")),
        element("p", element("strong", _MEANINGS[found.outcome]), about),
        reasons,
        element("p", f"and {number_of(left, 'more reason')} in the JSON report") if left > 0 else None,
        element("p", amounts(report), class_="amounts"),
        class_=f"verdict {found.outcome.value}",
    )


def steps(place: Place, report: Report) -> Section | None:
    """What to do next."""
    found = next_steps(report)
    return place.section("steps", "What to do", listed(map(_step, found), tag="ol")) if found else None


def _step(step: Step) -> Markup:
    # What one pastes is what one reads: a command that would be cut or escaped is not offered.
    whole = step.command and printable(step.command, limit=len(step.command)) == step.command
    return joined((prose(step.text), element("pre", element("code", step.command)) if whole else None))


def files(place: Place, report: Report) -> Section:
    """The files by class."""
    groups = [
        _class_of_files(place, name, [file for file in report.artifact.files if file.file_class is kind])
        for kind, name in _CLASSES.items()
        if any(file.file_class is kind for file in report.artifact.files)
    ]
    nothing = element("p", "No file was examined.") if not groups else None
    return place.section("files", "Files", _origin(report), nothing, *groups)


def _origin(report: Report) -> Markup | None:
    artifact = report.artifact
    return facts(
        (
            ("Target", said(report.target)),
            ("Repository", said(artifact.repo) if artifact.repo else None),
            ("Commit", code(artifact.revision) if artifact.revision else None),
        )
    )


def _class_of_files(place: Place, name: str, found: Sequence[ArtifactFile]) -> Markup:
    amount = f"{name}: {number_of(len(found), 'file')}, {size(sum(file.size for file in found))}"
    rows: Iterator[Sequence[Node]] = (
        (
            joined((said(file.path), element("small", code(file.sha256 or "SHA-256 not taken")))),
            said(file.format),
            size(file.size),
        )
        for file in found[:MAX_LISTED]
    )
    return joined(
        (
            place.heading(amount, below=2),
            table(name, ("File and SHA-256", "Format", "Size"), rows, class_="files"),
            left_out(len(found)),
        )
    )


def signatures(place: Place, report: Report) -> Section | None:
    """Whose signatures there are, and what they are worth."""
    if not report.signatures:
        return None
    return place.section(
        "signatures", "Signers", listed((_signature(report, item) for item in report.signatures), class_="cards")
    )


def _signature(report: Report, item: SignatureResult) -> Markup:
    outcome = _SIGNATURE_OUTCOMES.get(item.outcome)
    paths = {file.path for file in report.artifact.files}
    covered = len(paths.intersection(item.covers))
    states = [(path, state) for path, state in item.files if state is not FileState.MATCHING]
    return joined(
        (
            element("p", word(outcome, item.outcome) if outcome else element("strong", "not signed")),
            element("p", said(item.detail)) if item.detail else None,
            facts(
                (
                    ("Signer", said(item.signer) if item.signer else None),
                    ("Kind", item.kind if item.kind != "none" else None),
                    ("Covers", f"{covered} of {number_of(len(paths), 'file')}" if item.covers else None),
                    ("Compared", "only the files that were selected" if item.partial else None),
                    ("Trusted root", said(item.root) if item.root else None),
                )
            ),
            _folded_paths("Files that it covers", item.covers),
            folded(
                f"Files that do not match, or were not compared: {len(states)}",
                facts((state.value, said(path)) for path, state in states[:MAX_LISTED]),
                left_out(len(states)),
                unfolded=outcome is Outcome.BLOCK,
            )
            if states
            else None,
        )
    )


def attestations(place: Place, report: Report) -> Section | None:
    """The verdicts of others that were to be taken over."""
    if not report.attestations:
        return None
    return place.section("attestations", "Attestations", listed(map(_attestation, report.attestations), class_="cards"))


def _attestation(item: AttestationResult) -> Markup:
    return joined(
        (
            element("p", word(_SIGNATURE_OUTCOMES[item.outcome], item.outcome)),
            element("p", said(item.detail)) if item.detail else None,
            facts(
                (
                    ("Signer", said(item.signer) if item.signer else None),
                    ("Verdict", item.verdict.value if item.verdict else None),
                    ("Verified", item.verified_at),
                    ("By", said(item.tool) if item.tool else None),
                    ("Policy", code(item.policy) if item.policy else None),
                    ("Statement", code(item.statement)),
                    ("Trusted root", said(item.root) if item.root else None),
                )
            ),
        )
    )


def variants(place: Place, report: Report) -> Section | None:
    """The ways to load the artifact."""
    if not report.variants:
        return None
    rows = (_variant(variant, report.verdict.variant) for variant in report.variants)
    return place.section("variants", "Ways to load it", table("Variants", ("Variant", "Outcome", "Files"), rows))


def _variant(variant: Variant, judged: str | None) -> Sequence[Node]:
    mark = element("small", "the verdict is about this one") if variant.name == judged else None
    return (
        joined((said(variant.name), mark)),
        word(variant.outcome),
        _folded_paths(number_of(len(variant.files), "file"), variant.files) or "no file",
    )


def _folded_paths(summary: str, paths: Sequence[str]) -> Markup | None:
    shown = listed((said(path) for path in paths[:MAX_LISTED]), class_="plain")
    return folded(summary, shown, left_out(len(paths))) if paths else None


def unexamined(place: Place, report: Report) -> Section | None:
    """What nobody looked at, under the reasons why."""
    groups = by_reason(report)
    if not groups:
        return None
    return place.section(
        "unexamined",
        "Not examined",
        element("p", "Nothing is known about these. They never count as clean."),
        facts(
            (reason, joined((listed(code(place_of(item)) for item in items[:MAX_LISTED]), left_out(len(items)))))
            for reason, items in groups.items()
        ),
    )


def provenance(place: Place, report: Report) -> Section:
    """The policy in force, and what made the report."""
    rows = (
        (said(source.name), code(source.digest) if source.digest else "no file") for source in report.policy.sources
    )
    return place.section(
        "policy",
        "Policy and origin of this report",
        table("Sources of the policy", ("Source of the policy", "SHA-256"), rows),
        facts((("Policy", code(report.policy.digest)), ("Made by", said(report.tool)), ("Started", report.started_at))),
    )
