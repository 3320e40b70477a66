"""``aiverify verify``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aiverify.cli import attestors, options
from aiverify.cli.groups import grouped
from aiverify.progress import Progress
from aiverify.report import Report


@grouped
def verify(
    context: typer.Context,
    targets: options.Targets,
    *,
    policy: options.Policy = None,
    convert_to: Annotated[
        Path | None, typer.Option(help="Write safetensors twins of checkpoints into this folder.")
    ] = None,
    files: options.Files,
    all_files: options.AllFiles = False,
    dry_run: options.DryRun = False,
    hub: options.Hub,
    trust: options.Trust,
    no_cache: options.NoCache = False,
    locked: options.Locked = False,
    lockfile: options.Lockfile = Path("aiverify.lock"),
    attestation: attestors.Attestation,
    written: options.Written,
    loudness: options.Loudness,
) -> None:
    """Fetch, digest, authenticate, scan, convert and judge models, before anything loads them.

    Exit codes: 0 pass, 1 review or block, 2 could not verify.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, spare, terms, write

    with errors_said():
        rules, trusting = terms(context, targets, policy, hub=hub, trust=trust, downloads=[files.local_dir])
        spare(targets, written.output)
        attestations, attestor = attestors.asked_for(attestation)
        if dry_run:
            from aiverify.cli.foresight import foretell
            from aiverify.sources.interface import HubOptions, Selection

            asked = HubOptions(revision=files.revision, local_dir=files.local_dir, **hub._asdict())
            lean = not all_files and convert_to is None
            chosen = Selection(include=files.include, exclude=files.exclude, lean=lean)
            raise typer.Exit(foretell(targets, asked, chosen, written))

        def examine(target: str, progress: Progress) -> Report:
            return api.verify(
                target,
                policy=rules,
                convert_to=convert_to,
                locked=lockfile if locked else None,
                all_files=all_files,
                attestations=attestations,
                attestor=attestor,
                no_cache=no_cache,
                progress=progress,
                **files._asdict(),
                **trusting,
            )

        reports, outcome = examine_all(targets, examine, policy=rules, verbosity=loudness.verbosity)
        write(reports, written, verbosity=loudness.verbosity)
        raise typer.Exit(outcome.exit_code)
