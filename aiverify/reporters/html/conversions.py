"""The conversions of a report: which checkpoint became which twin, and what proves it."""

from __future__ import annotations

from aiverify.report import Conversion, Report
from aiverify.reporters.html.elements import (
    MAX_LISTED,
    Markup,
    Place,
    Section,
    code,
    element,
    facts,
    folded,
    joined,
    left_out,
    listed,
    said,
)
from aiverify.reporters.quantities import number_of


def conversions(place: Place, report: Report) -> Section | None:
    """The section about the twins, if there are any or could be."""
    if not report.conversions:
        return None
    digests = {file.path: file.sha256 for file in report.artifact.files}
    return place.section(
        "conversions",
        "Conversions",
        element(
            "p",
            "Every tensor of these checkpoints has its place in a safetensors twin. A receipt names the bytes of each.",
        ),
        listed((_conversion(item, digests.get(item.source)) for item in report.conversions), class_="cards"),
    )


def _conversion(item: Conversion, source: str | None) -> Markup:
    written = item.output is not None
    return joined(
        (
            element("p", code(item.source), " → ", code(item.output) if item.output else "a twin that was not written"),
            facts(
                (
                    ("Tensors", str(item.tensors)),
                    ("Dropped", number_of(len(item.dropped), "value") if item.dropped else "nothing"),
                    ("SHA-256 of the checkpoint", code(source) if source else "not taken"),
                    ("SHA-256 of the twin", (code(item.sha256) if item.sha256 else "not taken") if written else None),
                    ("Receipt", code(item.receipt) if item.receipt else None),
                )
            ),
            folded(
                "What the twin does not carry",
                facts((one.type, said(one.path)) for one in item.dropped[:MAX_LISTED]),
                left_out(len(item.dropped)),
            )
            if item.dropped
            else None,
            element("p", "To check it again: ", code("aiverify convert --check"), " with the receipt.")
            if item.receipt
            else None,
        )
    )
