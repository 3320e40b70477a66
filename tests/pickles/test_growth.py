"""Arguments that grow after a call took them are told, whoever shares them."""

import pickle_builder as b

from aiverify.pickles.growth import _Watching, note_growth
from aiverify.pickles.machine import Budget, interpret

TAKEN = b.named("collections.OrderedDict") + b"h\x02R"  # a call with what was put under 2


def kinds(body: bytes) -> list[str]:
    stream = b.stream(body)
    graph = interpret(stream)
    assert graph.failure is None
    note_growth(stream, graph)
    return [anomaly.kind for anomaly in graph.anomalies]


def shared(count: int) -> bytes:
    """A list of one number under 1, and a tuple of it, ``count`` times, under 2."""
    return b"]K\x01aq\x010" + b.tup(*[b"h\x01"] * count) + b"q\x020"


def test_a_list_that_grows_after_a_call_is_told():
    for count in (1, 20):
        assert kinds(shared(count) + b.lst(TAKEN, TAKEN)) == []
        assert kinds(shared(count) + b.lst(TAKEN, TAKEN, b"h\x01K\x02a")) == ["argument"]


def test_a_list_that_grew_before_the_last_call_is_told():
    assert kinds(shared(20) + b.lst(TAKEN, b"h\x01K\x02a", TAKEN)) == ["argument"]


def test_a_long_tuple_that_calls_share_is_gone_through_once():
    stream = b.stream(shared(2000) + b.lst(*[TAKEN] * 500))
    watching = _Watching(stream, 0, Budget())
    watching.after_build = None
    watching.run()
    assert len(watching.graph.calls) == 500
    assert len(watching.given) == 2000
