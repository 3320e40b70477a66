"""Write the pages that say what the program says: commands, rules, and the list of decisions.

``python docs/generate.py`` writes them; ``pages()`` gives them as values, so that a test can tell when they are stale.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

import aiverify
from aiverify.arguments import Shared, Trusting
from aiverify.cli.app import app
from aiverify.report import Outcome
from aiverify.reporters.html import HtmlReporter
from aiverify.reporters.reading import load_all
from aiverify.rules import Rule, rules

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py. Do not edit. -->\n"
FAMILIES = {
    "1": "Integrity",
    "2": "Signatures",
    "3": "Pickles",
    "4": "Other formats and containers",
    "5": "Configuration and code",
    "6": "Repositories",
    "7": "Loader advisories",
}


def pages() -> dict[str, str]:
    """Every generated page: its path below ``docs/`` and its text."""
    made = {"reference/commands.md": commands(), "rules/index.md": rule_index(), "decisions/index.md": decisions()}
    made["report-example.html"] = report_example()
    made["reference/python.md"] = python()
    return made | {f"rules/{rule.id}.md": rule_page(rule) for rule in rules().values()}


def main() -> None:
    """Write what differs, and remove pages of rules that are gone."""
    made = pages()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for path in (DOCS / "rules").glob("AIV*.md"):
        if f"rules/{path.name}" not in made:
            path.unlink()


# Rules


def rule_page(rule: Rule) -> str:
    """The page of one rule."""
    return "\n".join(
        (
            f"# {rule.id}: {rule.title}\n",
            NOTE,
            f"Severity: **{rule.severity}**, unless the finding says otherwise."
            " What a severity does to the verdict is said in [Verdicts](../verdicts.md).\n",
            f"## What was seen\n\n{rule.what}\n",
            f"## Why it matters\n\n{rule.why}\n",
            f"## What to do\n\n{rule.fix}\n",
            f"In a terminal: `aiverify explain {rule.id}`. All rules: [Rules](index.md).\n",
        )
    )


def rule_index() -> str:
    """The list of all rules."""
    lines = ["# Rules\n", NOTE]
    lines.append(
        "Every finding names a rule. The ids are stable. The severity is the rule's own; a single finding may carry"
        " another one, with the reason in its message.\n"
    )
    family = None
    for rule in rules().values():
        if family != rule.id[3]:
            family = rule.id[3]
            lines.append(f"\n## {FAMILIES[family]}\n\n| rule | title | severity |\n|---|---|---|")
        lines.append(f"| [{rule.id}]({rule.id}.md) | {rule.title} | {rule.severity} |")
    return "\n".join(lines) + "\n"


# Decisions


def decisions() -> str:
    """The list of decision records, by their first lines."""
    lines = ["# Decisions\n", NOTE, "Each record says what was decided, why, and what follows from it.\n"]
    for path in sorted((DOCS / "decisions").glob("0*.md")):
        title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


# The example of a report


def report_example() -> str:
    """The saved report ``report-example.json`` as a page."""
    return HtmlReporter().render(load_all(Path(__file__).with_name("report-example.json").read_bytes()))


# Python


def python() -> str:
    """The reference of the package's public names, from their signatures and docstrings."""
    lines = ["# Python reference\n", NOTE]
    lines.append("What `aiverify` exports, and nothing else, is public. Examples are in [Python](../python-api.md).\n")
    for name in sorted(set(aiverify.__all__) - {"__version__"}, key=str.lower):
        item = getattr(importlib.import_module(aiverify._HOMES[name]), name)  # two packages have a function's name
        lines += _class(item) if name[0].isupper() else _function(f"aiverify.{name}", item, "##")
    for item in (Shared, Trusting):
        lines += [f"## aiverify.arguments.{item.__name__}\n", f"{inspect.getdoc(item)}\n"]
    return "\n".join(lines).rstrip() + "\n"


def _class(item: type) -> Iterator[str]:
    yield f"## aiverify.{item.__name__}\n"
    yield f"{inspect.getdoc(item)}\n"
    if issubclass(item, enum.Enum):
        yield f"Values: {', '.join(f'`{member.name}`' for member in item)}.\n"
    if dataclasses.is_dataclass(item):
        yield "| field | type | default |\n|---|---|---|"
        for field in dataclasses.fields(item):
            default = "" if field.default is dataclasses.MISSING else f"`{_value(field.default)}`"
            yield f"| `{field.name}` | `{_cell(str(field.type))}` | {default} |"
        yield ""
    for name, value in vars(item).items():
        if name.startswith("_") or not inspect.getdoc(value):
            continue
        if isinstance(value, property):
            yield f"### {item.__name__}.{name}\n\n{inspect.getdoc(value)}\n"
        elif inspect.isfunction(value):
            yield from _function(f"{item.__name__}.{name}", value, "###")


def _function(name: str, function: Any, level: str) -> Iterator[str]:
    signature = inspect.signature(function)
    lines = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in lines:
            lines.append("*")
        shared = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
        if shared:
            fields = function.__globals__[shared[1]].__annotations__
            lines += [f"{field}: {kind.__forward_arg__} = …" for field, kind in fields.items()]
        elif parameter.name != "self":
            default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
            lines.append(
                f"{parameter.name}: {getattr(parameter.annotation, '__name__', parameter.annotation)}{default}"
            )
    body = "".join(f"\n    {line}," for line in lines)
    yield f"{level} {name}\n"
    result = signature.return_annotation
    returned = "" if result is signature.empty else f" -> {getattr(result, '__name__', result)}"
    yield f"```text\n{name}({body}\n){returned}\n```\n".replace("(\n)", "()")
    yield f"{inspect.getdoc(function)}\n"


def _value(value: object) -> str:
    return repr(value.value) if isinstance(value, enum.Enum) else repr(value)


# Commands


def commands() -> str:
    """The reference of the command line, from the program's own definitions."""
    root: Any = typer.main.get_command(app)
    lines = ["# Commands\n", NOTE, f"{_sentence(root.help)}\n", "## Exit codes\n", *_exit_codes(), ""]
    lines += [*_section("aiverify", root), ""]
    for name, command in _commands(root):
        lines += [*_section(f"aiverify {name}", command), ""]
    lines += _environment(root)
    return "\n".join(lines) + "\n"


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its full name; those of a group after the group."""
    for name, command in group.commands.items():
        yield prefix + name, command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")


def _exit_codes() -> Iterator[str]:
    yield "| verdict | exit code |"
    yield "|---|---|"
    for outcome in Outcome:
        yield f"| `{outcome}` | {outcome.exit_code} |"
    yield "\nA usage error, or a failure of aiverify itself, is 2 as well. Several targets: the gravest verdict counts."


def _section(name: str, command: Any) -> Iterator[str]:
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option"]
    usage = " ".join([name, "[OPTIONS]", *(_argument(item) for item in arguments)])
    yield f"## {name}\n"
    yield f"```text\n{usage}\n```\n"
    yield f"{_sentence(command.help)}\n"
    if arguments:
        yield "| argument | meaning |"
        yield "|---|---|"
        for item in arguments:
            yield f"| `{_argument(item)}` | {_cell(_help(item))} |"
        yield ""
    yield "| option | meaning | environment |"
    yield "|---|---|---|"
    for item in options:
        if item.name not in ("install_completion", "show_completion"):
            yield f"| {_names(item)} | {_meaning(item)} | {_variable(item)} |"
    yield "| `--help`, `-h` | Show the help and exit. | |"


def _argument(item: Any) -> str:
    return str(item.metavar)


def _help(item: Any) -> str:
    """The help text as it is shown: a bracket that begins no markup stands behind a backslash."""
    return (item.help or "").replace("\\[", "[")


def _names(item: Any) -> str:
    return ", ".join(f"`{name}`" for name in item.opts)


def _meaning(item: Any) -> str:
    text = _cell(_help(item))
    if isinstance(item.default, enum.Enum):
        text += f" One of {', '.join(f'`{choice.value}`' for choice in type(item.default))}."
        text += f" Default: `{item.default.value}`."
    return text


def _variable(item: Any) -> str:
    return f"`{item.envvar}`" if item.envvar else ""


def _environment(root: Any) -> Iterator[str]:
    yield "## Environment\n"
    yield "| variable | meaning |"
    yield "|---|---|"
    found: dict[str, str] = {}
    for _, command in _commands(root):
        for item in command.params:
            if item.envvar:
                found[item.envvar] = f"The same as `{item.opts[0]}`."
    for name, text in sorted((found | dict(ENVIRONMENT)).items()):
        yield f"| `{name}` | {text} |"


# What is read from the environment without an option that says so.
ENVIRONMENT: Mapping[str, str] = {
    "AIVERIFY_DEBUG": "When set, a failure of aiverify itself shows where it happened.",
    "AIVERIFY_POLICY": "A policy file on top of the one that is found. It may only tighten; `--policy` overrides it.",
    "AIVERIFY_REQUIRE_SIGNATURE": "`1`, `true`, `yes` or `on`: the same as `--require-signature`.",
    "HF_*": "The Hub client's own variables (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_CACHE`, …) keep their meaning.",
    "NO_COLOR": "When set and not empty: no colour.",
}


def _sentence(text: str | None) -> str:
    """A help text as one paragraph per paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", (text or "").strip()))


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    main()
