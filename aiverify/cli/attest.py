"""``aiverify attest``: a signed statement about what aiverify found out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aiverify.cli import signers


def attest(
    file: Annotated[Path, typer.Argument(metavar="REPORT|RECEIPT", help="A report in JSON, or a receipt.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Write the attestation to this file; otherwise FILE.sigstore.json.")
    ] = None,
    key: signers.PrivateKey = None,
    certificate: signers.Certificate = None,
    certificate_chain: signers.CertificateChain = None,
    identity_token: signers.IdentityToken = None,
    oauth_force_oob: signers.OutOfBand = False,
    trusted_root: signers.TrustedRoot = None,
    signing_config: signers.SigningConfig = None,
    staging: signers.Staging = False,
    tuf_url: signers.TufUrl = None,
    tuf_root: signers.TufRoot = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.", rich_help_panel="Output")] = False,
) -> None:
    """Sign the verdict of a report, or what a receipt says about a conversion.

    Others take the verdict over with aiverify verify --accept-attestation. You vouch for what the file says.

    Exit codes: 0 attested, 2 could not attest.
    """
    from aiverify import attesting
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said

    with errors_said():
        way = signers.signing_with(
            key=key,
            certificate=certificate,
            certificate_chain=certificate_chain,
            identity_token=identity_token,
            out_of_band=oauth_force_oob,
            trusted_root=trusted_root,
            signing_config=signing_config,
            staging=staging,
            tuf_url=tuf_url,
            tuf_root=tuf_root,
        )
        attested = attesting.attest(file, way, output=bundle)
        if not quiet:
            tell(f"ATTESTED  {attested.bundle}: {attested.about}, by {attested.signer}")
