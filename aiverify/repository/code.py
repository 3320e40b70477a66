"""Python that the configuration leads to: which files, what they could do, and what they bring along.

Rules it keeps:

1. A file is reached if a key of a configuration names it, if a loader looks for it under its name, or if a file that is
   reached imports it.
2. What is reached is pinned by its digest and summarised from its syntax tree. It is graver when something happens on
   import, when it starts processes or runs text as code, or when it cannot be read.
3. A name that leads to no file here leads elsewhere, and the finding about the key says so.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from aiverify.finding import Finding, Severity
from aiverify.formats.interface import Format
from aiverify.repository.subject import Part, Repository
from aiverify.repository.summaries import MAX_SOURCE, Summary, summaries
from aiverify.rules import finding

_MAX_FILES = 300
_MAX_BYTES = 32 << 20
_GRAVE = frozenset(("process",))
_GRAVE_ON_IMPORT = frozenset(("network", "process", "dynamic", "native", "writes"))
#: What loaders run under its name alone. Source: transformers/generation/utils.py, load_custom_generate
_LOOKED_FOR = {
    "custom_generate/generate.py": "transformers takes it for its own generation where remote code is trusted"
}
_COOKIE = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_READ_AS_IS = frozenset(("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii"))
_WORDS = {
    "network": "uses the network",
    "process": "starts processes",
    "writes": "writes files",
    "reads": "reads files",
    "dynamic": "runs code made at run time",
    "native": "loads native code",
}


@dataclass(frozen=True, slots=True)
class _Read:
    """A source, its summary, and its SHA-256."""

    summary: Summary
    sha256: str | None


def reached(repository: Repository, findings: Sequence[Finding]) -> list[Finding]:
    """``findings`` with what is known of the code that they lead to, in place of AIV502 for the files reached."""
    references = [
        (item, str(name)) for item in findings if item.rule == "AIV501" for name in _names(item.evidence.get("code"))
    ]
    entries = {
        path: why for path, why in _LOOKED_FOR.items() if path in repository.parts and repository.parts[path].size
    }
    if not references and not entries:
        return list(findings)
    sources = _sources(repository)
    depth = max((path.count("/") + 1 for path in repository.parts), default=0)
    elsewhere: dict[int, str] = {}
    for item, name in references:
        owner, _, dotted = name.rpartition("--")
        path = None if owner and owner != repository.name else _file(dotted, item.file or "", repository, depth)
        if path is not None:
            entries.setdefault(path, f"{item.file} names it")
        elif owner:
            elsewhere[id(item)] = owner
    known = _followed(entries, sources, repository)
    kept = [item for item in findings if not (item.rule == "AIV502" and item.file in known)]
    made = [
        replace(
            item, message=f"{item.message}; it is in {elsewhere[id(item)]}, at whatever commit that has when loaded"
        )
        if id(item) in elsewhere
        else item
        for item in kept
    ]
    return made + [_judged(path, why, sources.get(path)) for path, why in sorted(known.items())]


def describe(summary: Summary) -> str:
    """What a summary says, as the end of a sentence that begins with the file."""
    if summary.error is not None:
        return f"cannot be read as Python: {summary.error}"
    said = [f"on import it {_WORDS[kind]}: {', '.join(told[:3])}" for kind, told in summary.at_import.items()]
    rest = {kind: told for kind, told in summary.does.items() if kind not in summary.at_import}
    said += [f"it {_WORDS[kind]}: {', '.join(told[:3])}" for kind, told in rest.items()]
    return "; ".join(said) or "nothing that reaches outside was seen in it"


def weight(summary: Summary) -> Severity:
    """How grave it is that a loader would import this."""
    grave = summary.error is not None or _GRAVE & set(summary.does) or _GRAVE_ON_IMPORT & set(summary.at_import)
    return Severity.HIGH if grave else Severity.MEDIUM


def source_text(content: bytes) -> str:
    """The text as Python would decode it where that is UTF-8; else something that is no Python.

    Another encoding may make code of a comment: that of the first two lines is asked, as Python does (PEP 263).
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "? not UTF-8"
    named = next(
        (found[1].lower().replace("_", "-") for found in map(_COOKIE.match, _first_lines(text)) if found), None
    )
    return text if named in (None, *_READ_AS_IS) else f"? in {named}, not UTF-8"


def _first_lines(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text, maxsplit=2)[:2]


def _names(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _sources(repository: Repository) -> dict[str, _Read]:
    """Every Python file of the artifact, as far as the limits reach."""
    parts: list[tuple[Part, bytes]] = []
    total = 0
    for part in repository.of(Format.PYTHON, Format.TEXT, Format.EMPTY):
        if part.path.endswith(".py") and len(parts) < _MAX_FILES and part.size <= MAX_SOURCE and total <= _MAX_BYTES:
            content = part.read(MAX_SOURCE)
            if content is not None:
                parts.append((part, content))
                total += len(content)
    told = summaries([source_text(content) for _, content in parts])
    return {
        part.path: _Read(summary, hashlib.sha256(content).hexdigest())
        for (part, content), summary in zip(parts, told, strict=True)
    }


def _file(dotted: str, named_by: str, repository: Repository, depth: int) -> str | None:
    """The file that a path or a dotted name leads to from the folder of the file that names it, or from the top.

    ``depth`` is how many names the longest path of the artifact has: no longer part of a name leads to a file.
    """
    parts = dotted.split(".")[:depth]
    parts = parts[: parts.index("")] if "" in parts else parts
    above = PurePosixPath(named_by).parent
    for folder in dict.fromkeys(("" if above.name == "" else f"{above}/", "")):
        if (path := posixpath.normpath(folder + dotted)) in repository.parts and path.endswith(".py"):
            return path
        for length in range(len(parts), 0, -1):
            place = folder + "/".join(parts[:length])
            for path in (f"{place}.py", f"{place}/__init__.py", f"{place}/{parts[0]}.py"):
                if path in repository.parts:
                    return path
    return None


def _followed(entries: Mapping[str, str], sources: Mapping[str, _Read], repository: Repository) -> dict[str, str]:
    """Every file reached from ``entries``, and why."""
    known = dict(entries)
    pending = list(entries)
    while pending:
        path = pending.pop()
        read = sources.get(path)
        for imported in _imported(path, read.summary if read else Summary(), repository):
            if imported not in known:
                known[imported] = f"{path} imports it"
                pending.append(imported)
    return known


def _imported(path: str, summary: Summary, repository: Repository) -> Iterator[str]:
    """The files of the artifact that a source imports, by relative names or as neighbours."""
    for level, module, names in summary.imports:
        folder = PurePosixPath(path).parent
        for _ in range(min(level, 20) - 1):
            folder = folder.parent
        base = folder.joinpath(*module.split(".")) if module else folder
        for place in (base, *(base / name for name in names if name.isidentifier())):
            for candidate in (f"{place}.py", f"{place}/__init__.py"):
                if candidate in repository.parts:
                    yield candidate


def _judged(path: str, why: str, read: _Read | None) -> Finding:
    if read is None:
        text = f"code that a loader would run ({why}); it is too large, one of too many, or no text, and was not read"
        return finding("AIV501", text, file=path, severity=Severity.HIGH)
    summary = read.summary
    evidence = {
        "sha256": read.sha256,
        "does": {kind: list(told) for kind, told in summary.does.items()},
        "at_import": {kind: list(told) for kind, told in summary.at_import.items()},
    }
    text = f"code that a loader would run ({why}): {describe(summary)}"[:1000]
    return finding("AIV501", text, file=path, severity=weight(summary), evidence=evidence)
