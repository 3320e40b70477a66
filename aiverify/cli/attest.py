"""``aiverify attest``: a signed statement about what aiverify found out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aiverify.cli import signers
from aiverify.cli.groups import grouped


@grouped
def attest(
    file: Annotated[Path, typer.Argument(metavar="REPORT|RECEIPT", help="A report in JSON, or a receipt.")],
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="Write the attestation to this file; otherwise FILE.sigstore.json.")
    ] = None,
    signature: signers.Signature,
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
        way = signers.signing_with(signature)
        attested = attesting.attest(file, way, output=bundle)
        if not quiet:
            tell(f"ATTESTED  {attested.bundle}: {attested.about}, by {attested.signer}")
