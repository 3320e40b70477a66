"""What a reader of a report can do next: at most a few steps, each with a command to paste where one fits.

A command holds names that came with the artifact. It is quoted for a POSIX shell, or for TOML where it is a line of a
policy file, and not offered at all when a word of it cannot be shown as it is: what one pastes is what one reads.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiverify.artifact import SourceKind
from aiverify.finding import Finding, Severity
from aiverify.report import Outcome, Report
from aiverify.reporters.hostile import printable
from aiverify.reporters.quantities import number_of
from aiverify.rules import rules

_UNKNOWN = "AIV302"
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_MAX_NAMES = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. ``command`` is what to paste, into a shell or as the text says, or empty.

    ``text`` is aiverify's own, in Markdown, unless it ``quotes`` something that came with the artifact.
    """

    text: str
    command: str = ""
    quotes: bool = False


def next_steps(report: Report) -> tuple[Step, ...]:
    """What to do about ``report``, the most important first. Nothing, when all is well."""
    return (
        *_examine(report),
        *_look_at_the_gravest(report),
        *_trust(report),
        *_convert(report),
        *_name_the_signer(report),
    )


def title_of(report: Report) -> str:
    """The target with the commit that was verified, shortened to 7 digits."""
    artifact = report.artifact
    if artifact.source is SourceKind.HUB and artifact.repo:
        return f"{artifact.repo}@{artifact.revision[:7]}" if artifact.revision else artifact.repo
    return report.target


def _look_at_the_gravest(report: Report) -> Iterator[Step]:
    gravest = _gravest(report)
    if report.verdict.outcome is Outcome.PASS or gravest is None:
        return
    rule = rules().get(gravest.rule)
    if rule is None:
        yield Step(gravest.message, quotes=True)
    else:
        yield Step(rule.fix, _command("aiverify", "explain", gravest.rule))


def _gravest(report: Report) -> Finding | None:
    """The gravest finding, of the files that the verdict is about where one of them has any."""
    candidates = [finding for finding in report.findings if finding.severity is not Severity.INFO]
    files = {path for variant in report.variants if variant.name == report.verdict.variant for path in variant.files}
    concerned = [finding for finding in candidates if finding.file is None or finding.file in files]
    return max(concerned or candidates, key=lambda finding: finding.severity.rank, default=None)


def _trust(report: Report) -> Iterator[Step]:
    """For names that nobody knows: the line of a policy that trusts them all."""
    if report.verdict.outcome is not Outcome.REVIEW:
        return
    names = sorted({str(found.evidence.get("global", "")) for found in report.findings if found.rule == _UNKNOWN})
    if names and len(names) <= _MAX_NAMES and all(_NAME.fullmatch(name) for name in names):
        listed = ", ".join(f'"{name}"' for name in names)
        what = "it" if len(names) == 1 else "them"
        yield Step(f"To trust {what} once you have looked, begin your policy file with:", f"trust.globals = [{listed}]")


def _convert(report: Report) -> Iterator[Step]:
    # A block never becomes a pass by conversion, so it is not offered as a way out of one.
    if report.verdict.outcome is not Outcome.REVIEW:
        return
    if not report.conversions:
        return
    twins = [conversion.output for conversion in report.conversions if conversion.output is not None]
    if len(twins) == len(report.conversions):
        shown = ", ".join(twins[:3]) + (f" and {len(twins) - 3} more" if len(twins) > 3 else "")
        yield Step(f"Or load the safetensors twin: {shown}.", quotes=True)
    else:
        yield Step(
            "Or take the tensors without the pickle: the checkpoint converts to safetensors.",
            _command("aiverify", "convert", _target(report), "-o", "converted"),
        )


def _examine(report: Report) -> Iterator[Step]:
    if report.verdict.outcome is not Outcome.ERROR or not report.unexamined:
        return
    files = sorted({item.file for item in report.unexamined})
    if len(report.artifact.files) <= 1:
        yield Step("The file could not be examined, so nothing is known about it. Get it again, or in another format.")
    elif len(files) == 1:
        # --exclude takes a pattern, and this name might match more than itself.
        literal = not set(files[0]) & set("*?[\\")
        command = _command("aiverify", "verify", _target(report), "--exclude", files[0]) if literal else ""
        yield Step(
            "One file could not be examined. Get it again, or leave it out if your load does not use it.", command
        )
    else:
        count = number_of(len(files), "file")
        yield Step(f"{count} could not be examined. Get them again, or leave out what your load does not use.")


def _name_the_signer(report: Report) -> Iterator[Step]:
    """For a valid signature by nobody in particular. The finding says whom to name: ``identity`` and ``issuer``."""
    if not any(signature.outcome == "unpinned" for signature in report.signatures):
        return
    text = "If the signer is the one whom the publisher announces, name it, and only its signatures will do."
    for finding in report.findings:
        match finding.evidence:
            case {"identity": str(identity), "issuer": str(issuer)} if finding.rule == "AIV209":
                options = ("--cert-identity", identity, "--cert-oidc-issuer", issuer)
                yield Step(text, _command("aiverify", "verify", _target(report), *options))
                return
    yield Step(text)


def _target(report: Report) -> str:
    artifact = report.artifact
    if artifact.source is SourceKind.HUB and artifact.repo and artifact.revision:
        return f"{artifact.repo}@{artifact.revision}"
    # A path that begins like an option or an address would be read as one.
    return f"./{report.target}" if report.target.startswith(("-", "hf://")) else report.target


def _command(*words: str) -> str:
    return shlex.join(words) if _plain(words) else ""


def _plain(words: Sequence[str]) -> bool:
    return all(word and printable(word) == word for word in words)
