"""The options that several sub-commands share, by the names that users know from ``hf`` and ``sigstore``."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from aiverify.reporters.forms import Form, lacking

_HUB = "Hub"
_SIGNATURES = "Signatures"
_OUTPUT = "Output"
_LOCK = "Lockfile"
MACHINE, ALL = "machine", "all"


class OutputFormat(enum.StrEnum):
    """How a list is written, or anything else that is no report."""

    HUMAN = "human"
    JSON = "json"


def _available(form: Form) -> Form:
    """``form``, if reports can be written in it: that is said before anything is examined."""
    reason = lacking(form)
    if reason is not None:
        raise typer.BadParameter(reason)
    return form


Targets = Annotated[
    list[str], typer.Argument(metavar="TARGET…", help="org/name\\[@revision], hf://org/name, a folder or a file.")
]
Policy = Annotated[
    Path | None,
    typer.Option(
        help="Policy file (TOML). Without it: the nearest aiverify.toml or pyproject.toml outside the targets."
    ),
]
Include = Annotated[
    list[str], typer.Option(help="Only files that match this pattern. May be repeated.", rich_help_panel=_HUB)
]
Exclude = Annotated[
    list[str], typer.Option(help="No files that match this pattern. May be repeated.", rich_help_panel=_HUB)
]
Engine = Annotated[
    list[str],
    typer.Option(
        help="Second opinions beside that of the machine, which always judges: fickling (the default), all (that come "
        "with aiverify), machine (none), or the name of an engine that you installed. May be repeated.",
        metavar="machine|fickling|all|NAME",
        show_default=False,
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.", rich_help_panel=_HUB)]
CacheDir = Annotated[Path | None, typer.Option(help="The Hub client's cache.", rich_help_panel=_HUB)]
LocalDir = Annotated[Path | None, typer.Option(help="Download into this folder instead.", rich_help_panel=_HUB)]
Token = Annotated[
    str | None, typer.Option(help="Access token for the Hub. Never printed.", show_default=False, rich_help_panel=_HUB)
]
AllFiles = Annotated[
    bool,
    typer.Option(
        "--all-files",
        help="Also what loaders leave alone beside safetensors: the same weights as pickles, and other frameworks'.",
        rich_help_panel=_HUB,
    ),
]
Lockfile = Annotated[Path, typer.Option(help="The lockfile; it must not lie inside a target.", rich_help_panel=_LOCK)]
Locked = Annotated[
    bool,
    typer.Option(
        "--locked",
        help="Accept exactly what the lockfile names: that commit, those files, those signers.",
        rich_help_panel=_LOCK,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Download and examine nothing: say what would be fetched, and what is known of it already.",
        rich_help_panel=_HUB,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", envvar="AIVERIFY_OFFLINE", help="Send no request; use caches only.", rich_help_panel=_HUB
    ),
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Hash every file anew, and remember no digests for next time."),
]
CertIdentity = Annotated[
    str | None,
    typer.Option(
        "--cert-identity",
        "--certificate-identity",
        envvar="SIGSTORE_CERT_IDENTITY",
        help="The identity that must have signed; needs --cert-oidc-issuer.",
        rich_help_panel=_SIGNATURES,
    ),
]
CertOidcIssuer = Annotated[
    str | None,
    typer.Option(
        "--cert-oidc-issuer",
        "--certificate-oidc-issuer",
        envvar="SIGSTORE_CERT_OIDC_ISSUER",
        help="The OpenID Connect issuer of that identity.",
        rich_help_panel=_SIGNATURES,
    ),
]
Key = Annotated[Path | None, typer.Option(help="Public key (PEM) that must have signed.", rich_help_panel=_SIGNATURES)]
Ca = Annotated[
    Path | None,
    typer.Option(
        help="Certificates (PEM) of the authority that the signer must be under.", rich_help_panel=_SIGNATURES
    ),
]
CaSubject = Annotated[
    str | None,
    typer.Option(
        help="Who the signer's certificate must be for, as in CN=Release,O=Acme.", rich_help_panel=_SIGNATURES
    ),
]
Bundle = Annotated[
    list[Path],
    typer.Option(
        envvar="SIGSTORE_BUNDLE",
        help="Signature bundle; otherwise model.sig. May be repeated.",
        rich_help_panel=_SIGNATURES,
    ),
]
TrustedRoot = Annotated[
    Path | None,
    typer.Option(help="Sigstore trusted root (JSON); otherwise the public instance.", rich_help_panel=_SIGNATURES),
]
Staging = Annotated[
    bool,
    typer.Option("--staging", help="Trust Sigstore's staging instance instead.", rich_help_panel=_SIGNATURES),
]
TufUrl = Annotated[
    str | None,
    typer.Option(help="TUF repository of a private Sigstore instance; needs --tuf-root.", rich_help_panel=_SIGNATURES),
]
TufRoot = Annotated[
    Path | None,
    typer.Option(help="The root.json to trust that repository by.", rich_help_panel=_SIGNATURES),
]
RequireSignature = Annotated[
    bool,
    typer.Option("--require-signature", help="A missing signature blocks.", rich_help_panel=_SIGNATURES),
]
Format = Annotated[OutputFormat, typer.Option("--format", help="How it is written.", rich_help_panel=_OUTPUT)]
ReportFormat = Annotated[
    Form,
    typer.Option(
        "--format",
        envvar="AIVERIFY_FORMAT",
        help="How the report is written.",
        callback=_available,
        rich_help_panel=_OUTPUT,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the report to this file.", rich_help_panel=_OUTPUT),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict.", rich_help_panel=_OUTPUT)]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Say more.", rich_help_panel=_OUTPUT, show_default=False)
]


class Files(NamedTuple):
    """Which files of a target are meant, and where a download goes."""

    revision: Revision = None
    include: Include = []
    exclude: Exclude = []
    local_dir: LocalDir = None


class Hub(NamedTuple):
    """How the Hub is asked."""

    cache_dir: CacheDir = None
    token: Token = None
    offline: Offline = False


class Trust(NamedTuple):
    """Who must have signed, and which Sigstore instance says so."""

    cert_identity: CertIdentity = None
    cert_oidc_issuer: CertOidcIssuer = None
    key: Key = None
    ca: Ca = None
    ca_subject: CaSubject = None
    bundle: Bundle = []
    trusted_root: TrustedRoot = None
    staging: Staging = False
    tuf_url: TufUrl = None
    tuf_root: TufRoot = None
    require_signature: RequireSignature = False


class Loudness(NamedTuple):
    """How much is said."""

    quiet: Quiet = False
    verbose: Verbose = 0

    @property
    def verbosity(self) -> int:
        """-1 for the verdict alone, 0, or how much more than usual is said."""
        return -1 if self.quiet else self.verbose


class Written(NamedTuple):
    """How a report is written, and where."""

    format: ReportFormat = Form.HUMAN
    output: Output = None


def second_engines(names: Sequence[str]) -> tuple[str, ...]:
    """The engines beside the machine that the values of ``--engine`` stand for."""
    from aiverify.pickles.engine import BUILT_IN

    chosen = [engine for name in names or [ALL] for engine in (BUILT_IN if name == ALL else [name])]
    return tuple(dict.fromkeys(name for name in chosen if name != MACHINE))
