"""``aiverify scan``: the static part of the main job, on local files."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aiverify.cli import options
from aiverify.progress import Progress
from aiverify.report import Report

STDIN = "-"


def scan(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Folders and files; - reads stdin.")],
    policy: options.Policy = None,
    include: options.Include = [],  # noqa: B006 - typer reads it and makes a new list
    exclude: options.Exclude = [],  # noqa: B006
    engine: options.Engine = [],  # noqa: B006
    no_cache: options.NoCache = False,
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - the option's name is part of the interface
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Examine files statically: no network, no signatures, no conversion.

    Exit codes: 0 pass, 1 review or block, 2 could not examine.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, write
    from aiverify.configuration import load_policy
    from aiverify.errors import UsageError

    verbosity = -1 if quiet else verbose
    with errors_said():
        if paths.count(STDIN) > 1 or (STDIN in paths and sys.stdin is None):
            raise UsageError("stdin can be read only once, and not when it is closed", hint="Give - once.")
        rules = load_policy([path for path in paths if path != STDIN], explicit=policy)
        engines = options.second_engines(engine)

        def examine(path: str, progress: Progress) -> Report:
            return api.scan(
                sys.stdin.buffer if path == STDIN else path,
                policy=rules,
                include=include,
                exclude=exclude,
                engines=engines,
                digests=format is not options.OutputFormat.HUMAN,  # a report for people shows none
                no_cache=no_cache,
                progress=progress,
            )

        reports, outcome = examine_all(paths, examine, policy=rules, verbosity=verbosity)
        write(reports, format, output, verbosity=verbosity)
        raise typer.Exit(outcome.exit_code)
