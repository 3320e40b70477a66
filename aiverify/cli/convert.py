"""``aiverify convert``: safetensors twins with receipts, and the check of a receipt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aiverify.cli import options
from aiverify.cli.groups import grouped
from aiverify.progress import Progress
from aiverify.report import Report
from aiverify.reporters.forms import Form

_CHECK = "Check a receipt"


@grouped
def convert(
    context: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(metavar="[TARGET…]", help="org/name\\[@revision], hf://org/name, a folder or a file."),
    ] = [],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder for the twins; a folder below it for each of several targets."),
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            help="Take the tensors of a blocked target, too, and what can be converted beside what cannot. "
            "The verdict stays what it is.",
        ),
    ] = False,
    lower: Annotated[
        bool,
        typer.Option(
            "--lower",
            help="Take apart, without loss, what safetensors cannot hold: complex128, sparse, quantised, conjugated.",
        ),
    ] = False,
    with_config: Annotated[
        bool, typer.Option("--with-config", help="Copy configuration, tokenizer and texts beside the twins.")
    ] = False,
    no_digests: Annotated[
        bool,
        typer.Option("--no-digests", help="Faster, and less proved: no checksums, no digests of the twins."),
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(help="Check this receipt against its twin instead of converting.", rich_help_panel=_CHECK),
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="The checkpoint that the receipt is about.", rich_help_panel=_CHECK)
    ] = None,
    twin: Annotated[
        Path | None,
        typer.Option(help="The twin; otherwise the file beside the receipt.", rich_help_panel=_CHECK),
    ] = None,
    policy: options.Policy = None,
    files: options.Files,
    hub: options.Hub,
    trust: options.Trust,
    no_cache: options.NoCache = False,
    format: options.ReportFormat = Form.HUMAN,  # noqa: A002 - the option's name is part of the interface
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the report to this file.", rich_help_panel="Output")
    ] = None,
    loudness: options.Loudness,
) -> None:
    """Verify models and write safetensors twins of their PyTorch checkpoints, with receipts.

    Nothing is overwritten: a twin that stands already is kept if it is what would be written, so a run that was stopped
    is completed by the same command. With --check, a receipt is checked instead.

    Exit codes: 0 converted and pass, or proved; 1 review or block, or disproved; 2 could not convert, or not check.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, spare, terms, write
    from aiverify.errors import UsageError

    with errors_said():
        if check is not None:
            if targets or output is not None:
                raise UsageError("--check takes neither targets nor --output", hint="It checks the one receipt.")
            if format not in (Form.HUMAN, Form.JSON):
                raise UsageError(f"--check makes no report, and cannot be written as {format}")
            _check(check, source, twin, as_json=format is Form.JSON, verbosity=loudness.verbosity)
            return
        if source is not None or twin is not None:
            raise UsageError(
                "--source and --twin belong to --check", hint="--check RECEIPT says which receipt is meant."
            )
        if not targets or output is None:
            raise UsageError(
                "a target and a folder are needed",
                hint="aiverify convert TARGET -o DIR, or aiverify convert --check RECEIPT.",
            )
        folders = _folders(targets, output)
        spare(targets, report)
        rules, trusting = terms(context, targets, policy, hub=hub, trust=trust, downloads=[files.local_dir])

        def examine(target: str, progress: Progress) -> Report:
            return api.convert(
                target,
                folders[target],
                salvage=salvage,
                lower=lower,
                digests=not no_digests,
                with_config=with_config,
                policy=rules,
                no_cache=no_cache,
                progress=progress,
                **files._asdict(),
                **trusting,
            )

        reports, outcome = examine_all(targets, examine, policy=rules, verbosity=loudness.verbosity)
        write(reports, options.Written(format, report), verbosity=loudness.verbosity)
        raise typer.Exit(outcome.exit_code)


def _folders(targets: Sequence[str], output: Path) -> dict[str, Path]:
    """The folder for the twins of each target: ``output`` itself for a single one."""
    from aiverify.errors import UsageError

    if len(targets) == 1:
        return {targets[0]: output}
    folders = {target: output / _name(target) for target in targets}
    if len(set(folders.values())) < len(targets):
        raise UsageError("two targets have the same name", hint="Convert them one by one, each into its own folder.")
    return folders


def _name(target: str) -> str:
    """The last part of a path, or of a repository's name without its revision."""
    if os.path.lexists(target):
        return Path(os.path.realpath(target)).name or "root"
    return target.removeprefix("hf://").partition("@")[0].strip("/").replace("/", "--") or "target"


def _check(receipt: Path, source: Path | None, twin: Path | None, *, as_json: bool, verbosity: int) -> None:
    """Check one receipt, say what came of it, and leave with 0, 1 or 2."""
    import json
    import sys

    from aiverify.cli.printing import tell
    from aiverify.cli.progress import progress_on
    from aiverify.convert.proof import check_receipt
    from aiverify.convert.proving import DisprovedError

    answer: dict[str, object] = {"receipt": str(receipt)}
    try:
        with progress_on(sys.stderr, verbosity=verbosity) as progress:
            proof = check_receipt(receipt, progress, twin=twin, source=source)
    except DisprovedError as error:
        answer |= {"outcome": "disproved", "reason": str(error)}
        text, code = f"DISPROVED  {error}", 1
    else:
        answer |= {
            "outcome": "proved" if proof.complete else "incomplete",
            "twin": proof.twin,
            "tensors": proof.tensors,
            "found_in_source": proof.found_in_source if source is not None else None,
        }
        text, code = f"{'PROVED' if proof.complete else 'INCOMPLETE'}  {proof}", 0 if proof.complete else 2
    tell(json.dumps(answer, indent=2) if as_json else text)
    raise typer.Exit(code)
