"""What Python source could do, from its syntax tree alone.

Rules it keeps:

1. Nothing is run, compiled or imported. What counts is that a name is mentioned, not that it is called: whoever takes
   ``os.system`` into a variable calls it from there.
2. What happens when the module is imported is told apart: statements outside of functions, and the functions and
   classes that these call, through any number of calls.
3. The summary explains and weighs. It never says that code is harmless.

Imported by a child process, and by nothing that reads what others wrote.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NETWORK, PROCESS, WRITES, READS, DYNAMIC, NATIVE = "network", "process", "writes", "reads", "dynamic", "native"
_MAX_MENTIONS = 8

#: The dotted names that count, and what they are for.
_NAMES: Mapping[str, str] = {
    name: kind
    for kind, entry in tomllib.loads((Path(__file__).parent / "data" / "effects.toml").read_text("utf-8")).items()
    for name in entry["names"]
}
_BUILTINS = frozenset(("exec", "eval", "compile", "__import__", "__builtins__"))
_MODULES = frozenset(("os", "sys", "builtins", *(name.partition(".")[0] for name in _NAMES)))
_IMPORTED = "(imported)"
_INTERNALS = frozenset(
    (
        *("__subclasses__", "__globals__", "__builtins__", "__code__", "__bases__", "__mro__", "__base__"),
        *("f_globals", "f_builtins"),
    )
)
_WRITING_METHODS = frozenset(("write_text", "write_bytes", "unlink", "rmtree", "touch", "hardlink_to", "symlink_to"))
_STARS = {"os": PROCESS, "subprocess": PROCESS, "socket": NETWORK, "ctypes": NATIVE, "importlib": DYNAMIC}
_HARMLESS = frozenset(("importlib.util.find_spec", "shutil.which", "tempfile.gettempdir", "sys.modules"))


@dataclass(slots=True)
class _Unit:
    """A stretch of code that runs together: what it mentions, and the names that it calls."""

    does: list[tuple[str, str, int]] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)


def summarise(source: str) -> dict[str, object]:
    """JSON values: what ``source`` ``does`` and does ``at_import``, by kind, and the modules that it ``imports``.

    Imports are ``[level, module, names]``. Raises SyntaxError, ValueError, RecursionError and MemoryError, as the
    parser of CPython does.
    """
    tree = ast.parse(source)
    reader = _Reader()
    reader.aliases = dict(_aliases(tree))
    reader.block(tree.body, "")
    return {
        "does": _told(entry for unit in reader.units.values() for entry in unit.does),
        "at_import": _told(entry for name in reader.at_import() for entry in reader.units[name].does),
        "imports": list(_imports(tree)),
    }


def _told(entries: Iterator[tuple[str, str, int]]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for kind, name, line in sorted(set(entries), key=lambda entry: (entry[2], entry[1])):
        mentions = told.setdefault(kind, [])
        if len(mentions) < _MAX_MENTIONS:
            mentions.append(f"{name[:100]} (line {line})")
    return told


def _imports(tree: ast.AST) -> Iterator[list[object]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ([0, alias.name, []] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield [node.level, node.module or "", [alias.name for alias in node.names]]


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


class _Reader:
    """Walks a tree with a stack of its own, and sorts what it sees into units by the function that it stands in."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.units: dict[str, _Unit] = {"": _Unit(), _IMPORTED: _Unit()}

    def at_import(self) -> list[str]:
        """The units that run when the module is imported."""
        reached, pending = {""}, [""]
        while pending:
            for called in self.units[pending.pop()].calls:
                for name in (called, f"{called}."):
                    if name in self.units and name not in reached:
                        reached.add(name)
                        pending.append(name)
        return sorted(reached)

    def block(self, body: list[ast.stmt], unit: str) -> None:
        """Read statements into ``unit``: the module's own (``""``), or that of a function at its top level.

        The methods of a class make one unit, the name of the class and a dot: whoever makes an instance may run them.
        """
        pending: list[tuple[ast.AST, str]] = [(node, unit) for node in body]
        while pending:
            node, unit = pending.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inner = unit
                if not isinstance(node, ast.Lambda):
                    inner = unit if unit.rstrip(".") else node.name
                    pending += [(item, unit) for item in node.decorator_list]
                    pending += [(item, inner) for item in node.body]
                else:
                    pending.append((node.body, inner))
                arguments = node.args
                defaults = [*arguments.defaults, *(item for item in arguments.kw_defaults if item is not None)]
                pending += [(item, unit) for item in defaults]
                self.units.setdefault(inner, _Unit())
            elif isinstance(node, ast.ClassDef):
                pending += [(item, unit) for item in (*node.decorator_list, *node.bases)]
                pending += [(item.value, unit) for item in node.keywords]
                methods = unit or f"{node.name}."
                self.units.setdefault(methods, _Unit())
                for item in node.body:
                    function = isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                    pending.append((item, methods if function else unit))
            elif isinstance(node, ast.If) and _is_not_imported(node.test):
                self.units.setdefault("(run)", _Unit())
                pending += [(item, "(run)") for item in node.body]
                pending += [(item, unit) for item in node.orelse]
            else:
                self.note(node, self.units[unit])
                pending += [(item, unit) for item in ast.iter_child_nodes(node)]

    def note(self, node: ast.AST, unit: _Unit) -> None:
        """Write down what one node mentions and calls."""
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call):
            self._call(node, unit, line)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                kind = _STARS.get(node.module or "") if alias.name == "*" else None
                # An import alone does nothing; what is done with the name is seen where it is used.
                self._mention(f"{node.module}.{alias.name}", unit if kind else self.units[_IMPORTED], line, kind)
        elif isinstance(node, ast.Attribute | ast.Name):
            name = self._dotted(node)
            if name is not None:
                self._mention(name, unit, line)
            if isinstance(node, ast.Attribute) and node.attr in _INTERNALS:
                unit.does.append((DYNAMIC, node.attr, line))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in _INTERNALS:
            unit.does.append((DYNAMIC, node.value, line))

    def _call(self, node: ast.Call, unit: _Unit, line: int) -> None:
        name = self._dotted(node.func)
        if isinstance(node.func, ast.Name):
            unit.calls.add(node.func.id)
        if name in ("open", "io.open", "codecs.open", "builtins.open"):
            modes = [item.value for item in node.keywords if item.arg == "mode"] or node.args[1:2]
            mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else ("" if modes else "r")
            reads = isinstance(mode, str) and mode != "" and not set(mode) & set("wax+")
            unit.does.append((READS if reads else WRITES, "open", line))
        elif name in ("getattr", "builtins.getattr") and len(node.args) > 1:
            of, attribute = self._dotted(node.args[0]), node.args[1]
            if of in self.aliases.values() and of is not None and of.partition(".")[0] in _MODULES:
                constant = attribute.value if isinstance(attribute, ast.Constant) else None
                if isinstance(constant, str):
                    self._mention(f"{of}.{constant}", unit, line)
                else:
                    unit.does.append((DYNAMIC, f"getattr of {of}", line))
        elif name in ("torch.load", "numpy.load"):
            safe = {item.arg: isinstance(item.value, ast.Constant) and item.value.value for item in node.keywords}
            if (name == "torch.load" and not safe.get("weights_only")) or safe.get("allow_pickle", False) is not False:
                unit.does.append((DYNAMIC, f"{name} of a pickle", line))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in _WRITING_METHODS:
            unit.does.append((WRITES, node.func.attr, line))

    def _mention(self, name: str, unit: _Unit, line: int, kind: str | None = None) -> None:
        if name in _HARMLESS:
            return
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            kind = kind or _NAMES.get(".".join(parts[:length]))
        if kind is not None and (len(parts) > 1 or (name in _BUILTINS and name not in self.aliases)):
            unit.does.append((kind, name, line))

    def _dotted(self, node: ast.AST) -> str | None:
        """The dotted name that ``node`` stands for, with what it was imported as put back."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self.aliases.get(node.id, node.id), *reversed(parts)])


def _is_not_imported(test: ast.expr) -> bool:
    """Whether a condition says that the module was not imported: it is run as a program, or read by a type checker."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__":
        right = test.comparators[0]
        return (
            len(test.ops) == 1
            and isinstance(test.ops[0], ast.Eq)
            and isinstance(right, ast.Constant)
            and right.value == "__main__"
        )
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
