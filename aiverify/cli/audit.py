"""``aiverify audit``: whether what was locked still holds, and the way to move it on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import options
from aiverify.cli.groups import grouped
from aiverify.cli.printing import say, tell
from aiverify.report import Report

if TYPE_CHECKING:
    from aiverify.audits import Auditor
    from aiverify.lock.lockfile import LockedArtifact, Lockfile
    from aiverify.progress import Progress

DEFAULT = Path("aiverify.lock")


@grouped
def audit(
    context: typer.Context,
    lockfiles: Annotated[
        list[Path], typer.Argument(metavar="[LOCK…]", help="Lockfiles; otherwise aiverify.lock.", show_default=False)
    ] = [],
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only ask the Hub: fetch nothing and examine nothing.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Move pins on after a full verification that passes, and print the difference."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --fix: print the difference, and leave the lockfile as it is.")
    ] = False,
    twins: Annotated[
        Path | None, typer.Option(help="The folder of the twins: check them, too.", show_default=False)
    ] = None,
    policy: options.Policy = None,
    hub: options.Hub,
    trust: options.Trust,
    written: options.Written,
    loudness: options.Loudness,
) -> None:
    """Check lockfiles against the Hub, and what they name against today's rules and policy.

    Exit codes: 0 it holds, 1 something differs or no longer passes, 2 could not tell.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, spare, terms, write
    from aiverify.configuration import require_outside
    from aiverify.errors import UsageError
    from aiverify.lock.lockfile import read_lockfile
    from aiverify.report import worst

    with errors_said():
        if fix and (quick or hub.offline):
            raise UsageError("--fix verifies, and asks the Hub", hint="Leave out --quick and --offline.")
        if dry_run and not fix:
            raise UsageError("--dry-run goes with --fix", hint="Without --fix, nothing is ever written.")
        read = {path: read_lockfile(path) for path in lockfiles or [DEFAULT]}
        places = [entry.target for content in read.values() for entry in content.artifacts.values() if not entry.commit]
        for path in read:
            require_outside(path, places, "lockfile", [hub.cache_dir])
        spare([*places, *map(str, read)], written.output)
        rules, trusting = terms(context, places, policy, hub=hub, trust=trust)
        auditor = api.auditor(policy=rules, quick=quick, fix=fix, twins=twins, **trusting)
        reports: list[Report] = []
        diffs = []
        for path, content in read.items():
            found, moved = _audited(content, auditor, loudness.verbosity)
            reports += found
            if fix:
                diffs.append(_moved(path, content, moved, dry_run=dry_run))
        if not reports:
            raise UsageError("the lockfiles name no artifact", hint="Write one with `aiverify lock TARGET…`.")
        write(reports, written, verbosity=loudness.verbosity)
        human = written == options.Written()
        for diff in filter(None, diffs):
            if human:
                tell(diff)
            else:
                sys.stderr.write(diff)
        raise typer.Exit(worst(report.verdict.outcome for report in reports).exit_code)


def _audited(content: Lockfile, auditor: Auditor, verbosity: int) -> tuple[list[Report], list[LockedArtifact]]:
    """The report on every artifact, and the entries that move on."""
    from aiverify.cli.session import examine_all

    moved: list[LockedArtifact] = []

    def examine(target: str, progress: Progress) -> Report:
        report, entry = auditor.report(content.artifacts[target], progress)
        if entry is not None:
            moved.append(entry)
        return report

    reports, _ = examine_all(sorted(content.artifacts), examine, policy=auditor.options.policy, verbosity=verbosity)
    return reports, moved


def _moved(path: Path, before: Lockfile, moved: list[LockedArtifact], *, dry_run: bool) -> str:
    """Write the lockfile with the entries that moved on, unless it is only to be shown; what changes, as a diff."""
    import difflib

    from aiverify.lock.lockfile import write_lockfile

    after = before.with_artifacts(moved)
    old, new = before.text(), after.text()
    if old == new:
        say(f"{path}: no pin was moved")
        return ""
    if not dry_run:
        write_lockfile(path, after)
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path.name}", f"b/{path.name}"
    )
    return "".join(lines)
