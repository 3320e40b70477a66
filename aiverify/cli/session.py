"""What every sub-command that examines targets does around its calls: errors, progress, output, exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aiverify.cli.options import Hub, Trust, Written
from aiverify.cli.printing import put, say
from aiverify.cli.progress import progress_on
from aiverify.errors import AiverifyError, UsageError
from aiverify.files import is_there, read_at_most
from aiverify.policy import Policy
from aiverify.progress import Progress
from aiverify.report import Outcome, Report, worst
from aiverify.reporters.forms import reporter_for

if TYPE_CHECKING:
    from aiverify.arguments import Trusting

_HEAD = 4096  # bytes in which every form of a report but that for people names who made it


@contextlib.contextmanager
def errors_said() -> Iterator[None]:
    """Turn every failure into one clear message and exit code 2."""
    try:
        yield
    except AiverifyError as error:
        say(f"error: {error.diagnostics()}")
        raise typer.Exit(2) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - a crash of ours is an error, never a verdict and never a traceback
        if os.environ.get("AIVERIFY_DEBUG"):
            traceback.print_exc()
        say(
            f"error: aiverify itself failed: {type(error).__name__}: {error}\n"
            "This is a bug. Please report it; AIVERIFY_DEBUG=1 shows where it happened."
        )
        raise typer.Exit(2) from None


def terms(
    context: typer.Context,
    targets: Sequence[str],
    explicit: Path | None,
    *,
    hub: Hub,
    trust: Trust,
    downloads: Sequence[Path | None] = (),
) -> tuple[Policy, Trusting]:
    """The policy that holds, and who must have signed, as the options of a command and the environment say.

    ``explicit`` is the policy file that was named, ``downloads`` are folders, beside the Hub's cache, in which no
    configuration is looked for. Raises PolicyError and UsageError.
    """
    from aiverify.cli.trust import trust_source
    from aiverify.configuration import load_policy

    folders = [hub.cache_dir, *downloads]
    policy = load_policy(targets, explicit=explicit, downloads=folders, online=not hub.offline)
    if trust.require_signature:
        policy = policy.requiring_signature("--require-signature")
    if _overruled_by(policy, context):
        trust = trust._replace(cert_identity=None, cert_oidc_issuer=None)
    return policy, {
        "cache_dir": hub.cache_dir,
        "token": hub.token,
        "offline": hub.offline,
        "cert_identity": trust.cert_identity,
        "cert_oidc_issuer": trust.cert_oidc_issuer,
        "key": trust.key,
        "ca": trust.ca,
        "ca_subject": trust.ca_subject,
        "bundle": trust.bundle,
        "trusted_root": trust_source(
            trust.trusted_root,
            staging=trust.staging,
            tuf_url=trust.tuf_url,
            tuf_root=trust.tuf_root,
            offline=hub.offline,
        ),
    }


def _overruled_by(policy: Policy, context: typer.Context) -> bool:
    """Whether the signer in the environment gives way: it may tighten a policy, not replace the signers of one."""
    sources = {context.get_parameter_source(name) for name in ("cert_identity", "cert_oidc_issuer")}
    from_environment = {getattr(source, "name", "") for source in sources} <= {"ENVIRONMENT", "DEFAULT"}
    return bool(policy.signers) and from_environment


def examine_all(
    targets: Sequence[str], examine: Callable[[str, Progress], Report], *, policy: Policy, verbosity: int
) -> tuple[list[Report], Outcome]:
    """Run ``examine`` on each target. One that fails is said, is reported as an error, and does not stop the others."""
    from aiverify.reporting import Reports

    reports: list[Report] = []
    with progress_on(sys.stderr, verbosity=verbosity) as progress:
        for target in targets:
            try:
                report = examine(target, progress)
            except AiverifyError as error:
                named = len(targets) == 1 or target in str(error)
                say(f"error: {error.diagnostics()}" if named else f"error: {target}: {error.diagnostics()}")
                report = Reports(target, policy).unverified(error)
            reports.append(report)
    return reports, worst(report.verdict.outcome for report in reports)


def spare(targets: Sequence[str], output: Path | None) -> None:
    """Raise UsageError if the report ``output`` would take the place of a target, or of a file in one.

    A report of an earlier run may be replaced.
    """
    if output is None or not is_there(output) or not output.is_file():
        return
    place = output.resolve()
    local = [Path(target).resolve() for target in targets if os.path.lexists(target)]
    inside = any(place.is_relative_to(target) for target in local)
    if place in local or (inside and not _may_be_replaced(output)):
        raise UsageError(
            f"{output}: the report would take the place of a file that is examined", hint="Give it another name."
        )


def _may_be_replaced(path: Path) -> bool:
    """Whether ``path`` holds nothing, or a report of an earlier run, as far as its beginning tells."""
    try:
        head = read_at_most(path, _HEAD)
    except (OSError, ValueError):
        return False
    return not head or b"aiverify" in head


def write(reports: Sequence[Report], written: Written, *, verbosity: int) -> None:
    """Write the reports of a run that has just ended, as ``written`` says."""
    if written == Written() and all(report.unverified for report in reports):
        return  # everything has been said on stderr
    render(reports, written, verbosity=verbosity)


def render(reports: Sequence[Report], written: Written, *, verbosity: int) -> None:
    """Write ``reports`` as ``written`` says: to stdout, or to a file, which is replaced as a whole or not at all."""
    stream = sys.stdout if written.output is None else None
    reporter = reporter_for(written.format, verbosity=verbosity, stream=stream)
    put(reporter.render(reports), written.output)
