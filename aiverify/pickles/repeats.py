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
    totals: dict[int, int] = {}
    copied = 0
    for call in graph.calls:
        for taken in (call.args, *call.states):
            if id(taken) in totals:
                copied += totals[id(taken)]
                continue
            total = 0
            for part in _parts(taken):
                size = _size(part)
                if size > _SMALL:
                    total += size
                    copied += size if id(part) in seen else 0
                    seen.add(id(part))
            totals[id(taken)] = total
        if copied > _COPIED:
            text = f"calls take the same large arguments over and over: a loader copies {copied} elements and more"
            return Anomaly("allocation", text, call.offset)
    return None


def _parts(taken: Value) -> Iterator[Value]:
    """Arguments or a state, and what they hold; of a dict of keyword arguments what it holds, too."""
    yield taken
    for part in taken if isinstance(taken, tuple) else ():
        yield part
        if isinstance(part, Dictionary) and len(part.pairs) <= _SMALL:
            yield from (value for _, value in part.pairs)


def _size(value: Value) -> int:
    """How many elements are copied with ``value``: those of an array lie in its state."""
    if isinstance(value, Call):
        state = value.states[0] if value.states else None
        return max(map(_length, state), default=0) if isinstance(state, tuple) and len(state) <= _SMALL else 0
    return _length(value)


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value) // _PER_ELEMENT
    if isinstance(value, Blob):
        return value.length // _PER_ELEMENT
    if isinstance(value, Dictionary):
        return len(value.pairs)
    if isinstance(value, SetNode):
        return len(value.members)
    return len(value) if isinstance(value, list | tuple) else 0
