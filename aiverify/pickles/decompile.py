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
_MAX_TEXT = 400


def decompile(graph: Graph, subject: Global | Call) -> str:
    """``subject`` if it is a call, or the calls in ``graph`` of that name; an import when nothing calls it."""
    if isinstance(subject, Call):
        return _line(subject)
    calls = [call for call in graph.calls if _names(call.callable, subject)]
    lines = [_line(call) for call in calls[:_MAX_CALLS]]
    if len(calls) > _MAX_CALLS:
        lines.append(f"# … and {len(calls) - _MAX_CALLS} more calls")
    return "\n".join(lines) or f"from {subject.module} import {subject.name}"


def render(mutation: Mutation) -> str:
    """A change of something that the stream did not create."""
    return f"{_text(mutation.target, _MAX_DEPTH)} <- {_text(mutation.value, _MAX_DEPTH)}  # {mutation.opcode}"


def _names(value: Value, subject: Global) -> bool:
    return isinstance(value, Global) and (value.module, value.name) == (subject.module, subject.name)


def _line(call: Call) -> str:
    text = _text(call, _MAX_DEPTH)
    states = "".join(f".__setstate__({_text(state, 2)})" for state in call.states[:2])
    return f"{text}{states}"


def _text(value: Value, depth: int) -> str:
    if depth == 0:
        return "…"
    match value:
        case Global():
            return value.dotted
        case Call():
            return _call(value, depth)
        case str():
            return repr(value) if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]!r}…"
        case Blob():
            known = value.value
            return f"<{value.length} bytes>" if known is None else repr(known[:_MAX_TEXT])
        case tuple():
            inner = _sequence(value, depth)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case list():
            return f"[{_sequence(value, depth)}]"
        case SetNode():
            return f"{{{_sequence(value.members, depth)}}}" if value.members else "set()"
        case Dictionary():
            return _dictionary(value, depth)
        case Persistent():
            return f"persistent_load({_text(value.pid, depth - 1)})"
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


def _call(call: Call, depth: int) -> str:
    name = _text(call.callable, depth - 1)
    if call.kind in (CallKind.NEWOBJ, CallKind.NEWOBJ_EX):
        name += ".__new__"
    arguments = _sequence(call.args, depth) if isinstance(call.args, tuple) else f"*{_text(call.args, depth - 1)}"
    if call.kwargs is not None:
        arguments += f", **{_text(call.kwargs, depth - 1)}"
    return f"{name}({arguments})"


def _sequence(values: tuple[Value, ...] | list[Value], depth: int) -> str:
    parts = [_text(value, depth - 1) for value in values[:_MAX_ITEMS]]
    if len(values) > _MAX_ITEMS:
        parts.append(f"… {len(values) - _MAX_ITEMS} more")
    return ", ".join(parts)


def _dictionary(value: Dictionary, depth: int) -> str:
    parts = [f"{_text(key, depth - 1)}: {_text(item, depth - 1)}" for key, item in value.pairs[:_MAX_ITEMS]]
    if len(value.pairs) > _MAX_ITEMS:
        parts.append(f"… {len(value.pairs) - _MAX_ITEMS} more")
    return f"{{{', '.join(parts)}}}"
