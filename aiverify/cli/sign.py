"""``aiverify sign``: a signature over a folder."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from aiverify.cli import options, signers
from aiverify.cli.groups import grouped


class Method(enum.StrEnum):
    """How the digests of files are taken: as ``aiverify.signing`` has it, which --help does not import."""

    FILES = "files"
    SHARDS = "shards"


@grouped
def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the model's files.")],
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="Write the signature to this file; otherwise model.sig in the folder.")
    ] = None,
    ignore: Annotated[
        list[str], typer.Option(help="Leave out this file or folder, and say so. A path inside DIR. May be repeated.")
    ] = [],
    method: Annotated[Method, typer.Option(help="Digests of whole files, or of shards of a gigabyte.")] = Method.FILES,
    signature: signers.Signature,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.", rich_help_panel="Output")] = False,
    verbose: options.Verbose = 0,
) -> None:
    """Sign the files of a folder, in the format of OpenSSF Model Signing.

    Keyless, with the identity of this CI job or of the person at the browser, unless --key says otherwise.

    Exit codes: 0 signed, 2 could not sign.
    """
    import sys

    from aiverify import signing
    from aiverify.cli.printing import tell
    from aiverify.cli.progress import progress_on
    from aiverify.cli.session import errors_said
    from aiverify.reporters.quantities import number_of

    with errors_said():
        way = signers.signing_with(signature)
        with progress_on(sys.stderr, verbosity=-1 if quiet else verbose) as progress:
            signed = signing.sign(
                folder, way, output=bundle, ignore=ignore, method=signing.Method(method), progress=progress
            )
        if quiet:
            return
        lines = [f"SIGNED  {signed.bundle}: {number_of(len(signed.files), 'file')} by {signed.signer}"]
        lines += [f"  left out: {path}" for path in signed.left_out]
        tell("\n".join(lines))
