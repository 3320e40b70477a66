"""Whether a file is also a pickle, whatever else it looks like.

A loader that unpickles does not ask what a file looks like: a picture, a text or a tensor file whose bytes run as
opcodes is a pickle to it. So every file is run on the inert machine, which fails on ordinary files within a few bytes.
"""

from __future__ import annotations

from aiverify.pickles.graph import Global, Graph
from aiverify.pickles.machine import Budget, Buffer, interpret

_PROBE = Budget(opcodes=1_000_000)
_MAX_STREAMS = 1_000


def runs_as_pickle(data: Buffer) -> bool:
    """Whether unpickling ``data`` would call or change something by name, even if it broke off afterwards.

    All streams that follow each other count: torch reads five of them from one file. A name that is only imported
    counts when the stream reaches STOP: prose can begin like an import, but it does not end well. What runs on beyond
    the probe's budget is taken for a pickle.
    """
    start = 0
    for _ in range(_MAX_STREAMS):
        graph = interpret(data, start, budget=_PROBE)
        if _acts(graph):
            return True
        if graph.failure is not None or graph.end >= len(data):
            return False
        start = graph.end
    return True


def _acts(graph: Graph) -> bool:
    return (
        graph.budget_hit
        or bool(graph.extensions)
        or any(isinstance(call.callable, Global) for call in graph.calls)
        or any(isinstance(mutation.target, Global) for mutation in graph.mutations)
        or (graph.failure is None and bool(graph.globals))
    )
