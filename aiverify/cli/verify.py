"""``aiverify verify``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aiverify.cli import attestors, options
from aiverify.progress import Progress
from aiverify.report import Report


def verify(
    context: typer.Context,
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET…", help="org/name[@revision], hf://org/name, a folder or a file.")
    ],
    policy: options.Policy = None,
    convert_to: Annotated[
        Path | None, typer.Option(help="Write safetensors twins of checkpoints into this folder.")
    ] = None,
    revision: options.Revision = None,
    include: options.Include = [],  # noqa: B006 - typer reads it and makes a new list
    exclude: options.Exclude = [],  # noqa: B006
    all_files: options.AllFiles = False,
    dry_run: options.DryRun = False,
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
    no_cache: options.NoCache = False,
    locked: options.Locked = False,
    lockfile: options.Lockfile = Path("aiverify.lock"),
    accept_attestation: attestors.Accept = [],  # noqa: B006
    attestor_identity: attestors.Identity = None,
    attestor_oidc_issuer: attestors.OidcIssuer = None,
    attestor_key: attestors.Key = None,
    attestor_ca: attestors.Ca = None,
    attestor_ca_subject: attestors.CaSubject = None,
    max_age: attestors.MaxAge = attestors.MAX_AGE_DAYS,
    attested_policy: attestors.OtherPolicy = [],  # noqa: B006
    attested_version: attestors.OldestVersion = None,
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - the option's name is part of the interface
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Fetch, digest, authenticate, scan, convert and judge models, before anything loads them.

    Exit codes: 0 pass, 1 review or block, 2 could not verify.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, overruled_by, write
    from aiverify.cli.trust import trust_source
    from aiverify.configuration import load_policy

    verbosity = -1 if quiet else verbose
    with errors_said():
        rules = load_policy(targets, explicit=policy, downloads=[cache_dir, local_dir])
        if require_signature:
            rules = rules.requiring_signature("--require-signature")
        if overruled_by(rules, context):
            cert_identity = cert_oidc_issuer = None
        root = trust_source(trusted_root, staging=staging, tuf_url=tuf_url, tuf_root=tuf_root, offline=offline)
        attestations = attestors.attestations_of(
            accept_attestation, max_age=max_age, policies=attested_policy, oldest=attested_version
        )
        attestor = attestors.attestor_of(
            identity=attestor_identity,
            issuer=attestor_oidc_issuer,
            key=attestor_key,
            ca=attestor_ca,
            subject=attestor_ca_subject,
            wanted=attestations is not None,
        )

        if dry_run:
            from aiverify.cli.foresight import foretell
            from aiverify.sources.interface import HubOptions, Selection

            hub = HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline)
            chosen = Selection(include=include, exclude=exclude, lean=not all_files and convert_to is None)
            raise typer.Exit(foretell(targets, hub, chosen, format, output))

        def examine(target: str, progress: Progress) -> Report:
            return api.verify(
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
                locked=lockfile if locked else None,
                all_files=all_files,
                attestations=attestations,
                attestor=attestor,
                no_cache=no_cache,
                progress=progress,
            )

        reports, outcome = examine_all(targets, examine, policy=rules, verbosity=verbosity)
        write(reports, format, output, verbosity=verbosity)
        raise typer.Exit(outcome.exit_code)
