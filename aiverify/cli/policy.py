"""``aiverify policy``: begin a policy file, check one, and ask what would decide for an artifact, and why."""

from __future__ import annotations

import datetime
import enum
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiverify.cli import options
from aiverify.cli.parameters import QuickCommand, QuickGroup

if TYPE_CHECKING:
    from aiverify.finding import Severity
    from aiverify.policy import Policy, PolicyError
    from aiverify.policy.checking import Remark
    from aiverify.policy.explaining import Explanation, Stated
    from aiverify.policy.values import Place
    from aiverify.report import Outcome

app = typer.Typer(
    cls=QuickGroup,
    name="policy",
    help="Policy files: begin one, check one, and see what one says about an artifact.",
    no_args_is_help=True,
)


class Profile(enum.StrEnum):
    """What holds where a policy says nothing."""

    DEFAULT = "default"
    STRICT = "strict"
    PERMISSIVE = "permissive"


@app.command(cls=QuickCommand)
def init(
    profile: Annotated[Profile, typer.Option(help="What holds where the file says nothing.")] = Profile.DEFAULT,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("aiverify.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a policy file to begin with.

    Exit codes: 0 written, 2 not written.
    """
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said
    from aiverify.errors import UsageError
    from aiverify.files import write_whole
    from aiverify.policy.template import template

    with errors_said():
        if os.path.lexists(output) and not force:
            raise UsageError(f"{output} is there already", hint="Name another file with -o, or write over it: --force")
        write_whole(output, template(profile.value).encode())
        tell(f"{output} written\nCheck it with: aiverify policy check {output}")


@app.command(cls=QuickCommand)
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The policy file, or a pyproject.toml with \\[tool.aiverify].")
    ],
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - the option's name is part of the interface
    offline: options.Offline = False,
) -> None:
    """Check that a policy file is valid, and say what in it does not do what it seems to.

    What it extends is fetched, if it has an address and was not fetched before.

    Exit codes: 0 valid, 2 not valid.
    """
    from aiverify.cli.printing import say, tell
    from aiverify.cli.session import errors_said
    from aiverify.policy import PolicyError, read_policy
    from aiverify.policy.checking import remarks
    from aiverify.policy.kept import from_cache
    from aiverify.policy.reading import table_of
    from aiverify.policy.remote import fetched

    with errors_said():
        try:
            policy = read_policy(file, table=table_of(file), fetch=from_cache if offline else fetched)
        except PolicyError as error:
            if format is options.OutputFormat.HUMAN:
                raise
            tell(json.dumps(_refused(file, error), indent=2))
            raise typer.Exit(2) from None
        found = list(remarks(policy, _today()))
        if format is options.OutputFormat.JSON:
            tell(json.dumps(_accepted(file, policy, found), indent=2))
            return
        for remark in found:
            place = f"{remark.place}: " if remark.place else ""
            say(f"warning: {place}{remark.key}: {remark.message}")
        tell(f"{file}: valid")
        for source in policy.sources[:-1]:
            tell(f"  extends {source.name} (SHA-256 {source.digest})")


@app.command(cls=QuickCommand)
def explain(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="org/name, or a folder or file.", show_default=False)],
    policy: options.Policy = None,
    rule: Annotated[str | None, typer.Option("--rule", help="What it says about this rule, such as AIV302.")] = None,
    format: options.Format = options.OutputFormat.HUMAN,  # noqa: A002 - the option's name is part of the interface
) -> None:
    """Say what would decide about a target, and which line of which file says so.

    Nothing is fetched and nothing is examined; of a file the digest is taken if there are waivers.

    Exit codes: 0 said, 2 there is no valid policy, or no such target or rule.
    """
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said
    from aiverify.configuration import load_policy
    from aiverify.errors import UsageError
    from aiverify.policy.explaining import explained
    from aiverify.rules import rules

    with errors_said():
        if rule is not None and rule.upper() not in rules():
            raise UsageError(f"{rule} is not a rule", hint="`aiverify explain` lists them all.")
        loaded = load_policy([target], explicit=policy)
        said = explained(
            loaded,
            target,
            repo=_repository(target),
            today=_today(),
            sha256=_digest(Path(target)) if loaded.waivers else None,
            rule=rule and rule.upper(),
        )
        if format is options.OutputFormat.JSON:
            tell(json.dumps(_document(said), indent=2))
        else:
            tell("\n".join(_lines(said)))


def _repository(target: str) -> str | None:
    """The repository of the Hub that ``target`` names; ``None`` for what is local. Raises SourceError."""
    from aiverify.sources.interface import HubOptions
    from aiverify.sources.target import open_source

    repo = getattr(open_source(target, HubOptions()), "repo", None)
    return repo if isinstance(repo, str) else None


def _digest(path: Path) -> str | None:
    from aiverify.errors import UsageError

    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


# check


def _refused(file: Path, error: PolicyError) -> dict[str, object]:
    said = {"file": error.source or str(file), "line": error.line, "key": error.key or None, "message": error.problem}
    return {"file": str(file), "valid": False, "digest": None, "sources": [], "errors": [said], "warnings": []}


def _accepted(file: Path, policy: Policy, found: Sequence[Remark]) -> dict[str, object]:
    warnings = [{**_place(remark.place), "key": remark.key, "message": remark.message} for remark in found]
    sources = [{"name": source.name, "digest": source.digest} for source in policy.sources]
    start: dict[str, object] = {"file": str(file), "valid": True, "digest": policy.digest}
    return {**start, "sources": sources, "errors": [], "warnings": warnings}


def _place(place: Place | None) -> dict[str, object]:
    return {"file": place.source if place else None, "line": place.line if place else None}


# explain


def _document(said: Explanation) -> dict[str, object]:
    document: dict[str, object] = {
        "target": said.target,
        "repo": said.repo,
        "sha256": said.sha256,
        "policy": {
            "sources": [{"name": source.name, "digest": source.digest} for source in said.policy.sources],
            "digest": said.policy.digest,
        },
        "settings": [_setting(item) for item in said.settings],
        "effects": {severity.value: outcome.value for severity, outcome in said.effects.items()},
        "signers": [{"expected": str(item.expected), **_place(item.place)} for item in said.signers],
        "attestors": [{"expected": str(item.expected), **_place(item.place)} for item in said.attestors],
        "waivers": [
            {
                "rule": waiver.rule,
                "sha256": waiver.sha256,
                "reason": waiver.reason,
                "expires": waiver.expires.isoformat(),
                "standing": standing.value,
                **_place(waiver.place),
            }
            for waiver, standing in said.waivers
        ],
        "rule": None,
    }
    if said.rule is not None:
        because = _setting(said.rule.because) if said.rule.because else None
        found = {"id": said.rule.rule.id, "severity": said.rule.rule.severity.value}
        document["rule"] = {**found, "outcome": said.rule.outcome.value, "because": because}
    return document


def _setting(item: Stated) -> dict[str, object]:
    return {"key": item.key, "value": item.value, "places": [_place(place) for place in item.places]}


def _lines(said: Explanation) -> Iterator[str]:
    yield f"{said.target}: {f'the repository {said.repo}' if said.repo else 'local'}"
    for source in said.policy.sources:
        yield f"  policy {source.name}"
    if said.rule is not None:
        yield ""
        yield f"{said.rule.rule.id} ({said.rule.rule.severity}): {said.rule.outcome}{_because(said.rule.because)}"
        yield "  A finding may carry another severity than its rule."
    yield "\nSettings"
    for item in said.settings:
        yield f"  {item.key:<18}  {_shown(item.value):<10}  {_where(item.places)}".rstrip()
    yield "\nFindings"
    for outcome, severities in _by_outcome(said.effects).items():
        yield f"  {outcome:<7} {', '.join(severities)}"
    yield "\nSigners"
    for rule in said.signers:
        yield f"  {rule.expected}  {rule.place or ''}".rstrip()
    if not said.signers:
        yield "  nobody in particular"
    if said.waivers:
        yield "\nWaivers"
    for waiver, standing in said.waivers:
        yield f"  {waiver.rule} for {waiver.sha256[:12]}… until {waiver.expires}: {standing}  {waiver.place or ''}"


def _because(setting: Stated | None) -> str:
    if setting is None:
        return ", because no setting asks for more"
    return f", because {setting.key} is {_shown(setting.value)} ({_where(setting.places)})"


def _where(places: Sequence[Place]) -> str:
    return ", ".join(map(str, places)) or "default"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "any" if value is None else str(value)


def _by_outcome(effects: Mapping[Severity, Outcome]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for severity, outcome in effects.items():
        found.setdefault(outcome.value, []).append(severity.value)
    return found
