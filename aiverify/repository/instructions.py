"""What people are told to run: commands in texts, cells of notebooks, programs beside them.

These are lines that a person would copy. Nothing of a prose is understood: a command counts by its form.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from aiverify.finding import Finding, Severity
from aiverify.formats.interface import Format
from aiverify.repository.code import describe, weight
from aiverify.repository.subject import Part, Repository
from aiverify.repository.summaries import summaries
from aiverify.rules import finding

MAX_REPORTED = 20
_MAX_CELLS = 2_000
_LONGEST_LINE = 2_000
_FETCH = r"(?:curl|wget|iwr|irm|Invoke-WebRequest|Invoke-RestMethod)\b"
_SHELL = (
    r"(?:sudo\s+(?:-\w+\s+)*)?(?:/\w[\w/]{0,30}/)?"
    r"(?:sh|bash|zsh|dash|ksh|fish|python[\d.]*|perl|ruby|node|iex|Invoke-Expression)\b"
)
_PIPED = re.compile(rf"{_FETCH}[^|\n]{{1,500}}\|\s*{_SHELL}", re.IGNORECASE)
_SUBSTITUTED = re.compile(rf"(?:\b(?:ba|z)?sh\s+-c\s+[\"']?|\beval\s+[\"']?|<|iex\s*)\$?\(+\s*{_FETCH}", re.IGNORECASE)
_DECODED = re.compile(
    rf"\bbase64\s+(?:-d|-D|--decode)\b[^|\n]{{0,200}}\|\s*{_SHELL}|powershell\S*\s[^\n]{{0,80}}-e(?:nc\w*)?\s+[A-Za-z0-9+/=]{{40}}",
    re.IGNORECASE,
)
_SOURCE = re.compile(
    r"\bpip[\d.]*\s+install\s[^\n]{0,200}?((?:git|hg|svn|bzr)\+[^\s\"'`]{5,200}|https?://[^\s\"'`]{5,200}\.(?:whl|zip|tar\.gz)\b)"
)
_RUN = re.compile(
    r"(?:^|[\s`;&|$>])(?:(?:sudo\s+)?(?:ba|z)?sh\s+|chmod\s+\S{1,10}\s+|start\s+|source\s+|powershell\S*\s(?:-\S+\s){0,4}|\./|\.\\)"
    r"[\"']?(?:\./|\.\\)?([\w][\w./\\-]{0,100}\.(?:sh|bat|cmd|ps1|exe|vbs|command|run|bin|AppImage|msi|dmg|pkg))\b",
    re.MULTILINE,
)


def instructions(repository: Repository) -> Iterator[Finding]:
    """AIV507 for what texts and notebooks ask their readers to run."""
    said: Counter[Severity] = Counter()
    notebooks: list[tuple[Part, str, str]] = []
    for part, text in repository.texts:
        if part.format not in (Format.TEXT, Format.JSON):
            continue
        code = _cells(text) if part.path.lower().endswith(".ipynb") else None
        if code is not None:
            notebooks.append((part, *code))
        elif part.format is Format.TEXT:
            for item in _told(part.path, text, repository):
                said[item.severity] += 1
                if said[item.severity] <= MAX_REPORTED:
                    yield item
    yield from _notebooks(notebooks[:MAX_REPORTED], repository)


def _told(path: str, text: str, repository: Repository) -> Iterator[Finding]:
    """What the commands of one text would do, each kind once."""
    joined = "\n".join(line[:_LONGEST_LINE] for line in text.replace("\\\n", " ").splitlines())
    for pattern, what in (
        (_PIPED, "fetch a program and run it"),
        (_SUBSTITUTED, "fetch a program and run it"),
        (_DECODED, "run a hidden program"),
    ):
        match = pattern.search(joined)
        if match is not None:
            yield _finding(path, f"readers are asked to {what}: {match[0].strip()[:200]}", Severity.MEDIUM, match[0])
            break
    match = _SOURCE.search(joined)
    if match is not None:
        text = f"readers are asked to install a package from {match[1]}"
        yield _finding(path, text, Severity.INFO if "huggingface/" in match[1] else Severity.LOW, match[0])
    folder = PurePosixPath(path).parent
    names = dict.fromkeys(name.replace("\\", "/") for name in _RUN.findall(joined))
    for name in list(names)[:MAX_REPORTED]:
        found = next((place for place in (str(folder / name), name) if place in repository.parts), None)
        if found is not None:
            yield _finding(
                path, f"readers are asked to run {found}, which comes with the artifact", Severity.MEDIUM, name
            )


def _finding(path: str, text: str, severity: Severity, command: str) -> Finding:
    return finding("AIV507", text, file=path, severity=severity, evidence={"command": command.strip()[:300]})


def _cells(text: str) -> tuple[str, str] | None:
    """The Python of a notebook's cells, and its shell lines; ``None`` if it is no notebook."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    cells = value.get("cells") if isinstance(value, dict) else None
    if not isinstance(cells, list):
        return None
    python: list[str] = []
    shell: list[str] = []
    for cell in cells[:_MAX_CELLS]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source")
        source = "".join(item for item in source if isinstance(item, str)) if isinstance(source, list) else source
        if not isinstance(source, str):
            continue
        if source.lstrip().startswith("%%"):
            shell += source.splitlines()[1:]
            continue
        for line in source.splitlines():
            command = line.lstrip()
            if command.startswith(("!", "%")):
                shell.append(command.lstrip("!%"))
                python.append(line[: len(line) - len(command)] + "pass")
            else:
                python.append(line)
    return "\n".join(python), "\n".join(shell)


def _notebooks(notebooks: list[tuple[Part, str, str]], repository: Repository) -> Iterator[Finding]:
    told = summaries([python for _, python, _ in notebooks]) if notebooks else []
    for (part, _, shell), summary in zip(notebooks, told, strict=True):
        graver = list(_told(part.path, shell, repository))
        yield from graver
        grave = bool(summary.does.get("process")) and weight(summary) is Severity.HIGH
        text = f"a notebook; its code {describe(summary)}"[:1000]
        severity = Severity.LOW if grave or summary.does or summary.error else Severity.INFO
        yield finding("AIV507", text, file=part.path, severity=severity)
