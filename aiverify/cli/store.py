"""``aiverify store``: what lies sealed on this machine, whether it is still whole, and how to be rid of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import options
from aiverify.cli.parameters import QuickCommand, QuickGroup

if TYPE_CHECKING:
    from aiverify.store.interface import Snapshot
    from aiverify.store.store import Store

_SHORT = 12

app = typer.Typer(
    cls=QuickGroup,
    name="store",
    help="Models that passed, sealed on this machine: list them, check them, remove them.",
    no_args_is_help=True,
)

Place = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="AIVERIFY_STORE", help="The folder of the store; otherwise aiverify in your cache folder."
    ),
]


@app.command("ls", cls=QuickCommand)
def show(
    store: Place = None,
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - the option's name is part of the interface
) -> None:
    """List the sealed snapshots, the one that was used last first.

    Exit codes: 0 listed, 2 the store cannot be read.
    """
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said

    with errors_said():
        opened = _opened(store)
        rows = [] if opened is None else [_row(opened, snapshot) for snapshot in opened.snapshots()]
        size = 0 if opened is None else opened.blob_bytes()
        root = str(_root(store))
        if format is options.OutputFormat.JSON:
            tell(json.dumps({"store": root, "bytes": size, "snapshots": rows}, indent=2))
        else:
            tell(_table(root, rows, size))


@app.command(cls=QuickCommand)
def prune(
    unused_for: Annotated[
        float | None, typer.Option(help="Remove what was not used for this many days.", metavar="DAYS", min=0)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    store: Place = None,
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - as above
) -> None:
    """Remove snapshots from the store, contents that no snapshot holds, and what killed runs left behind.

    Exit codes: 0 done, 2 not done.
    """
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said
    from aiverify.errors import UsageError
    from aiverify.store.store import Pruned

    with errors_said():
        if (unused_for is None) == (not everything):
            raise UsageError("what to remove is not said", hint="Give one of --unused-for DAYS and --all.")
        opened = _opened(store)
        keep = _kept(unused_for)
        if opened is None:
            pruned = Pruned(snapshots=(), freed=0)
        elif dry_run:
            pruned = opened.prunable(keep)
        else:
            pruned = opened.prune(keep)
            opened.index.forget_digests(_day(unused_for))
        if format is options.OutputFormat.JSON:
            answer = {"store": str(_root(store)), "dry_run": dry_run, "removed": pruned.snapshots}
            tell(json.dumps(answer | {"freed": pruned.freed}, indent=2))
        else:
            tell(_removed(len(pruned.snapshots), pruned.freed, dry_run=dry_run))


@app.command(cls=QuickCommand)
def verify(
    store: Place = None,
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - as above
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Hash everything in the store anew, and compare the snapshots with what is remembered of them.

    Exit codes: 0 whole, 1 something was changed, 2 the store cannot be read.
    """
    from aiverify.cli.printing import tell
    from aiverify.cli.progress import progress_on
    from aiverify.cli.session import errors_said

    with errors_said():
        opened = _opened(store)
        faults: list[str] = []
        count = size = 0
        if opened is not None:
            count, size = len(opened.snapshots()), opened.blob_bytes()
            with progress_on(sys.stderr, verbosity=-1 if quiet else verbose) as progress:
                progress.stage("verify", size)
                faults = list(opened.faults(progress.advance))
        if format is options.OutputFormat.JSON:
            tell(
                json.dumps({"store": str(_root(store)), "snapshots": count, "bytes": size, "faults": faults}, indent=2)
            )
        else:
            tell(_finding(faults, count, size))
        raise typer.Exit(1 if faults else 0)


def _root(chosen: Path | None) -> Path:
    from aiverify.store.folders import default_root

    return (chosen or default_root()).absolute()


def _opened(chosen: Path | None) -> Store | None:
    """The store, ``None`` if there is none: looking does not make one. Raises StoreError."""
    from aiverify.store.interface import StoreError
    from aiverify.store.store import Store

    root = _root(chosen)
    try:
        there = (root / "index.sqlite").exists()
        folder = root.is_dir()
        empty = not any(root.iterdir()) if folder else not os.path.lexists(root)
    except OSError as error:
        raise StoreError(f"{root}: cannot be read: {error.strerror or error}") from error
    if there:
        return Store(root)
    if empty or (folder and chosen is None):
        return None
    raise StoreError(f"{root}: is not a store", hint="Name the folder of a store with --store or AIVERIFY_STORE.")


def _row(store: Store, snapshot: Snapshot) -> dict[str, object]:
    return {
        "id": snapshot.id,
        "path": str(snapshot.root),
        "of": sorted({_target(report) for report in store.index.reports(snapshot.id)} - {""}),
        "files": len(snapshot.files),
        "bytes": snapshot.size,
        "sealed_at": snapshot.sealed_at,
        "used_at": snapshot.used_at,
    }


def _target(text: str) -> str:
    """What a report is about, by its own words."""
    try:
        report = json.loads(text)
        artifact = report["artifact"]
        revision = artifact.get("revision")
        name = artifact.get("repo") or report["target"]
        return f"{name}@{revision[:_SHORT]}" if revision else str(name)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _table(root: str, rows: list[dict[str, object]], size: int) -> str:
    from aiverify.reporters.hostile import printable
    from aiverify.reporters.quantities import number_of
    from aiverify.reporters.quantities import size as bytes_of

    if not rows:
        return f"Nothing is sealed in {root}."
    lines = [f"{number_of(len(rows), 'snapshot')} in {root}, {bytes_of(size)} on disk", ""]
    for row in rows:
        of = row["of"] if isinstance(row["of"], list) else []
        names = printable(", ".join(map(str, of)) or "a single file", limit=200)
        files = number_of(int(str(row["files"])), "file")
        lines.append(f"{str(row['id'])[:_SHORT]}  {bytes_of(int(str(row['bytes']))):>10}  {files:>10}  {names}")
        lines.append(f"{'':14}used {row['used_at']}, sealed {row['sealed_at']}")
    return "\n".join(lines)


def _removed(count: int, freed: int, *, dry_run: bool) -> str:
    from aiverify.reporters.quantities import number_of, size

    if dry_run:
        return f"Would remove {number_of(count, 'snapshot')} and free {size(freed)}."
    return f"Removed {number_of(count, 'snapshot')}, {size(freed)} freed."


def _finding(faults: list[str], count: int, size: int) -> str:
    from aiverify.reporters.hostile import printable
    from aiverify.reporters.quantities import number_of
    from aiverify.reporters.quantities import size as bytes_of

    if not faults:
        return f"WHOLE  {number_of(count, 'snapshot')}, {bytes_of(size)} hashed"
    lines = [f"CHANGED  {number_of(len(faults), 'fault')} in {number_of(count, 'snapshot')}", ""]
    lines += [f"  {printable(fault, limit=500)}" for fault in faults]
    return "\n".join(
        [*lines, "", "What is damaged is not used. `aiverify.ensure` seals it anew; prune --all clears it."]
    )


def _kept(days: float | None) -> Callable[[Snapshot], bool]:
    from aiverify.store.store import unused_for

    return unused_for(days) if days is not None else lambda _: False


def _day(days: float | None) -> str:
    """The day before which digests are forgotten."""
    import datetime

    if days is None:
        return "9"
    now = datetime.datetime.now(datetime.UTC)
    return (now - datetime.timedelta(days=min(days, 10_000))).date().isoformat()
