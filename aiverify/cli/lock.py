"""``aiverify lock``: verify, and write down what was verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import options
from aiverify.cli.groups import grouped
from aiverify.cli.printing import say
from aiverify.report import Outcome, Report

if TYPE_CHECKING:
    from aiverify.lock.lockfile import LockedArtifact
    from aiverify.lock.naming import Named
    from aiverify.progress import Progress


@grouped
def lock(
    context: typer.Context,
    targets: options.Targets,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The lockfile; what it says of other targets stays.")
    ] = Path("aiverify.lock"),
    accept_review: Annotated[
        bool, typer.Option("--accept-review", help="Lock a target whose verdict is review, too: you have looked.")
    ] = False,
    policy: options.Policy = None,
    convert_to: Annotated[
        Path | None, typer.Option(help="Write safetensors twins into this folder, and lock their digests.")
    ] = None,
    files: options.Files,
    all_files: options.AllFiles = False,
    hub: options.Hub,
    trust: options.Trust,
    loudness: options.Loudness,
) -> None:
    """Verify models and write what was verified into a lockfile: commit, files, digests, signers, verdict.

    Exit codes: 0 all locked, 1 review or block, 2 could not verify. What is not locked keeps what the lockfile said.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, terms, write
    from aiverify.configuration import require_outside
    from aiverify.files import is_there
    from aiverify.lock.lockfile import Lockfile, read_lockfile, write_lockfile
    from aiverify.lock.naming import named
    from aiverify.report import worst
    from aiverify.sources.interface import HubOptions

    with errors_said():
        require_outside(output, targets, "lockfile", [hub.cache_dir, files.local_dir])
        before = read_lockfile(output) if is_there(output) else Lockfile()
        rules, trusting = terms(context, targets, policy, hub=hub, trust=trust, downloads=[files.local_dir])
        asked = HubOptions(revision=files.revision, local_dir=files.local_dir, **hub._asdict())
        accepted = (Outcome.PASS, Outcome.REVIEW) if accept_review else (Outcome.PASS,)
        entries: list[LockedArtifact] = []

        def examine(target: str, progress: Progress) -> Report:
            found = named(target, asked)
            report = api.verify(
                target,
                policy=rules,
                convert_to=convert_to,
                all_files=all_files,
                no_cache=True,  # what is written down is what was read now
                progress=progress,
                **files._asdict(),
                **trusting,
            )
            if report.verdict.outcome in accepted:
                entries.append(_entry(found, report, files, convert_to, offline=hub.offline))
            return report

        reports, _ = examine_all(targets, examine, policy=rules, verbosity=loudness.verbosity)
        write(reports, options.Written(), verbosity=loudness.verbosity)
        if entries:
            write_lockfile(output, before.with_artifacts(entries))
        _tell(output, [entry.target for entry in entries], reports, accepted)
        outcomes = [report.verdict.outcome for report in reports if report.verdict.outcome not in accepted]
        raise typer.Exit(worst(outcomes).exit_code)


def _entry(found: Named, report: Report, files: options.Files, twins: Path | None, *, offline: bool) -> LockedArtifact:
    """The entry for what was verified. The Hub is asked once more when the repository was made, unless ``offline``."""
    from aiverify.artifact import SourceKind
    from aiverify.lock.locking import locked_artifact, twins_beside, written_twins
    from aiverify.sources.hub import HubSource

    standing = None
    if isinstance(found.source, HubSource) and not offline:
        standing = found.source.standing(report.artifact.revision)
        if standing.name is not None and standing.name.lower() != found.source.repo.lower():
            say(f"note: the Hub calls {found.source.repo} by another name, {standing.name}: better lock that")
    if twins is not None:
        made = written_twins(report, twins)
    elif report.artifact.source is SourceKind.FOLDER:
        made = twins_beside(report, Path(found.key))
    else:
        made = ()
    return locked_artifact(
        found.key,
        report,
        revision=found.revision,
        standing=standing,
        include=files.include,
        exclude=files.exclude,
        twins=made,
    )


def _tell(lockfile: Path, locked: list[str], reports: list[Report], accepted: tuple[Outcome, ...]) -> None:
    for report in reports:
        if report.verdict.outcome not in accepted and not report.unverified:
            hint = "; --accept-review locks it all the same" if report.verdict.outcome is Outcome.REVIEW else ""
            say(f"not locked: {report.target}: its verdict is {report.verdict.outcome.value}{hint}")
    if locked:
        say(f"locked in {lockfile}: {', '.join(locked)}")
