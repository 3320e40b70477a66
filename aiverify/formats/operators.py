"""What the operators of a TensorFlow graph do, by their names: a table in ``data/tensorflow.toml``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from importlib import resources

from aiverify.formats.safetensors import shown


@dataclass(frozen=True, slots=True)
class Table:
    """``known`` are all operators of TensorFlow; ``effects`` give the rule for one, and say what it does."""

    known: Set[str]
    effects: Mapping[str, tuple[str, str]]


@functools.cache
def table() -> Table:
    """The table, read once."""
    text = resources.files("aiverify.formats").joinpath("data/tensorflow.toml").read_text("utf-8")
    content = tomllib.loads(text)
    effects = {name: (entry["rule"], entry["what"]) for entry in content["effect"] for name in entry["names"]}
    return Table(frozenset(content["known"].split()), effects)


def judge_operator(name: str) -> tuple[str, str] | None:
    """The rule that the operator ``name`` falls under, and the message; ``None`` for one that only computes."""
    said = table().effects.get(name)
    if said is not None:
        rule, what = said
        return rule, f"the operator {name} {what}"
    if name not in table().known:
        return "AIV413", f"the operator {shown(name)} is not TensorFlow's: it needs a library of its own"
    return None
