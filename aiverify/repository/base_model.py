"""The chat template of a model beside that of the model it says it was made from.

A fine-tuned or repacked model usually keeps its base's template; one that says something else to the model can steer
it, and nobody reads templates. The difference is shown, as information: many honest models change theirs.

The base is what the model card states under ``base_model`` (https://huggingface.co/docs/hub/model-cards). Of it only
the files with templates are fetched, at the commit that its main branch has now.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from aiverify.artifact import Fetched
from aiverify.errors import AiverifyError
from aiverify.finding import Finding
from aiverify.repository.subject import Repository, read_bounded
from aiverify.rules import finding
from aiverify.sources.interface import Selection

RULE = "AIV512"
FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json", "additional_chat_templates/*.jinja")
_CARD = "README.md"
_HEADER = re.compile(r"\A---[ \t]*\r?\n(.{0,20000}?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_NAME = r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*"
_BASE = re.compile(
    rf"^base_model:[ \t]*(?:\r?\n[ \t]*-[ \t]*|\[[ \t]*)?[\"']?({_NAME})(?=[\"'\],\s]|$)", re.ASCII | re.MULTILINE
)
_MAX_LINES = 2_000  # difflib needs their square in the worst case
_SHOWN = 4_000

Fetch = Callable[[str, Selection], Fetched]
"""Fetches a selection of another repository's files. Raises SourceError."""


def compared_with_base(repository: Repository, fetch: Fetch) -> list[Finding]:
    """AIV512 for the templates that the base model has otherwise, and for a base that cannot be looked at."""
    base = _base(repository)
    own = _templates({path: part.read() for path, part in repository.parts.items() if _holds_templates(path)})
    if base is None or not own:
        return []
    try:
        fetched = fetch(base, Selection(include=FILES))
    except AiverifyError as error:
        text = f"its chat templates could not be compared with those of {base}: {error}"
        return [finding(RULE, text, file=_CARD, evidence={"base": base})]
    theirs = _templates({file.path: read_bounded(file.location) for file in fetched.files})
    found: list[Finding] = []
    for name, (path, text) in own.items():
        other = theirs.get(name, ("", None))[1]
        if other is None:
            said = f"{base}, from which it was made, has no chat template {name!r}"
        elif other.strip() == text.strip():
            continue
        else:
            said = f"its chat template {name!r} is not that of {base}, from which it was made"
        evidence = {"base": base, "commit": fetched.revision, "difference": _difference(other or "", text)}
        found.append(finding(RULE, said, file=path, evidence=evidence))
    return found


def _base(repository: Repository) -> str | None:
    """The repository that the card names first; not the model's own."""
    card = repository.parts.get(_CARD)
    content = None if card is None else card.read()
    header = None if content is None else _HEADER.match(content.decode("utf-8", "replace"))
    match = None if header is None else _BASE.search(header[1])
    return None if match is None or match[1] == repository.name else match[1]


def _holds_templates(path: str) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in FILES)


def _templates(files: Mapping[str, bytes | None]) -> dict[str, tuple[str, str]]:
    """The templates by their name, each with the file that it stands in; what transformers reads first comes last."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(files, key=lambda path: path.endswith(".jinja")):
        text = (files[path] or b"").decode("utf-8", "replace")
        if path.endswith(".jinja"):
            name = "default" if path == FILES[0] else PurePosixPath(path).stem
            found[name] = (path, text)
        else:
            found |= {name: (path, template) for name, template in _configured(text).items()}
    return found


def _configured(text: str) -> dict[str, str]:
    """The templates in a JSON file: one, or a list of named ones."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    stated = value.get("chat_template") if isinstance(value, dict) else None
    if isinstance(stated, str):
        return {"default": stated}
    entries = stated if isinstance(stated, list) else []
    pairs = [(entry.get("name"), entry.get("template")) for entry in entries if isinstance(entry, dict)]
    return {name: template for name, template in pairs if isinstance(name, str) and isinstance(template, str)}


def _difference(theirs: str, own: str) -> str:
    before, after = theirs.splitlines(), own.splitlines()
    if max(len(before), len(after)) > _MAX_LINES:
        return f"more than {_MAX_LINES} lines"
    lines = "\n".join(difflib.unified_diff(before, after, "base", "this", lineterm="", n=1))
    return lines if len(lines) <= _SHOWN else f"{lines[:_SHOWN]} …"
