"""What a stream would do, written as Python for a person to read. Nothing of it is ever run.

The text is bounded in depth, length and number of lines, because the stream's author chooses all three.
"""

from __future__ import annotations

from aiverify.pickles.graph import (
    Blob,
    Call,
    CallKind,
    Dictionary,
    Extension,
    Global,
    Graph,
    Mutation,
    Opaque,
    OutOfBand,
    Persistent,
    SetNode,
    Value,
)

_MAX_CALLS = 8
_MAX_DEPTH = 5
_MAX_ITEMS = 8
_MAX_NODES = 200
_MAX_TEXT = 400
_MAX_NAME = 200
_MAX_LINE = 4000


class Calls:
    """The calls of one graph by the name that they call, so that each name is looked up and not searched for."""

    def __init__(self, graph: Graph) -> None:
        self._calls: dict[tuple[str | None, str], list[Call]] = {}
        for call in graph.calls:
            if isinstance(call.callable, Global):
                self._calls.setdefault((call.callable.module, call.callable.name), []).append(call)

    def of(self, found: Global) -> str:
        """The calls of ``found`` as source, one on a line; an import when nothing calls it."""
        calls = self._calls.get((found.module, found.name), [])
        lines = [shown(call) for call in calls[:_MAX_CALLS]]
        if len(calls) > _MAX_CALLS:
            lines.append(f"# … and {len(calls) - _MAX_CALLS} more calls")
        return "\n".join(lines) or f"from {shorten(found.module or '')} import {shorten(found.name)}"


def shown(call: Call) -> str:
    """One call as source."""
    writer = _Writer()
    text = writer.text(call, _MAX_DEPTH)
    states = "".join(f".__setstate__({writer.text(state, 2)})" for state in call.states[:2])
    return shorten(f"{text}{states}", _MAX_LINE)


def render(mutation: Mutation) -> str:
    """A change of something that the stream did not create."""
    writer = _Writer()
    text = f"{writer.text(mutation.target, _MAX_DEPTH)} <- {writer.text(mutation.value, _MAX_DEPTH)}"
    return f"{shorten(text, _MAX_LINE)}  # {mutation.opcode}"


def shorten(text: str, length: int = _MAX_NAME) -> str:
    """``text``, or its beginning when it is longer than ``length`` characters."""
    return text if len(text) <= length else f"{text[:length]}…"


class _Writer:
    """Writes values down until it has written enough."""

    def __init__(self) -> None:
        self._left = _MAX_NODES

    def text(self, value: Value, depth: int) -> str:
        self._left -= 1
        if depth == 0 or self._left < 0:
            return "…"
        match value:
            case Global():
                return shorten(value.dotted)
            case Call():
                return self._call(value, depth)
            case str():
                return repr(value) if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]!r}…"
            case Blob():
                known = value.value
                return f"<{value.length} bytes>" if known is None else repr(known[:_MAX_TEXT])
            case tuple():
                inner = self._sequence(value, depth)
                return f"({inner},)" if len(value) == 1 else f"({inner})"
            case list():
                return f"[{self._sequence(value, depth)}]"
            case SetNode():
                return f"{{{self._sequence(value.members, depth)}}}" if value.members else "set()"
            case Dictionary():
                return self._dictionary(value, depth)
            case Persistent():
                return f"persistent_load({self.text(value.pid, depth - 1)})"
            case Extension():
                return f"<extension {value.code}>"
            case OutOfBand():
                return "<out-of-band buffer>"
            case Opaque():
                return f"<{value.reason}>"
            case int():
                return str(value) if value.bit_length() <= 256 else f"<{value.bit_length()}-bit number>"
            case _:
                return repr(value)

    def _call(self, call: Call, depth: int) -> str:
        name = self.text(call.callable, depth - 1)
        if call.kind in (CallKind.NEWOBJ, CallKind.NEWOBJ_EX):
            name += ".__new__"
        if isinstance(call.args, tuple):
            arguments = self._sequence(call.args, depth)
        else:
            arguments = f"*{self.text(call.args, depth - 1)}"
        if call.kwargs is not None:
            arguments += f", **{self.text(call.kwargs, depth - 1)}"
        return f"{name}({arguments})"

    def _sequence(self, values: tuple[Value, ...] | list[Value], depth: int) -> str:
        parts = [self.text(value, depth - 1) for value in values[:_MAX_ITEMS]]
        if len(values) > _MAX_ITEMS:
            parts.append(f"… {len(values) - _MAX_ITEMS} more")
        return ", ".join(parts)

    def _dictionary(self, value: Dictionary, depth: int) -> str:
        pairs = value.pairs[:_MAX_ITEMS]
        parts = [f"{self.text(key, depth - 1)}: {self.text(item, depth - 1)}" for key, item in pairs]
        if len(value.pairs) > _MAX_ITEMS:
            parts.append(f"… {len(value.pairs) - _MAX_ITEMS} more")
        return f"{{{', '.join(parts)}}}"
