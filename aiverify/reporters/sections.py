"""The sections of the report for people, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from aiverify.report import Outcome, Report, SignatureResult
from aiverify.reporters import evidence
from aiverify.reporters.advice import next_steps, title_of
from aiverify.reporters.page import Page, columns
from aiverify.reporters.quantities import number_of
from aiverify.reporters.quiet import facts
from aiverify.reporters.unexamined import by_reason, place

MAX_LISTED = 10

OUTCOME_STYLE = {
    Outcome.PASS: "bold green",
    Outcome.REVIEW: "bold yellow",
    Outcome.ERROR: "bold magenta",
    Outcome.BLOCK: "bold red",
}
_OUTCOME_GLYPH = {
    Outcome.PASS: ("✓", "+"),
    Outcome.REVIEW: ("!", "!"),
    Outcome.ERROR: ("?", "?"),
    Outcome.BLOCK: ("✗", "x"),
}
# Only a valid signature vouches for anything.
_VALID = ("verified", "unpinned")
_SIGNATURE_GLYPH = {
    "verified": ("✓", "+", "green"),
    "unpinned": ("!", "!", "yellow"),
    "unchecked": ("?", "?", "yellow"),
    "failed": ("✗", "x", "red"),
}


def whole(page: Page, report: Report, verbosity: int) -> None:
    """Everything about one report."""
    verdict(page, report, verbosity)
    steps(page, report)
    evidence.findings(page, report, verbosity)
    signatures(page, report, verbosity)
    attestations(page, report, verbosity)
    variants(page, report, verbosity)
    conversions(page, report, verbosity)
    unexamined(page, report, verbosity)
    if verbosity > 0:
        provenance(page, report)


def verdict_line(page: Page, report: Report) -> None:
    """The verdict on exactly one line, however long."""
    word, text = _verdict(page, report)
    page.write_whole(word + Text("  ") + text)


def verdict(page: Page, report: Report, verbosity: int) -> None:
    """The verdict, and under it the reasons."""
    rows = [_verdict(page, report)]
    reasons = report.verdict.reasons
    shown = reasons if verbosity > 0 else reasons[:MAX_LISTED]
    rows += [(Text(), page.say(reason)) for reason in shown]
    if len(reasons) > len(shown):
        rows.append((Text(), Text(f"and {number_of(len(reasons) - len(shown), 'more reason')}: -v lists them", "dim")))
    page.write(columns(rows, flexible=1))


def _verdict(page: Page, report: Report) -> tuple[Text, Text]:
    outcome = report.verdict.outcome
    text = Text.assemble(page.say(title_of(report), "bold"))
    if report.verdict.variant is not None:
        text.append_text(page.say(f" ({report.verdict.variant})"))
    text.append(f"  {facts(report)}", "dim")
    return Text(f"{outcome.value.upper():<6}", OUTCOME_STYLE[outcome]), text


def steps(page: Page, report: Report) -> None:
    """What to do, with commands on lines of their own."""
    found = next_steps(report)
    if not found:
        return
    page.heading("What to do")
    for step in found:
        page.write(page.say(step.text), indent=2)
        command = page.say(step.command, "cyan", limit=len(step.command))
        # What one pastes is what one reads: a command that this encoding cannot show is left out.
        if command.plain and command.plain == step.command:
            page.write_whole(command, indent=4)


def signatures(page: Page, report: Report, verbosity: int) -> None:
    """One line for each signature: what it is worth, whose it is, what it covers."""
    if not report.signatures:
        return
    page.heading("Signatures")
    rows = []
    for signature in report.signatures:
        fancy, plain, style = _SIGNATURE_GLYPH.get(signature.outcome, ("-", "-", "dim"))
        word = page.say(signature.outcome, style)
        if signature.kind != "none" and not page.narrow:
            word.append_text(page.say(f" ({signature.kind})", "dim"))
        rows.append((Text(page.glyph(fancy, plain), style), word, _signature(page, report, signature, verbosity)))
    page.rows(rows, flexible=2, indent=2)


def _signature(page: Page, report: Report, signature: SignatureResult, verbosity: int) -> Text:
    signer, detail = signature.signer or "", signature.detail
    if signer in detail:
        text = page.say(detail or "nothing says who vouches for these bytes")
    elif detail and (verbosity > 0 or signature.outcome != "verified"):
        text = page.say(f"{signer}: {detail}")
    else:
        text = page.say(signer)
    if signature.outcome in _VALID:
        paths = {file.path for file in report.artifact.files}
        covered, total = len(paths & set(signature.covers)), number_of(len(paths), "file")
        text.append(f"  covers {'all' if covered == len(paths) else f'{covered} of'} {total}", "dim")
    if verbosity > 0 and signature.root:
        text.append_text(page.say(f"  under {signature.root}", "dim"))
    return text


def attestations(page: Page, report: Report, verbosity: int) -> None:
    """One line for each attestation: whether it was accepted, and by whom it is or what speaks against it."""
    if not report.attestations:
        return
    page.heading("Attestations")
    rows = []
    for one in report.attestations:
        fancy, plain, style = ("✓", "+", "green") if one.outcome == "accepted" else ("✗", "x", "red")
        text = page.say(one.signer or one.detail if one.outcome == "accepted" else one.detail)
        if one.verified_at is not None:
            text.append_text(page.say(f"  {one.verdict}, verified {one.verified_at} by {one.tool}", "dim"))
        if verbosity > 0 and one.root:
            text.append_text(page.say(f"  under {one.root}", "dim"))
        rows.append((Text(page.glyph(fancy, plain), style), page.say(one.outcome, style), text))
    page.rows(rows, flexible=2, indent=2)


def variants(page: Page, report: Report, verbosity: int) -> None:
    """The ways to load the artifact, and which of them the verdict is about."""
    if not report.variants:
        return
    page.heading("Variants")
    names = [
        page.say(variant.name, "bold" if variant.name == report.verdict.variant else "") for variant in report.variants
    ]
    # A longer name pushes the rest of its row aside instead of squeezing the other rows.
    width = min(max(name.cell_len for name in names), max(page.width // 2 - 4, 8))
    for name, variant in zip(names, report.variants, strict=True):
        judged = variant.name == report.verdict.variant
        name.pad_right(max(0, width - name.cell_len))
        row = [
            _glyph(page, variant.outcome),
            name,
            Text(f"{variant.outcome.value:<6}", OUTCOME_STYLE[variant.outcome]),
            Text(number_of(len(variant.files), "file")),
        ]
        # Where there is no room, the verdict line alone says which one it is about.
        if judged and not page.narrow:
            row.append(Text(page.glyph("← the verdict", "<- the verdict"), "dim"))
        page.rows([row], flexible=1, indent=2)
        if verbosity > 0:
            for path in variant.files:
                page.write(page.say(path, "dim"), indent=5)


def _glyph(page: Page, outcome: Outcome) -> Text:
    return Text(page.glyph(*_OUTCOME_GLYPH[outcome]), OUTCOME_STYLE[outcome])


def conversions(page: Page, report: Report, verbosity: int) -> None:
    """Which checkpoints have a twin, or could have one."""
    if not report.conversions:
        return
    page.heading("Conversions")
    arrow = page.glyph(" → ", " -> ")
    for conversion in report.conversions:
        text = page.say(conversion.source)
        if conversion.output is not None:
            text.append(arrow)
            text.append_text(page.say(conversion.output))
        text.append("  " if conversion.output is not None else "  can be converted, ", "dim")
        text.append(number_of(conversion.tensors, "tensor"), "dim")
        if conversion.dropped:
            text.append(f", {len(conversion.dropped)} dropped", "dim")
        page.write(text, indent=2)
        if verbosity > 0:
            for dropped in conversion.dropped:
                page.write(page.say(f"dropped {dropped.path} ({dropped.type})", "dim"), indent=4)
            if conversion.receipt:
                page.write(page.say(f"receipt {conversion.receipt}", "dim"), indent=4)


def unexamined(page: Page, report: Report, verbosity: int) -> None:
    """What nobody looked at, under the reasons why."""
    groups = by_reason(report)
    if not groups:
        return
    page.heading("Not examined")
    for reason, items in groups.items():
        page.write(page.say(reason), indent=2)
        shown = items if verbosity > 0 else items[:MAX_LISTED]
        for item in shown:
            page.write(page.say(place(item), "dim"), indent=4)
        if len(items) > len(shown):
            page.write(Text(f"and {len(items) - len(shown)} more: -v lists them", "dim"), indent=4)


def provenance(page: Page, report: Report) -> None:
    """The policy in force with its sources, and what made the report."""
    page.heading("Policy")
    for source in report.policy.sources:
        text = page.say(source.name)
        if source.digest is not None:
            text.append_text(page.say(f"  sha256 {source.digest[:16]}", "dim"))
        page.write(text, indent=2)
    page.write(page.say(f"all together  sha256 {report.policy.digest[:16]}", "dim"), indent=2)
    page.blank()
    page.write(page.say(f"{report.tool}, started {report.started_at}", "dim"))


def summary(page: Page, reports: Sequence[Report]) -> None:
    """One row for each target."""
    page.write(Text("Summary", "bold"))
    rows = []
    for report in reports:
        outcome = report.verdict.outcome
        rows.append(
            (
                _glyph(page, outcome),
                page.say(title_of(report)),
                Text(outcome.value, OUTCOME_STYLE[outcome]),
                page.say(report.verdict.variant or "", "dim"),
            )
        )
    page.rows(rows, flexible=1, indent=2)
