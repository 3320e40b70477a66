"""The machine against CPython's own unpicklers, on streams that nobody wrote.

Whatever CPython asks for, the machine has reported: names, calls, arguments and persistent ids, in the same order, also
when CPython fails later. Where CPython reaches STOP, the machine does, too, and nothing is left over on either side.
"""

import collections
import datetime
import os
import pickle
import struct
import sys

import pytest
from fuzzing import effort
from hypothesis import example, given
from hypothesis import strategies as st
from pickle_oracle import Oracle
from pickle_witness import EXTENSIONS, VARIANTS, WITNESSES

from aiverify.pickles.machine import interpret
from aiverify.pickles.opcodes import Op

# Other Pythons judge as well: PYTHONS=/path/to/python3.12:/path/to/python3.13
PYTHONS = [sys.executable, *filter(None, os.environ.get("PYTHONS", "").split(":"))]


@pytest.fixture(scope="module")
def oracle():
    oracles = [Oracle(python) for python in PYTHONS]
    yield oracles
    for oracle in oracles:
        oracle.close()


def check(oracles: list[Oracle], stream: bytes) -> list[dict]:
    answers = [oracle.ask(stream) for oracle in oracles]
    for answer in answers:
        # A stream that crashes or starves the child is one that the machine warns of: it sets those aside.
        assert answer is not None
        assert answer["differences"] == []
    return answers


# Streams

NAMES = [
    *(
        "os",
        "system",
        "__builtin__",
        "eval",
        "set",
        "copy_reg",
        "_reconstructor",
        "UserDict",
        "IterableUserDict",
        "StringIO",
    ),
    *(
        "text",
        "textual",
        "collections",
        "OrderedDict",
        "itertools",
        "izip",
        "exceptions",
        "a.b",
        "",
        "é",
        "\udc80",
        "x y",
    ),
    *("urllib", "urlencode", "cPickle", "loads", "tkFileDialog", "torch._utils", "_rebuild_tensor_v2", "with\x00nul"),
]
names = st.sampled_from(NAMES)


def _lines(*parts: str) -> bytes:
    return b"".join(part.encode("utf-8", "surrogatepass") + b"\n" for part in parts)


def _counted(opcode: bytes, layout: str, body: bytes, off: int = 0) -> bytes:
    return opcode + struct.pack(layout, max(0, len(body) + off)) + body


bodies = st.one_of(names.map(lambda name: name.encode("utf-8", "surrogatepass")), st.binary(max_size=6))
lengths_off = st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1, 3])
odd_numbers = st.sampled_from(
    [
        *(b"0", b"1", b"00", b"01", b"000", b"-1", b"+1", b"0x1F", b"0X1f", b"010", b"08", b"0o17", b"0b101", b"1_000"),
        *(
            b"12L",
            b"0x1FL",
            b"L",
            b"",
            b" 7",
            b"7 ",
            b" 7 ",
            b"\t7",
            b"1\x00junk",
            b"\x00",
            b"\x001",
            b" \x00",
            b"+\x00",
        ),
        *(b"-0x10", b"0777777777777777777777777777777", b"9" * 30, b"9" * 4301, b"0x" + b"f" * 4400, b"1e3", b"1.5"),
        *(
            b"-",
            b"0x",
            b"0_1",
            b"1__0",
            b"\xd9\xa1",
            b"1\r",
            b"nan",
            b"-inf",
            b"1e999",
            b"1_0.5",
            b" 2.5 ",
            b"2.5\x00x",
        ),
    ]
)
quoted = st.sampled_from(
    [
        *(
            b"'os'",
            b'"os"',
            b"'text'",
            b"os",
            b"'os",
            b"os'",
            b"'os\"",
            b"''",
            b"'",
            b"",
            b"'\\x6fs'",
            b"'\\157s'",
            b"'\\q'",
        ),
        *(b"'\\x'", b"'\\'", b"'a'b'", b" 'os'", b"'os' ", b"'\xe9'", b"'\\xe9'", b"'os'\r"),
    ]
)
escaped = st.sampled_from([b"os", b"\\u006fs", b"\\U0000006fs", b"\\u00", b"\\x6fs", b"\xe9", b"", b"text", b"\\"])
indexes = st.integers(0, 6)

strings = st.one_of(
    st.builds(_counted, st.just(b"\x8c"), st.just("<B"), bodies, lengths_off),
    st.builds(_counted, st.just(b"X"), st.just("<I"), bodies, lengths_off),
    st.builds(_counted, st.just(b"\x8d"), st.just("<Q"), bodies, lengths_off),
    st.builds(_counted, st.just(b"U"), st.just("<B"), bodies, lengths_off),
    st.builds(_counted, st.just(b"T"), st.just("<i"), bodies, lengths_off),
    quoted.map(lambda line: b"S" + line + b"\n"),
    escaped.map(lambda line: b"V" + line + b"\n"),
)
literals = st.one_of(
    strings,
    st.sampled_from([b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f"]),
    st.builds(_counted, st.sampled_from([b"C"]), st.just("<B"), bodies, lengths_off),
    st.builds(_counted, st.just(b"B"), st.just("<I"), bodies, lengths_off),
    st.builds(_counted, st.sampled_from([b"\x8e", b"\x96"]), st.just("<Q"), bodies, lengths_off),
    st.builds(_counted, st.just(b"\x8a"), st.just("<B"), st.binary(max_size=3), lengths_off),
    st.builds(_counted, st.just(b"\x8b"), st.just("<i"), st.binary(max_size=3), lengths_off),
    odd_numbers.map(lambda line: b"I" + line + b"\n"),
    odd_numbers.map(lambda line: b"L" + line + b"\n"),
    odd_numbers.map(lambda line: b"F" + line + b"\n"),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"G" + raw),
    st.integers(0, 255).map(lambda value: b"K" + bytes((value,))),
    st.binary(min_size=2, max_size=2).map(lambda raw: b"M" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"J" + raw),
)
globals_ = st.one_of(
    st.builds(lambda module, name: b"c" + _lines(module, name), names, names),
    st.builds(lambda module, name: module + name + b"\x93", strings, strings),
)
memo = st.one_of(
    indexes.map(lambda index: b"p%d\n" % index),
    indexes.map(lambda index: b"q" + bytes((index,))),
    indexes.map(lambda index: b"r" + struct.pack("<I", index)),
    st.just(b"\x94"),
    indexes.map(lambda index: b"g%d\n" % index),
    indexes.map(lambda index: b"h" + bytes((index,))),
    indexes.map(lambda index: b"j" + struct.pack("<I", index)),
    odd_numbers.map(lambda line: b"p" + line + b"\n"),
    odd_numbers.map(lambda line: b"g" + line + b"\n"),
)
framing = st.one_of(
    st.integers(0, 6).map(lambda version: bytes((0x80, version))),
    st.sampled_from([0, 1, 5, 20, 1000, 1 << 62, (1 << 64) - 1]).map(
        lambda length: b"\x95" + struct.pack("<Q", length)
    ),
)
bare = st.sampled_from([bytes((opcode,)) for opcode in Op if chr(opcode) not in "cipPqrghjXTUBCISVLFGJKM"])
ids = st.one_of(names.map(lambda pid: b"P" + _lines(pid)), literals.map(lambda value: value + b"Q"))
insts = st.builds(lambda module, name: b"i" + _lines(module, name), names, names)


def _compose(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    several = st.lists(values, max_size=3).map(b"".join)
    called = st.one_of(globals_, globals_, globals_, values)
    changed = st.one_of(globals_, globals_.map(lambda name: name + b")R"), values)
    return st.one_of(
        several.map(lambda inner: b"(" + inner + b"t"),
        several.map(lambda inner: b"](" + inner + b"e"),
        several.map(lambda inner: b"(" + inner + b"l"),
        several.map(lambda inner: b"}(" + inner + b"u"),
        several.map(lambda inner: b"(" + inner + b"d"),
        several.map(lambda inner: b"\x8f(" + inner + b"\x90"),
        several.map(lambda inner: b"(" + inner + b"\x91"),
        st.builds(lambda a, b: a + b + b"\x86", values, values),
        st.builds(lambda a, b, c: a + b + c + b"\x87", values, values, values),
        st.builds(lambda f, inner: f + b"(" + inner + b"tR", called, several),
        st.builds(lambda f, inner: f + b"(" + inner + b"t\x81", called, several),
        st.builds(lambda f, inner, extra: f + b"(" + inner + b"t}" + extra + b"\x92", called, several, st.just(b"")),
        st.builds(lambda f, inner: b"(" + f + inner + b"o", called, several),
        st.builds(lambda inner, tail: b"(" + inner + tail, several, insts),
        st.builds(lambda target, state: target + state + b"b", changed, values),
        st.builds(lambda target, inner: target + b"(" + inner + b"e", changed, several),
        st.builds(lambda target, inner: target + b"(" + inner + b"u", changed, several),
        st.builds(lambda target, key, value: target + key + value + b"s", changed, values, values),
        st.builds(lambda value, put: value + put, values, memo),
        st.builds(lambda module, name: module + name + b"\x93", values, values),
        values.map(lambda value: value + b"Q"),
        values.map(lambda value: value + b"20"),
    )


values = st.recursive(st.one_of(literals, globals_, globals_, ids, memo), _compose, max_leaves=12)
pieces = st.one_of(values, values, values, bare, framing, insts, memo, st.binary(min_size=1, max_size=3))
# Most streams begin with things to take from the memo: a string, a name, an object, containers.
MEMO = b"S'os'\nq\x000cos\nsystem\nq\x010ca\nb\n)Rq\x020]q\x030}q\x040S'text'\nq\x050ca\ntextual\nq\x060"
protocols = st.builds(
    lambda head, memo: head + memo,
    st.sampled_from([b"", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"]),
    st.sampled_from([MEMO, MEMO, MEMO, b""]),
)
loose_streams = st.builds(lambda head, parts: head + b"".join(parts) + b".", protocols, st.lists(pieces, max_size=10))
whole_streams = st.builds(lambda head, value: head + value + b".", protocols, values)


@effort(400)
@given(whole_streams)
def test_what_cpython_asks_for_in_a_well_formed_stream_is_reported(oracle, stream):
    check(oracle, stream)


@effort(400)
@given(loose_streams, st.integers(0, 3))
@example(b"(S'x'\nios\nsystemX", 0).via("an INST without a line feed is run by Python's own unpickler")
@example(b"cos\nsystemX", 0).via("the same for GLOBAL")
@example(b"cos\nX", 0).via("a line that is not there is empty")
@example(b"\x95\x03" + b"\0" * 7 + b"cos\nsystem\n.", 0).via("a line that crosses the end of a frame")
@example(b"ios\nsystem\n.", 0).via("INST without MARK imports all the same")
@example(b"cos\nsystem\n(NNNu.", 0).via("an odd number of keys and values")
@example(b"I0777777777777777777777777777777\ncos\nsystem\n.", 0)
@example(b"I\x00junk\ncos\nsystem\n.", 0)
@example(b"\x95\x13" + b"\0" * 7 + b"N.X\x0c\0\0\0AAAAAAAAAAAAK\x07.", 0).via("a stream that ends inside of its frame")
@example(b"\x82\x02](K\x01e.", 0).via("a change of what an extension code names")
@example(b"ccollections\ntextual\nNbca\nb\n(K\x01e.", 0).via("BUILD on a string with no state does nothing")
def test_what_cpython_asks_for_in_a_malformed_stream_is_reported(oracle, stream, cut):
    check(oracle, stream[: len(stream) - cut] if cut else stream)


SAMPLES = [
    {"a": [1, 2.5, None, True, "é", b"bytes"], "b": {1, 2}, ("t",): frozenset([3])},
    collections.OrderedDict(a=1, b=[2]),
    [datetime.date(2020, 1, 2), datetime.timedelta(3), 1 << 100, bytearray(b"x"), complex(1, 2)],
    collections.deque([1, collections.Counter("abc")], 7),
]
ORDINARY = [pickle.dumps(sample, protocol) for sample in SAMPLES for protocol in range(6)]


@effort(300)
@given(
    st.sampled_from(ORDINARY),
    st.lists(
        st.tuples(st.integers(0, 400), st.one_of(st.just(b""), bare, st.binary(min_size=1, max_size=2))), max_size=4
    ),
)
def test_what_cpython_asks_for_in_an_altered_pickle_is_reported(oracle, stream, changes):
    for place, new in changes:
        place %= len(stream)
        stream = stream[:place] + new + stream[place + 1 :]
    check(oracle, stream)


@effort(300)
@given(protocols, st.binary(max_size=60))
def test_what_cpython_asks_for_in_random_bytes_is_reported(oracle, head, raw):
    check(oracle, head + raw)


@pytest.mark.parametrize("stream", ORDINARY)
def test_an_ordinary_pickle_is_read_to_its_end_by_all(oracle, stream):
    for answer in check(oracle, stream):
        assert answer["aside"] == ""
        # As bytes or ASCII, some old strings cannot be read.
        assert answer["finished"] >= len(WITNESSES)
    assert interpret(stream).anomalies == []


HARMFUL = {
    "a hash that takes for ever": b"}N" + b"2\x86" * 60 + b"Ns.",
    "a hash that overflows the stack": b"}N" + b"\x85" * 200_000 + b"Ns.",
    "a memo of gigabytes": b"Nr\xff\xff\xff\x0f.",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_what_would_bring_a_loader_down_is_warned_of(oracle, name):
    (answer, *_) = check(oracle, HARMFUL[name])
    assert answer["aside"]


def test_the_witnesses_see_what_is_missing_and_what_is_made_up(monkeypatch):
    """The comparison itself: a machine that is wrong in any respect is found out."""
    import pickle_witness

    stream = b"\x80\x02cos\nsystem\n(K\x01S'a'\n]K\x02a}K\x03K\x04s\x8f(K\x05\x90tRK\x06b(K\x07eK\x08K\x09sNQ\x86."
    assert pickle_witness.differences(stream).differences == []
    assert pickle_witness.differences(stream).finished == len(WITNESSES)

    def wrong(change):
        def interpreted(data):
            graph = interpret(data)
            change(graph)
            return graph

        monkeypatch.setattr(pickle_witness, "interpret", interpreted)
        return len(pickle_witness.differences(stream).differences) == len(WITNESSES)

    call = "graph.calls[0]"
    for change in (
        "graph.globals.pop()",
        "graph.globals.append(graph.globals[0])",
        "setattr(graph.globals[0], 'written', ('os', 'popen'))",
        "graph.calls.pop()",
        "graph.calls.append(graph.calls[0])",
        "graph.persistents.pop()",
        "setattr(graph.persistents[0], 'pid', 5)",
        "setattr(graph, 'failure', 'none')",
        "setattr(graph, 'root', None)",
        "setattr(graph, 'end', 3)",
        f"setattr({call}, 'args', {call}.args[:-1])",
        f"setattr({call}, 'args', (2, *{call}.args[1:]))",
        f"setattr({call}, 'kind', 'NEWOBJ')",
        f"setattr({call}, 'states', [])",
        f"setattr({call}, 'elements', [])",
        f"setattr({call}, 'items', [])",
        f"{call}.args[2].append(3)",
        f"{call}.args[3].pairs.clear()",
        f"{call}.args[4].members.append(1)",
    ):
        assert wrong(lambda graph, change=change: exec(change, {"graph": graph})), change


def test_extension_codes_and_buffers_are_compared_too(oracle):
    assert len(VARIANTS) == 3
    code = bytes((EXTENSIONS[1],))
    (answer, *_) = check(oracle, b"\x82" + code + b"(Nt\x81Nb.")
    assert answer["finished"] == len(WITNESSES) + len(VARIANTS)
    (answer, *_) = check(oracle, b"\x80\x05\x97\x98.")
    assert answer["finished"] == 2
