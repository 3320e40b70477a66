"""``aiverify lock``: verify, and write down what was verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import options
from aiverify.cli.printing import say
from aiverify.report import Outcome, Report

if TYPE_CHECKING:
    from aiverify.lock.lockfile import LockedArtifact
    from aiverify.lock.naming import Named
    from aiverify.progress import Progress


def lock(
    context: typer.Context,
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET…", help="org/name[@revision], hf://org/name, a folder or a file.")
    ],
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
    revision: options.Revision = None,
    include: options.Include = [],  # noqa: B006 - typer reads it and makes a new list
    exclude: options.Exclude = [],  # noqa: B006
    all_files: options.AllFiles = False,
    cache_dir: options.CacheDir = None,
    local_dir: options.LocalDir = None,
    token: options.Token = None,
    offline: options.Offline = False,
    cert_identity: options.CertIdentity = None,
    cert_oidc_issuer: options.CertOidcIssuer = None,
    key: options.Key = None,
    ca: options.Ca = None,
    ca_subject: options.CaSubject = None,
    bundle: options.Bundle = [],  # noqa: B006
    trusted_root: options.TrustedRoot = None,
    staging: options.Staging = False,
    tuf_url: options.TufUrl = None,
    tuf_root: options.TufRoot = None,
    require_signature: options.RequireSignature = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Verify models and write what was verified into a lockfile: commit, files, digests, signers, verdict.

    Exit codes: 0 all locked, 1 review or block, 2 could not verify. What is not locked keeps what the lockfile said.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, overruled_by, write
    from aiverify.cli.trust import trust_source
    from aiverify.configuration import load_policy, require_outside
    from aiverify.lock.lockfile import Lockfile, read_lockfile, write_lockfile
    from aiverify.lock.naming import named
    from aiverify.report import worst
    from aiverify.sources.interface import HubOptions

    verbosity = -1 if quiet else verbose
    with errors_said():
        require_outside(output, targets, "lockfile", [cache_dir, local_dir])
        before = read_lockfile(output) if output.exists() else Lockfile()
        rules = load_policy(targets, explicit=policy, downloads=[cache_dir, local_dir])
        if require_signature:
            rules = rules.requiring_signature("--require-signature")
        if overruled_by(rules, context):
            cert_identity = cert_oidc_issuer = None
        root = trust_source(trusted_root, staging=staging, tuf_url=tuf_url, tuf_root=tuf_root, offline=offline)
        hub = HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline)
        accepted = (Outcome.PASS, Outcome.REVIEW) if accept_review else (Outcome.PASS,)
        entries: list[LockedArtifact] = []

        def examine(target: str, progress: Progress) -> Report:
            found = named(target, hub)
            report = api.verify(
                target,
                policy=rules,
                revision=revision,
                include=include,
                exclude=exclude,
                cache_dir=cache_dir,
                local_dir=local_dir,
                token=token,
                offline=offline,
                cert_identity=cert_identity,
                cert_oidc_issuer=cert_oidc_issuer,
                key=key,
                ca=ca,
                ca_subject=ca_subject,
                bundle=bundle,
                trusted_root=root,
                convert_to=convert_to,
                all_files=all_files,
                no_cache=True,  # what is written down is what was read now
                progress=progress,
            )
            if report.verdict.outcome in accepted:
                entries.append(_entry(found, report, include, exclude, convert_to, offline=offline))
            return report

        reports, _ = examine_all(targets, examine, policy=rules, verbosity=verbosity)
        write(reports, options.OutputFormat.HUMAN, None, verbosity=verbosity)
        if entries:
            write_lockfile(output, before.with_artifacts(entries))
        _tell(output, [entry.target for entry in entries], reports, accepted)
        outcomes = [report.verdict.outcome for report in reports if report.verdict.outcome not in accepted]
        raise typer.Exit(worst(outcomes).exit_code)


def _entry(
    found: Named, report: Report, include: list[str], exclude: list[str], twins: Path | None, *, offline: bool
) -> LockedArtifact:
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
        found.key, report, revision=found.revision, standing=standing, include=include, exclude=exclude, twins=made
    )


def _tell(lockfile: Path, locked: list[str], reports: list[Report], accepted: tuple[Outcome, ...]) -> None:
    for report in reports:
        if report.verdict.outcome not in accepted and not report.unverified:
            hint = "; --accept-review locks it all the same" if report.verdict.outcome is Outcome.REVIEW else ""
            say(f"not locked: {report.target}: its verdict is {report.verdict.outcome.value}{hint}")
    if locked:
        say(f"locked in {lockfile}: {', '.join(locked)}")
