"""The body of the page: a summary where there are several reports, and every report with its table of contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiverify.report import Report, worst
from aiverify.reporters.advice import title_of
from aiverify.reporters.html import sections
from aiverify.reporters.html.call_graph import call_graph
from aiverify.reporters.html.conversions import conversions
from aiverify.reporters.html.elements import Markup, Node, Place, Section, element, joined, listed, said, table
from aiverify.reporters.html.findings import findings
from aiverify.reporters.html.tensor_map import tensor_map
from aiverify.reporters.quantities import number_of


def body(reports: Sequence[Report]) -> Markup:
    """Everything between skip link and script."""
    if len(reports) == 1:
        shown = joined(_report(Place(1), reports[0]))
    else:
        places = [Place(2, number) for number in range(1, len(reports) + 1)]
        shown = joined(
            (
                _summary(places, reports),
                *(
                    element("article", *_report(place, report), aria_labelledby=place.id("title"))
                    for place, report in zip(places, reports, strict=True)
                ),
            )
        )
    return joined((element("main", shown, id="main"), _footer(reports)))


def _report(place: Place, report: Report) -> Iterator[Node]:
    parts: Sequence[Section | None] = (
        sections.steps(place, report),
        findings(place, report),
        call_graph(place, report),
        sections.variants(place, report),
        sections.files(place, report),
        sections.signatures(place, report),
        sections.attestations(place, report),
        conversions(place, report),
        tensor_map(place, report),
        sections.unexamined(place, report),
        sections.provenance(place, report),
    )
    there = [part for part in parts if part is not None]
    links = (element("a", part.title, href=f"#{part.id}") for part in there)
    yield sections.verdict(place, report)
    yield element(
        "nav", listed(links), aria_label="Contents" if place.number is None else f"Contents of {place.number}"
    )
    yield from (part.content for part in there)


def _summary(places: Sequence[Place], reports: Sequence[Report]) -> Markup:
    outcome = worst(report.verdict.outcome for report in reports)
    rows = (
        (
            element("a", said(title_of(report)), href=f"#{place.id('title')}"),
            sections.word(report.verdict.outcome),
            said(report.verdict.variant or "nothing"),
        )
        for place, report in zip(places, reports, strict=True)
    )
    heading = joined((sections.word(outcome), " ", number_of(len(reports), "target")))
    return element(
        "header",
        element("h1", heading),
        table("Summary", ("Target", "Verdict", "About loading"), rows),
        class_=f"verdict {outcome.value}",
    )


def _footer(reports: Sequence[Report]) -> Markup:
    made = sorted({report.tool for report in reports})
    text = "This page needs no network. It quotes names and messages by unknown authors: take none of them for advice."
    return element("footer", element("p", text), element("p", ", ".join(made)))
