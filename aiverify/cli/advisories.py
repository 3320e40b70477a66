"""``aiverify advisories``: what is known of the libraries that load models, and how to know more."""

from __future__ import annotations

from typing import Annotated

import typer

from aiverify.cli.parameters import QuickCommand, QuickGroup

OSV = "https://api.osv.dev"

app = typer.Typer(
    cls=QuickGroup,
    name="advisories",
    help="Known vulnerabilities of the libraries that load models.",
    no_args_is_help=True,
)


@app.command(cls=QuickCommand)
def show() -> None:
    """List the advisories in use, and whether the installed version is affected."""
    from aiverify.advisories.snapshot import known
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said
    from aiverify.installed import versions_of

    with errors_said():
        snapshot = known()
        present = versions_of(sorted({item.package for item in snapshot.advisories}))
        lines = [f"{len(snapshot.advisories)} advisories as of {snapshot.date}", ""]
        for item in snapshot.advisories:
            version = present.get(item.package)
            state = (
                "not installed"
                if version is None
                else f"{version}: {'AFFECTED' if item.affects(version) else 'not affected'}"
            )
            lines.append(f"{item.id:<20}  {item.package:<14}  {state:<24}  {item.summary}")
        tell("\n".join(lines))


@app.command(cls=QuickCommand)
def update(
    url: Annotated[str, typer.Option("--url", envvar="AIVERIFY_OSV_URL", help="OSV, or a mirror of it.")] = OSV,
    offline: Annotated[bool, typer.Option("--offline", help="Do not use the network: change nothing.")] = False,
) -> None:
    """Fetch newer advisories from OSV. The ones that come with aiverify stay in use whatever it says."""
    from aiverify.advisories.snapshot import cache_path, known
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said

    with errors_said():
        if offline:
            tell(f"offline: the advisories of {known().date} stay in use")
            return
        from aiverify.advisories.update import update as fetch

        tell(f"{fetch(url)} advisories, kept in {cache_path()}")
