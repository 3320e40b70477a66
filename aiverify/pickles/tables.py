"""The tables of trusted and of dangerous globals, read from ``data/``.

``trusted/`` decides: default deny, by use. It has a file for each large library, read when a name of it is met.
``dangerous.toml`` explains: it turns an unknown name into a known danger.
"""

from __future__ import annotations

import enum
import functools
import itertools
import tomllib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiverify.pickles.graph import Global


class Use(enum.StrEnum):
    """What a stream does with a global."""

    REFERENCE = "reference"
    NEW = "new"
    CONSTRUCT = "construct"
    BUILD = "build"
    FILL = "fill"
    EXTEND = "extend"
    HASH = "hash"
    ARGUMENT = "argument"
    PERSISTENT = "persistent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one trusted global may be used for.

    ``arguments`` and ``state`` each name a rule of ``arguments.py``, or list signatures (``signatures.py``). ``keys``
    are the attribute names that a state may set, ``holds`` what some of them must hold. ``items`` are the kinds of the
    keys and of the values that ``fill`` may set. ``group`` is a name under which signatures speak of the entry;
    ``native`` says what native code reads out of the state, if it does; ``positions`` names a rule of ``positions.py``.
    """

    uses: frozenset[Use]
    arguments: str | tuple[str, ...] | None = None
    state: str | tuple[str, ...] | None = None
    keys: frozenset[str] = frozenset()
    holds: Mapping[str, str] = field(default_factory=dict)
    items: tuple[str, str] | None = None
    group: str | None = None
    native: str | None = None
    positions: str | None = None
    reason: str
    source: str


#: The files of the trusted table, without their suffix.
FILES = ("python", "torch", "numpy", "scipy", "pandas", "sklearn", "libraries")
_LIBRARIES = (
    *("accelerate", "joblib", "lightgbm", "lightning", "lightning_fabric", "pytorch_lightning", "pytz"),
    *("transformers", "xgboost"),
)
_FILE_OF = {**{file: file for file in FILES}, **dict.fromkeys(_LIBRARIES, "libraries")}

# Attribute names through which a dotted name leaves the module it begins in.
_WAY_OUT = frozenset(
    (
        *("os", "posix", "nt", "sys", "subprocess", "builtins", "importlib", "ctypes"),
        *("socket", "shutil", "pty", "runpy", "pickle", "marshal", "types"),
    )
)

# Names that look like special attributes, and are functions through which picklers create objects.
_CREATORS = frozenset(("copyreg.__newobj__", "copyreg.__newobj_ex__"))


class _Trusted(Mapping[str, Entry]):
    """The table of all files; a file is read when a name of its libraries is looked up."""

    def __getitem__(self, name: str) -> Entry:
        return _entries(_file_of(name))[name]

    def get(self, name: str, default: Any = None) -> Any:
        return _entries(_file_of(name)).get(name, default)

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(map(_entries, FILES))

    def __len__(self) -> int:
        return sum(len(_entries(file)) for file in FILES)


_TRUSTED = _Trusted()


def trusted() -> Mapping[str, Entry]:
    """Every trusted global, by its dotted name; a name inside of a class is written ``module:Class.name``."""
    return _TRUSTED


def _file_of(name: str) -> str:
    package = name.partition(":")[0].partition(".")[0]
    return _FILE_OF.get(package, "python")


@functools.cache
def _entries(file: str) -> Mapping[str, Entry]:
    table: dict[str, Entry] = {}
    for raw in _load(f"trusted/{file}.toml")["entry"]:
        entry = Entry(
            uses=frozenset(map(Use, raw["uses"])),
            arguments=_rule(raw.get("arguments")),
            state=_rule(raw.get("state")),
            keys=frozenset(raw.get("keys", ())),
            holds=raw.get("holds", {}),
            items=(raw["items"]["keys"], raw["items"]["values"]) if "items" in raw else None,
            group=raw.get("group"),
            native=raw.get("native"),
            positions=raw.get("positions"),
            reason=raw["reason"],
            source=raw["source"],
        )
        for name in names_of(raw):
            if name in table:
                raise ValueError(f"{file}.toml names {name} twice")
            if _file_of(name) != file:
                raise ValueError(f"{file}.toml is no place for {name}")
            table[name] = entry
    return table


def names_of(raw: Mapping[str, Any]) -> list[str]:
    """The names of one raw entry, in the form of the keys of ``trusted()``.

    An entry lists them whole, or as a table of modules and what they hold.
    """
    names = raw["names"]
    if isinstance(names, list):
        return names
    return [f"{module}{':' if '.' in name else '.'}{name}" for module, inside in names.items() for name in inside]


def entry_of(found: Global) -> Entry | None:
    """The entry of ``found``. A name with a dot walks through attributes: it is trusted only if it says so itself."""
    if ":" in (found.module or ""):
        return None  # a file may be called so, and imported
    return trusted().get(f"{found.module}:{found.name}" if "." in found.name else found.dotted)


def _rule(raw: str | list[str] | None) -> str | tuple[str, ...] | None:
    return tuple(raw) if isinstance(raw, list) else raw


def danger(found: Global) -> str | None:
    """What ``found`` is known to be able to do, as the end of the sentence "it …"; ``None`` when nothing is known.

    Both the name as written and the name that Python 3 makes of it are looked up. A dotted name that passes through a
    module or a special attribute is dangerous whatever it ends in.
    """
    modules, names, harmless, deepest = _dangers()
    candidates = [found.written]
    if found.module is not None:
        candidates.append((found.module, found.name))
    for module, name in candidates:
        dotted = f"{module}.{name}"
        if dotted in names:
            return names[dotted]
        if dotted in harmless:
            continue
        parts = dotted.split(".", deepest)
        for length in range(min(len(parts), deepest), 0, -1):
            effect = modules.get(".".join(parts[:length]))
            if effect is not None:
                return effect
        steps = name.split(".")
        special = any(step.startswith("__") and step.endswith("__") for step in steps)
        if special and found.dotted not in _CREATORS:
            return "reaches for the interpreter's internals"
        if any(step in _WAY_OUT for step in steps):
            return "reaches another module through this one"
    return None


@functools.cache
def _dangers() -> tuple[Mapping[str, str], Mapping[str, str], Set[str], int]:
    """Effects by module, effects by name, harmless names, and the number of parts of the longest module name."""
    modules: dict[str, str] = {}
    names: dict[str, str] = {}
    table = _load("dangerous.toml")
    for raw in table["danger"]:
        modules.update(dict.fromkeys(raw.get("modules", ()), raw["effect"]))
        names.update(dict.fromkeys(raw.get("names", ()), raw["effect"]))
    harmless = {name for raw in table["harmless"] for name in raw["names"]}
    return modules, names, harmless, max(name.count(".") + 1 for name in modules)


def _load(name: str) -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(Path(__file__).with_name("data").joinpath(name).read_text("utf-8"))
