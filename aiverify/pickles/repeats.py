"""What calls take over and over again.

A stream is as long as what it holds, except where it refers to something twice. A set or text of bytes that is made
of the same large argument a million times costs a few bytes in the stream, and all memory of a loader. Picklers write
such an argument once and refer to what was made of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiverify.pickles.graph import Anomaly, Blob, Call, Dictionary, Graph, SetNode, Value

_SMALL = 64
_COPIED = 1 << 24  # elements, each of which takes some 50 bytes
_PER_ELEMENT = 16  # bytes or letters that count like one


def repeats(graph: Graph) -> Anomaly | None:
    """What is odd about ``graph`` if its calls copy the same arguments and states very often."""
    seen: set[int] = set()
    copied = 0
    for call in graph.calls:
        for part in _taken(call):
            size = _size(part)
            if size <= _SMALL:
                continue
            if id(part) in seen:
                copied += size
            else:
                seen.add(id(part))
        if copied > _COPIED:
            text = f"calls take the same large arguments over and over: a loader copies {copied} elements and more"
            return Anomaly("allocation", text, call.offset)
    return None


def _taken(call: Call) -> Iterator[Value]:
    if isinstance(call.args, tuple):
        yield from call.args
    for state in call.states:
        yield state
        if isinstance(state, tuple):
            yield from state


def _size(value: Value) -> int:
    if isinstance(value, str):
        return len(value) // _PER_ELEMENT
    if isinstance(value, Blob):
        return value.length // _PER_ELEMENT
    if isinstance(value, Dictionary):
        return len(value.pairs)
    if isinstance(value, SetNode):
        return len(value.members)
    return len(value) if isinstance(value, list | tuple) else 0
