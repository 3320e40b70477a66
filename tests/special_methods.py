"""Which special methods of a class a load runs, as the installed library defines them."""

from __future__ import annotations

import enum
import importlib
import sys
from collections.abc import Iterable
from typing import Any

#: The methods by the use that runs them. ``__getattribute__`` and ``__getattr__`` run when an unpickler looks for
#: ``__setstate__``, ``append`` or ``extend``; ``__del__`` runs when the object is thrown away.
BY_USE = {
    "new": ("__new__",),
    "construct": ("__new__", "__init__"),
    "build": ("__setstate__",),
    "fill": ("__setitem__",),
    "extend": ("append", "extend", "add"),
    "hash": ("__hash__", "__eq__"),
}
ALWAYS = ("__del__", "__getattr__", "__getattribute__")


def resolve(name: str) -> Any:
    """The object that a name of the trusted table stands for: ``module.name`` or ``module:Outer.inner``."""
    if ":" in name:
        module, _, inside = name.partition(":")
    else:
        module, _, inside = name.rpartition(".")
    found: Any = importlib.import_module(module)
    for step in inside.split("."):
        found = getattr(found, step)
    return found


def special_methods(cls: type, uses: Iterable[str]) -> set[str]:
    """The methods of ``cls`` that a load runs under ``uses``, each as the class that defines it and its name.

    What Python itself defines is left out: it differs between versions, and the source of the entry names it. So are
    the constructors of enumerations, which enum.py puts there.
    """
    if not {"new", "construct", "build", "fill", "extend"} & set(uses):
        return set()  # only ever named
    found = set()
    for name in {*ALWAYS, *(name for use in uses for name in BY_USE.get(use, ()))}:
        owner = next((owner for owner in cls.__mro__ if name in vars(owner)), object)
        own = owner.__module__.partition(".")[0] not in sys.stdlib_module_names
        if own and not (issubclass(owner, enum.Enum) and name == "__new__"):
            found.add(f"{owner.__module__}.{owner.__qualname__}.{name}")
    return found
