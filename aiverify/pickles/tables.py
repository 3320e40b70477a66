"""The tables of trusted and of dangerous globals, read from ``data/``.

``trusted.toml`` decides: default deny, by use. ``dangerous.toml`` explains: it turns an unknown name into a known
danger.
"""

from __future__ import annotations

import enum
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from aiverify.pickles.graph import Global


class Use(enum.StrEnum):
    """What a stream does with a global."""

    REFERENCE = "reference"
    NEW = "new"
    CONSTRUCT = "construct"
    BUILD = "build"
    FILL = "fill"
    HASH = "hash"
    ARGUMENT = "argument"
    PERSISTENT = "persistent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one trusted global may be used for. Rules are named as in ``arguments.py``."""

    uses: frozenset[Use]
    arguments: str | None = None
    state: str | None = None
    keys: frozenset[str] = frozenset()
    reason: str
    source: str


# Attribute names through which a dotted name leaves the module it begins in.
_WAY_OUT = frozenset(
    (
        *("os", "posix", "nt", "sys", "subprocess", "builtins", "importlib", "ctypes"),
        *("socket", "shutil", "pty", "runpy", "pickle", "marshal", "types"),
    )
)


@functools.cache
def trusted() -> Mapping[str, Entry]:
    """Every trusted global, by its dotted name."""
    table: dict[str, Entry] = {}
    for raw in _load("trusted.toml")["entry"]:
        entry = Entry(
            uses=frozenset(map(Use, raw["uses"])),
            arguments=raw.get("arguments"),
            state=raw.get("state"),
            keys=frozenset(raw.get("keys", ())),
            reason=raw["reason"],
            source=raw["source"],
        )
        for name in raw["names"]:
            if name in table:
                raise ValueError(f"trusted.toml names {name} twice")
            table[name] = entry
    return table


def danger(found: Global) -> str | None:
    """What ``found`` is known to be able to do, as the end of the sentence "it …"; ``None`` when nothing is known.

    Both the name as written and the name that Python 3 makes of it are looked up. A dotted name that passes through a
    module or a special attribute is dangerous whatever it ends in.
    """
    modules, names, deepest = _dangers()
    candidates = [found.written]
    if found.module is not None:
        candidates.append((found.module, found.name))
    for module, name in candidates:
        dotted = f"{module}.{name}"
        if dotted in names:
            return names[dotted]
        parts = dotted.split(".", deepest)
        for length in range(min(len(parts), deepest), 0, -1):
            effect = modules.get(".".join(parts[:length]))
            if effect is not None:
                return effect
        steps = name.split(".")
        if any(step.startswith("__") and step.endswith("__") for step in steps):
            return "reaches for the interpreter's internals"
        if any(step in _WAY_OUT for step in steps):
            return "reaches another module through this one"
    return None


@functools.cache
def _dangers() -> tuple[Mapping[str, str], Mapping[str, str], int]:
    """Effects by module, effects by name, and the number of parts of the longest module name."""
    modules: dict[str, str] = {}
    names: dict[str, str] = {}
    for raw in _load("dangerous.toml")["danger"]:
        modules.update(dict.fromkeys(raw.get("modules", ()), raw["effect"]))
        names.update(dict.fromkeys(raw.get("names", ()), raw["effect"]))
    return modules, names, max(name.count(".") + 1 for name in modules)


def _load(name: str) -> dict[str, list[dict[str, str]]]:
    return tomllib.loads(resources.files("aiverify.pickles").joinpath("data", name).read_text("utf-8"))
