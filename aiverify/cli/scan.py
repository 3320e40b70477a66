"""``aiverify scan``: the static part of the main job, on local files."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aiverify.cli import options
from aiverify.cli.groups import grouped
from aiverify.progress import Progress
from aiverify.report import Report
from aiverify.reporters.forms import Form

STDIN = "-"


@grouped
def scan(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Folders and files; - reads stdin.")],
    *,
    policy: options.Policy = None,
    include: options.Include = [],
    exclude: options.Exclude = [],
    engine: options.Engine = [],
    no_cache: options.NoCache = False,
    written: options.Written,
    loudness: options.Loudness,
) -> None:
    """Examine files statically: no network, no signatures, no conversion.

    Exit codes: 0 pass, 1 review or block, 2 could not examine.
    """
    from aiverify import api
    from aiverify.cli.session import errors_said, examine_all, spare, write
    from aiverify.configuration import load_policy
    from aiverify.errors import UsageError

    with errors_said():
        if paths.count(STDIN) > 1 or (STDIN in paths and sys.stdin is None):
            raise UsageError("stdin can be read only once, and not when it is closed", hint="Give - once.")
        spare(paths, written.output)
        rules = load_policy([path for path in paths if path != STDIN], explicit=policy)
        engines = options.second_engines(engine)

        def examine(path: str, progress: Progress) -> Report:
            return api.scan(
                sys.stdin.buffer if path == STDIN else path,
                policy=rules,
                include=include,
                exclude=exclude,
                engines=engines,
                digests=written.format is not Form.HUMAN,  # a report for people shows none
                no_cache=no_cache,
                progress=progress,
            )

        reports, outcome = examine_all(paths, examine, policy=rules, verbosity=loudness.verbosity)
        write(reports, written, verbosity=loudness.verbosity)
        raise typer.Exit(outcome.exit_code)
