"""Whether a file is also a pickle, whatever else it looks like.

A loader that unpickles does not ask what a file looks like: a picture, a text or a tensor file whose bytes run as
opcodes is a pickle to it. So every file is run on the inert machine, which fails on ordinary files within a few bytes.
"""

from __future__ import annotations

from aiverify.pickles.graph import Extension, Global, Graph
from aiverify.pickles.machine import Budget, Buffer, interpret

_PROBE = Budget(opcodes=1_000_000)
_MAX_STREAMS = 1_000


def runs_as_pickle(data: Buffer) -> bool:
    """Whether unpickling ``data`` would call or change something by name, even if it broke off afterwards.

    All streams that follow each other count: torch reads five of them from one file. A name that is only imported
    counts when the stream reaches STOP: prose can begin like an import, but it does not end well. What runs on beyond
    the probe's budget is taken for a pickle.
    """
    return probed(data)[0]


def probed(data: Buffer) -> tuple[bool, int]:
    """Whether unpickling ``data`` would do something, and the number of opcodes that it took to tell."""
    start = opcodes = 0
    for _ in range(_MAX_STREAMS):
        graph = interpret(data, start, budget=_PROBE)
        opcodes += graph.opcodes
        if _acts(graph):
            return True, opcodes
        if graph.failure is not None or graph.end >= len(data):
            return False, opcodes
        start = graph.end
    return True, opcodes


def _acts(graph: Graph) -> bool:
    named = Global | Extension
    return (
        graph.budget_hit
        or any(isinstance(call.callable, named) for call in graph.calls)
        or any(isinstance(mutation.target, named) for mutation in graph.mutations)
        or (graph.failure is None and bool(graph.globals or graph.extensions))
    )
