"""Archives of skops: ``schema.json`` describes objects, and names the types that a loader imports and creates.

skops loads a type only if it is on its own list or the user's. What it trusts differs between its versions, so every
name in the schema is judged here by the same tables as a name in a pickle: known to be dangerous, trusted, or unknown.

Source: skops/io/_persist.py, _general.py and _audit.py (skops 0.16).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Set

from aiverify.formats.torch import Members
from aiverify.pickles.graph import Global
from aiverify.pickles.tables import danger, trusted

_SCHEMA = "schema.json"
_MAX_NAMES = 1000  # of one rule: what is grave is not hidden behind what is not
_PLAIN = frozenset(
    (
        *(f"builtins.{name}" for name in ("str", "int", "float", "bool", "NoneType", "dict", "list", "tuple", "set")),
        *(f"builtins.{name}" for name in ("frozenset", "bytes", "bytearray", "slice", "complex")),
        *("collections.OrderedDict", "numpy.ndarray", "numpy.dtype"),
    )
)
# Kinds of nodes that make something callable of their content, or call it. All others only hold values.
_CALLING = frozenset(("MethodNode", "FunctionNode", "OperatorFuncNode", "PartialNode", "ConstructorFromReduceNode"))


def judge_schema(archive: Members) -> None:
    """Judge the names in the schema of ``archive``, if it is one of skops."""
    for entry in archive.entries:
        if entry.name != _SCHEMA:
            continue
        raw = archive.content(entry)
        try:
            schema = json.loads(raw or b"")
        except (ValueError, RecursionError):
            archive.unexamined(entry, "a schema that is not valid JSON")
            continue
        if not isinstance(schema, dict) or "__loader__" not in schema:
            continue
        told: defaultdict[str, set[str]] = defaultdict(set)
        for rule, text in _complaints(schema, archive.options.trust):
            if text not in told[rule] and len(told[rule]) < _MAX_NAMES:
                told[rule].add(text)
                archive.found(rule, text, entry)


def _complaints(schema: object, trust: Set[str]) -> Iterator[tuple[str, str]]:
    """A rule and a sentence for each name and node that is not known to be harmless."""
    for node in _nodes(schema):
        if node.get("__loader__") in _CALLING:
            yield "AIV303", f"a {node['__loader__']} of skops makes or calls a function"
        for module, name in _names(node):
            dotted = f"{module}.{name}"
            found = Global(module, name, 0, (module, name))
            if (effect := danger(found)) is not None:
                yield "AIV301", f"the schema names {dotted[:200]}, which {effect}"
            elif dotted not in _PLAIN and dotted not in trusted() and dotted not in trust:
                yield "AIV302", f"the schema names {dotted[:200]}, which is not on the trusted table"


def _nodes(schema: object) -> Iterator[dict[str, object]]:
    """Every object of the schema, at any depth."""
    pending = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _names(node: dict[str, object]) -> Iterator[tuple[str, str]]:
    for module_key, name_key in (("__module__", "__class__"), ("module_path", "function")):
        module, name = node.get(module_key), node.get(name_key)
        if isinstance(module, str) and isinstance(name, str):
            yield module, name
        elif module_key in node or (name_key in node and name_key == "__class__"):
            yield "<computed>", "<name>"
