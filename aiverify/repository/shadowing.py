"""Python files that would be imported in place of a library, by whoever works in their folder.

Python looks for modules in the folder of the program first, and in the working directory for ``python -m``, ``-c`` and
the prompt. A folder is a module only if it has an ``__init__``; without one, a library of the same name wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from aiverify.finding import Finding
from aiverify.repository.subject import Repository
from aiverify.repository.words import words
from aiverify.rules import finding

# What the import system takes for a module: source, bytecode, and extensions with their tags.
_MODULE = re.compile(r"(?P<name>[A-Za-z_]\w*)\.(?:pyc?|pyw|(?:[\w-]+\.)*(?:so|pyd))")


def shadowing(repository: Repository, named: Iterable[str] = ()) -> Iterator[Finding]:
    """AIV506 for each; ``named`` are top-level modules that pickles of the artifact name."""
    library, by_pickles = words("loader_modules"), frozenset(named) - {"__main__", "model", "models"}
    roots = repository.roots
    said: set[str] = set()
    for path in repository.parts:
        found = _module(path, roots)
        if found is None or found[1] in said:
            continue
        name, place = found
        if name in library:
            text = f"imported in place of {name}, which loaders import, by whatever Python runs in this folder"
        elif name in by_pickles:
            text = f"imported as {name}, which a pickle of this artifact names, by whoever loads it in this folder"
        else:
            continue
        said.add(place)
        yield finding("AIV506", text, file=path, evidence={"module": name})


def _module(path: str, roots: frozenset[str]) -> tuple[str, str] | None:
    """The module that a file is, or that its folder is because of it, where a root holds it; and its place."""
    file = PurePosixPath(path)
    match = _MODULE.fullmatch(file.name)
    if match is None:
        return None
    if match["name"] == "__init__":
        folder = file.parent
        return (folder.name, str(folder)) if str(folder) != "." and str(folder.parent) in roots else None
    return (match["name"], path) if str(file.parent) in roots else None
