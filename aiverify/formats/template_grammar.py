"""Chat templates by Jinja's own grammar: what the lexical check cannot see because it is put together while it runs.

The template is parsed with the sandboxed environment that transformers uses, with its extensions, and never compiled,
rendered or loaded from anywhere. Jinja is an optional dependency: without it there is the lexical check alone, and with
it never less (docs/decisions/0029).

Found are: special attributes, under names that pieces are joined to as well; attributes whose names are computed; the
method ``format`` taken without being called; other templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_MOST_NODES = 200_000
_MOST_STEPS = 10  # from one name to the next
_JOINING = frozenset(("join", "format", "replace", "reverse"))
_BY_ATTRIBUTE = frozenset(("map", "selectattr", "rejectattr", "groupby", "sort", "sum", "unique", "min", "max"))


def escapes(text: str) -> str | None:
    """What a template does that none should; ``None`` when nothing is seen, or where Jinja is not installed.

    The work is linear in the text, whose length the caller bounds.
    """
    if "{%" not in text and "{{" not in text:
        return None
    try:
        from jinja2 import TemplateError
    except ImportError:
        return None
    try:
        tree = _environment().parse(text)
        return next(_found(tree), None)
    except TemplateError:
        return None  # no loader can render what its parser refuses; the lexical check has seen the text
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:
        # Where these limits lie depends on the process: what breaks off here, a loader may still render.
        return f"Jinja's grammar breaks off in it: {type(error).__name__}"


def _environment() -> Any:
    """The environment of ``transformers.utils.chat_template_utils``, where ``generation`` is a block without effect."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - as Jinja documents it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )


def _found(tree: Any) -> Iterator[str]:
    from jinja2 import nodes
    from jinja2.sandbox import is_internal_attribute

    def special(name: str) -> bool:
        internal = any(is_internal_attribute(kind, name) for kind in (_function, type, _generator()))
        return name.startswith("_") or internal or name in ("f_globals", "f_builtins", "f_back", "tb_frame")

    underscored = _underscored(tree)
    called: set[int] = set()
    pending = [tree]
    met = 0
    while pending:
        node = pending.pop()
        met += 1
        if met > _MOST_NODES:
            yield f"it has more than {_MOST_NODES} parts"
            return
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            called.add(id(node.node))
        if isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
            yield "it loads another template"
        elif isinstance(node, nodes.Getattr):
            if special(node.attr):
                yield f"it takes the attribute {node.attr[:80]!r}"
            elif node.attr in ("format", "format_map") and id(node) not in called:
                yield f"it hands on the method {node.attr!r}"
        elif isinstance(node, nodes.Getitem):
            name = _constant(node.arg)
            if name is not None and special(name):
                yield f"it takes the attribute {name[:80]!r}"
            elif name is None and (_is_joined(node.arg) or any(map(underscored, _within(node.arg)))):
                yield "it takes an attribute whose name it puts together"
        elif isinstance(node, nodes.Filter) and node.name in ("attr", *_BY_ATTRIBUTE):
            yield from _attributes(node, special)
        pending.extend(node.iter_child_nodes())


def _underscored(tree: Any) -> Callable[[Any], bool]:
    """Whether a node is a text of nothing but underscores, or a name that such a text may be a part of."""
    from jinja2 import nodes

    names: set[str] = set()

    def known(node: Any) -> bool:
        if isinstance(node, nodes.Const):
            return isinstance(node.value, str) and bool(node.value) and not node.value.strip("_")
        return isinstance(node, nodes.Name) and node.name in names

    made = (node for node in _within(tree) if isinstance(node, nodes.Assign))
    given = [(node.target.name, node.node) for node in made if isinstance(node.target, nodes.Name)]
    for _ in range(_MOST_STEPS):
        found = {name for name, value in given if any(map(known, _within(value)))} - names
        if not found:
            break
        names |= found
    return known


def _within(node: Any) -> Iterator[Any]:
    """``node`` and all that it is made of."""
    pending = [node]
    while pending:
        inner = pending.pop()
        yield inner
        pending.extend(inner.iter_child_nodes())


def _attributes(node: Any, special: Any) -> Iterator[str]:
    """What a filter does that takes attributes by name."""
    given = [item.value for item in node.kwargs if item.key == "attribute"]
    by_name = node.name in ("attr", "selectattr", "rejectattr", "groupby")
    for argument in given or (node.args[:1] if by_name else []):
        name = _constant(argument)
        if name is None and (node.name == "attr" or _is_joined(argument)):
            yield f"the filter {node.name} takes an attribute whose name is computed"
        elif name is not None and any(special(part) for part in name.split(".")):
            yield f"the filter {node.name} takes the attribute {name[:80]!r}"
    if node.name == "map" and node.args and _constant(node.args[0]) in ("attr", "format"):
        yield "it applies a filter by name that takes attributes"


def _constant(node: Any) -> str | None:
    """The text that an expression always has, joined from pieces if need be; ``None`` when that is not known."""
    from jinja2 import nodes

    if isinstance(node, nodes.Const):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, nodes.Concat):
        parts = [_constant(item) for item in node.nodes]
    elif isinstance(node, nodes.Add):
        parts = [_constant(node.left), _constant(node.right)]
    else:
        return None
    return "".join(part for part in parts if part is not None) if None not in parts else None


def _is_joined(node: Any) -> bool:
    """Whether an expression makes text out of pieces that may begin with an underscore."""
    from jinja2 import nodes

    if isinstance(node, nodes.Concat):
        return not _begins_openly(node.nodes[0])
    if isinstance(node, nodes.Add | nodes.Mul | nodes.Mod):
        sides = (node.left, node.right)
        if any(isinstance(side, nodes.Const) and isinstance(side.value, str) for side in sides):
            return not _begins_openly(node.left)
        return any(_is_joined(side) for side in sides)
    if isinstance(node, nodes.Filter):
        return node.name in _JOINING or (node.node is not None and _is_joined(node.node))
    if isinstance(node, nodes.CondExpr):
        return any(item is not None and _is_joined(item) for item in (node.expr1, node.expr2))
    return False


def _begins_openly(node: Any) -> bool:
    """Whether what comes first is known, and is no underscore."""
    name = _constant(node)
    return bool(name) and not str(name).startswith("_")


def _function() -> None:
    """Stands for functions where Jinja is asked which attributes of them are internal."""


def _generator() -> Iterator[None]:
    """The same for generators."""
    yield
