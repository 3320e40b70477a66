"""A report in which every text that an artifact can choose is hostile."""

from __future__ import annotations

from dataclasses import replace

from report_builder import blocked, report

from aiverify.finding import Finding, Location, Severity, Unexamined
from aiverify.layers import Layer
from aiverify.report import Conversion, Dropped, Outcome, Report, SignatureResult, Variant, Verdict

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script><script>alert(1)</script>",
    "</pre></code><iframe src=//host>",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "&lt;b&gt;&amp;",
    "${body} $style $$",
    "\x1b[2J\x00\u202egnp.exe\u2066\ufeff\u2028\udcff",
    "a" + "\u0301" * 50,
]


def full_of(text: str) -> Report:
    """A report in which every text that an artifact can choose is ``text``."""
    here = Finding(
        rule="AIV301",
        severity=Severity.CRITICAL,
        message=text,
        file=text,
        location=Location(text, 7),
        evidence={"global": "f", "payload": f"f({text!r})\n{text}", text: [text, {text: f"{text}\n{text}"}]},
    )
    named = replace(here, severity=Severity.LOW, evidence={"global": text})
    return report(
        target=text,
        artifact=replace(blocked().artifact, files=(replace(blocked().artifact.files[0], path=text, format=text),)),
        findings=(here, named),
        unexamined=(Unexamined(file=text, member=text, reason=text),),
        signatures=(
            SignatureResult(kind="key", outcome="failed", detail=text, signer=text, covers=(text,), root=text),
        ),
        conversions=(
            Conversion(source=text, tensors=1, output=text, receipt=text, dropped=(Dropped(path=text, type=text),)),
        ),
        variants=(Variant(name=text, files=(text,), outcome=Outcome.BLOCK),),
        verdict=Verdict(outcome=Outcome.BLOCK, variant=text, reasons=(text,)),
        layers=(Layer(text, text, text, 1, 10), Layer(None, "", text, 1, 5)),
    )
