"""``aiverify explain``: what a rule means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer


def _completions(incomplete: str) -> Iterator[tuple[str, str]]:
    from aiverify.rules import rules

    for rule in rules().values():
        if rule.id.startswith(incomplete.upper()):
            yield rule.id, rule.title


def explain(
    rule: Annotated[
        str | None,
        typer.Argument(
            metavar="[RULE]", help="A rule id such as AIV301; all rules without it.", autocompletion=_completions
        ),
    ] = None,
) -> None:
    """Say what a rule means, why it matters and what to do."""
    from aiverify.cli.printing import tell
    from aiverify.cli.session import errors_said
    from aiverify.errors import UsageError
    from aiverify.rules import rules

    with errors_said():
        if rule is None:
            tell("\n".join(f"{known.id}  {known.severity:<8}  {known.title}" for known in rules().values()))
            return
        found = rules().get(rule.upper())
        if found is None:
            raise UsageError(f"{rule} is not a rule", hint="`aiverify explain` lists them all.")
        tell(f"{found.id}: {found.title}  [{found.severity}]\n\n")
        for head, text in (("What", found.what), ("Why", found.why), ("Fix", found.fix)):
            tell(textwrap.fill(f"{head}: {text}", 100, subsequent_indent="     "))
        tell(f"\n{found.help_url}")
