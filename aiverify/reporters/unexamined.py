"""What nobody looked at, whichever field of a report says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiverify.finding import Unexamined
from aiverify.report import Report

NOT_EXAMINED = "AIV405"


def by_reason(report: Report) -> Mapping[str, list[Unexamined]]:
    """What was not examined, under the reasons why."""
    groups: dict[str, list[Unexamined]] = {}
    for item in (*report.unexamined, *_found(report)):
        groups.setdefault(item.reason, []).append(item)
    return groups


def place(item: Unexamined) -> str:
    """The file, and the member of it that is meant."""
    return item.file if item.member is None else f"{item.file}, member {item.member}"


def _found(report: Report) -> Iterator[Unexamined]:
    """Files that a finding, but no entry of ``unexamined``, reports as not examined."""
    listed = {item.file for item in report.unexamined}
    for finding in report.findings:
        if finding.rule == NOT_EXAMINED and finding.file is not None and finding.file not in listed:
            yield Unexamined(file=finding.file, member=finding.location.member, reason=finding.message)
