"""What people are told to run: commands in texts, cells of notebooks, programs beside them.

These are lines that a person would copy. Nothing of a prose is understood: a command counts by its form.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePosixPath

from aiverify.finding import Finding, Severity
from aiverify.formats.interface import Format
from aiverify.repository.code import describe, source_text, weight
from aiverify.repository.subject import Part, Repository
from aiverify.repository.summaries import MAX_SOURCE, summaries
from aiverify.rules import finding

MAX_REPORTED = 20
_MAX_CELLS = 2_000
_LONGEST_LINE = 2_000
_FETCH = r"(?:curl|wget|iwr|irm|Invoke-WebRequest|Invoke-RestMethod)\b"
#: Python that only reads JSON: `-m json.tool`, and a program on the command line that runs nothing.
_RUNS = r"exec|eval|compile|__|system|popen|spawn|process"
_READS = rf"\s+(?:-m\s+json\.tool\b|-c\s(?=[^\n]*json\.load)(?![^\n]*(?:{_RUNS})))"
_SHELL = (
    r"(?:sudo\s+(?:-\w+\s+)*)?(?:/\w[\w/]{0,30}/)?"
    rf"(?:(?:sh|bash|zsh|dash|ksh|fish|perl|ruby|node|iex|Invoke-Expression)\b|python[\d.]*+(?!{_READS})\b)"
)
_PIPED = re.compile(rf"{_FETCH}[^|\n]{{1,500}}\|\s*{_SHELL}", re.IGNORECASE)
#: Installers that many people are told to use, by the one command that does nothing else.
_KNOWN = re.compile(
    r"curl(?:\s+(?:-[fsSLk]{1,6}|--proto\s+[\"']?=https[\"']?|--tlsv1\.[23]))*\s+"
    r"[\"']?https://(?:ollama\.com/install|ollama\.ai/install|astral\.sh/uv/install|sh\.rustup\.rs|get\.docker\.com)"
    r"(?:\.sh)?[\"']?\s*\|\s*(?:sudo\s+)?(?:ba)?sh"
)
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
#: Programs whose names say nothing: the interpreter before them does.
_INTERPRETED = re.compile(
    r"(?:^|[\s`;&|$>])(?:(?:ba|z|da|k)?sh|perl|ruby|node|php|lua|Rscript|julia)[ \t]+(?:-[\w-]{1,40}[ \t]+){0,4}"
    r"[\"']?(?:\./)?(\w[\w./-]{0,100})",
    re.MULTILINE,
)
_PYTHON = r"(?:^|[\s`;&|$>])(?:python[\d.]*|py|torchrun|deepspeed|accelerate\s+launch|streamlit\s+run|uv\s+run)[ \t]+"
_MODULE = re.compile(_PYTHON + r"(?:-[\w-]{1,40}(?:[ =]\d{1,9})?[ \t]+){0,6}?-m[ \t]+(\w[\w.]{0,100})", re.MULTILINE)
_PROGRAM = re.compile(
    _PYTHON + r"(?:-[\w-]{1,40}(?:[ =]\d{1,9})?[ \t]+){0,6}[\"']?(?:\./|\.\\)?([\w][\w./\\-]{0,100})",
    re.MULTILINE,
)
_INSTALLED = re.compile(
    r"\bpip[\d.]*\s+install\s+(?:-\S{1,40}\s+){0,6}[\"']?((?:\./)?\w[\w./-]{0,100}|\./|\.)(?:\[[\w,-]{0,100}\])?[\"']?(?=\s|$)"
)
_PACKAGE = (".whl", ".tar.gz", ".zip", ".tar.bz2")
_FETCHES = re.compile(rf"\b{_FETCH}", re.IGNORECASE)
_KEPT = re.compile(r"(?:-o|-O|-OutFile|--output(?:-document)?|>)[ =]*[\"']?([\w./~$-]{1,200})", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?|ftp)://[^\s\"'`|;&<>]{3,500}", re.IGNORECASE)
_STARTED = re.compile(
    rf"(?:^|[\s`;&|$>(])(?:(?:{_SHELL}|source|start|chmod\s+\S{{1,10}})\s+[\"']?|(?=[./~$]))([\w./\\~$-]{{1,200}})",
    re.IGNORECASE,
)
_MOST_KEPT = 200
_MOST_COMMANDS = 200


def instructions(repository: Repository) -> Iterator[Finding]:
    """AIV507 for what texts and notebooks ask their readers to run."""
    said: Counter[Severity] = Counter()
    notebooks: list[tuple[Part, str, str]] = []
    for part, text in repository.texts:
        if part.format not in (Format.TEXT, Format.JSON):
            continue
        code = _cells(text) if part.is_notebook else None
        if code is not None:
            notebooks.append((part, *code))
        elif part.format is Format.TEXT:
            for item in _told(part.path, text, repository):
                said[item.severity] += 1
                if said[item.severity] <= MAX_REPORTED:
                    yield item
    for part in repository.of(Format.TEXT, Format.JSON):
        if part.is_read and part.size > part.text_limit:
            text = f"a text of {part.size} bytes, which was not searched for what readers are asked to run"
            yield finding("AIV507", text, file=part.path, severity=Severity.MEDIUM)
    yield from _notebooks(notebooks[:MAX_REPORTED], repository)


def _told(path: str, text: str, repository: Repository) -> Iterator[Finding]:
    """What the commands of one text would do, each kind once."""
    joined = "\n".join(line[:_LONGEST_LINE] for line in text.replace("\\\n", " ").splitlines())
    for pattern, what in (
        (_PIPED, "fetch a program and run it"),
        (_SUBSTITUTED, "fetch a program and run it"),
        (_DECODED, "run a hidden program"),
    ):
        commands = [match[0] for match in islice(pattern.finditer(joined), _MOST_COMMANDS)]
        if commands:
            command = next((item for item in commands if not _KNOWN.fullmatch(item.strip())), commands[0])
            known = len(commands) < _MOST_COMMANDS and _KNOWN.fullmatch(command.strip()) is not None
            severity = Severity.LOW if known else Severity.MEDIUM
            yield _finding(path, f"readers are asked to {what}: {command.strip()[:200]}", severity, command)
            break
    else:
        if (started := _fetched_and_run(joined)) is not None:
            yield _finding(path, "readers are asked to fetch a program and run it", Severity.MEDIUM, started)
    match = _SOURCE.search(joined)
    if match is not None:
        text = f"readers are asked to install a package from {match[1]}"
        yield _finding(path, text, Severity.INFO if "huggingface/" in match[1] else Severity.LOW, match[0])
    installed = _INSTALLED.findall(joined)
    packages = [name for name in installed if name.lower().endswith(_PACKAGE)]
    for place in _present([*_RUN.findall(joined), *_INTERPRETED.findall(joined), *packages], path, repository):
        yield _finding(path, f"readers are asked to run {place}, which comes with the artifact", Severity.MEDIUM, place)
    setups = [str(PurePosixPath(name) / "setup.py") for name in installed]
    programs = _present([*setups, *_python(joined)], path, repository)
    sources = [source_text(repository.parts[place].read(MAX_SOURCE) or b"\xff") for place in programs]
    for place, summary in zip(programs, summaries(sources) if sources else [], strict=True):
        text = f"readers are asked to run {place}, which comes with the artifact: {describe(summary)}"[:1000]
        yield _finding(path, text, Severity.MEDIUM if weight(summary) is Severity.HIGH else Severity.LOW, place)


def _python(text: str) -> Iterator[str]:
    """The files that ``python NAME`` and ``python -m NAME`` may run."""
    for name in _PROGRAM.findall(text):
        yield from (name, f"{name.rstrip('/')}/__main__.py")
    for name in _MODULE.findall(text):
        place = name.replace(".", "/")
        yield from (f"{place}.py", f"{place}/__main__.py")


def _present(names: Iterable[str], path: str, repository: Repository) -> list[str]:
    """The files of the artifact that ``names`` in the file ``path`` mean, as many as are reported."""
    folder = PurePosixPath(path).parent
    pairs = ((str(folder / name), name) for name in dict.fromkeys(name.replace("\\", "/") for name in names))
    found = (next((place for place in pair if place in repository.parts), None) for pair in pairs)
    return list(islice(dict.fromkeys(place for place in found if place is not None), MAX_REPORTED))


def _fetched_and_run(text: str) -> str | None:
    """The command that runs what one before it, or on its line, fetched into a file; ``None`` if there is none."""
    kept: set[str] = set()
    for line in text.splitlines():
        if _FETCHES.search(line) and len(kept) < _MOST_KEPT:
            kept.update(_own_name(place) for place in _KEPT.findall(line))
            kept.update(_own_name(address.partition("?")[0]) for address in _ADDRESS.findall(line))
            kept.discard("")
        started = next((found for found in _STARTED.finditer(line) if _own_name(found[1]) in kept), None)
        if started is not None:
            return started[0]
    return None


def _own_name(place: str) -> str:
    return place.replace("\\", "/").rpartition("/")[2]


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
