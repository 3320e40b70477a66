"""The machine's reading rules, one by one: CPython's, and where its two unpicklers differ, both."""

import _compat_pickle
import importlib
import io
import math
import pickle
import pickletools
import struct

import pickle_builder as b
import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.pickles.graph import (
    Blob,
    Call,
    CallKind,
    Dictionary,
    Extension,
    Global,
    Opaque,
    OutOfBand,
    Persistent,
    SetNode,
)
from aiverify.pickles.machine import Budget, _Machine, interpret
from aiverify.pickles.opcodes import Op


def root(stream: bytes):
    graph = interpret(stream)
    assert graph.failure is None, graph.failure
    return graph.root


def failure(stream: bytes) -> str:
    graph = interpret(stream)
    assert graph.failure is not None
    return graph.failure


def kinds(stream: bytes) -> set[str]:
    return {anomaly.kind for anomaly in interpret(stream).anomalies}


# Numbers


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"12", 12),
        (b"-12", -12),
        (b"0x1F", 31),
        (b"0o17", 15),
        (b"0b101", 5),
        (b"1_000", 1000),
        (b" 7 ", 7),
        (b"010", 8),
        (b"-017", -15),
        (b"08", 8),
        (b"0_1", 1),
        (b"00_9", 9),
        (b"12\0junk", 12),
        (b"\0junk", 0),
    ],
)
def test_an_int_is_read_in_every_way_that_some_reader_reads_it(line, value):
    assert root(b"I" + line + b"\n.") == value


@pytest.mark.parametrize(("line", "value"), [(b"00", False), (b"01", True)])
def test_the_two_int_lines_for_booleans_are_booleans(line, value):
    assert root(b"I" + line + b"\n.") is value


@pytest.mark.parametrize("line", [b"010", b"08", b"0x1F", b"0b1", b"+1", b" 1", b"1_0", b"1\0junk", b"\0junk"])
@pytest.mark.parametrize("opcode", [b"I", b"L"])
def test_a_number_that_no_pickler_writes_is_noted(opcode, line):
    assert kinds(opcode + line + b"\n.") == {"number"}


@pytest.mark.parametrize("line", [b"0", b"7", b"-7", b"00", b"01", b"1234567890123456789012345"])
def test_a_number_as_picklers_write_it_is_not_noted(line):
    assert kinds(b"I" + line + b"\n.") == set()


@pytest.mark.parametrize("line", [b"", b"0x08g", b"1.5", b"x", b"+", b" ", b"0x", b"8a"])
def test_an_int_that_no_reader_reads_ends_the_stream(line):
    failure(b"I" + line + b"\n.")


@pytest.mark.parametrize(("line", "value"), [(b"12L", 12), (b"12", 12), (b"0x1FL", 31), (b"-5L", -5), (b"7\0L", 7)])
def test_a_long_may_end_in_an_l(line, value):
    assert root(b"L" + line + b"\n.") == value


@pytest.mark.parametrize("line", [b"", b"L", b"12LL"])
def test_a_long_without_digits_or_with_two_endings_ends_the_stream(line):
    failure(b"L" + line + b"\n.")


@pytest.mark.parametrize("opcode", [b"I", b"L"])
def test_a_number_too_long_to_compute_stands_for_itself_and_the_stream_goes_on(opcode):
    graph = interpret(opcode + b"9" * 5000 + b"\n0" + b.named("os.system") + b".")
    assert graph.failure is None
    assert [found.name for found in graph.globals] == ["system"]
    assert isinstance(root(opcode + b"9" * 5000 + b"\n."), Opaque)


@pytest.mark.parametrize(
    ("line", "value"), [(b"1.5", 1.5), (b" 2.5 ", 2.5), (b"1_0.5", 10.5), (b"2.5\0x", 2.5), (b"-inf", -math.inf)]
)
def test_a_float_line_is_read_like_c_and_like_python(line, value):
    assert root(b"F" + line + b"\n.") == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"K\xff", 255),
        (b"M\xff\x01", 511),
        (b"J\xff\xff\xff\xff", -1),
        (b"\x8a\x00", 0),
        (b"\x8a\x01\xff", -1),
        (b"\x8b\x02\x00\x00\x00\x00\x01", 256),
        (b"G" + struct.pack(">d", 0.1), 0.1),
        (b"\x88", True),
        (b"\x89", False),
        (b"N", None),
    ],
)
def test_binary_numbers_and_constants_have_their_values(raw, value):
    assert root(raw + b".") == value


def test_a_negative_length_ends_the_stream():
    assert failure(b"\x8b\xff\xff\xff\xff.") == "a negative length"


def test_the_length_of_a_binstring_has_no_sign_as_in_c():
    stream = b"T\x01\0\0\x80.."
    assert "2147483649 bytes reaches past the end" in failure(stream)
    assert kinds(stream) == {"length"}


# Strings


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"S'os'\n", "os"),
        (b'S"os"\n', "os"),
        (b"S'\\x6fs'\n", "os"),
        (b"S'\\157s'\n", "os"),
        (b"S'\\q'\n", "\\q"),
        (b"V\\u006fs\n", "os"),
        (b"U\x02os", "os"),
        (b"T\x02\0\0\0os", "os"),
        (b"X\x02\0\0\0os", "os"),
        (b"\x8c\x02os", "os"),
        (b"\x8d\x02\0\0\0\0\0\0\0os", "os"),
        (b"X\x03\0\0\0\xed\xb2\x80", "\udc80"),
    ],
)
def test_strings_are_decoded(raw, value):
    assert root(raw + b".") == value


@pytest.mark.parametrize("line", [b"", b"'", b"os", b"'os", b"'os\"", b" 'os'", b"'os' ", b"'\\x'"])
def test_a_string_without_matching_quotes_or_with_broken_escapes_ends_the_stream(line):
    failure(b"S" + line + b"\n.")


@pytest.mark.parametrize("raw", [b"\x8c\x01\xff", b"X\x01\0\0\0\xc3", b"V\\u12\n"])
def test_text_that_is_not_text_ends_the_stream(raw):
    assert failure(raw + b".") == "a string that is not valid text"


@pytest.mark.parametrize("raw", [b"S'\xe9'\n", b"U\x01\xe9", b"T\x01\0\0\0\xe9"])
def test_a_python_2_string_that_is_not_ascii_depends_on_the_loader(raw):
    value = root(raw + b".")
    assert isinstance(value, Blob)
    assert (value.text, value.value) == (True, b"\xe9")


@pytest.mark.parametrize(
    ("raw", "mutable"),
    [
        (b"C\x01x", False),
        (b"B\x01\0\0\0x", False),
        (b"\x8e\x01" + b"\0" * 7 + b"x", False),
        (b"\x96\x01" + b"\0" * 7 + b"x", True),
    ],
)
def test_bytes_are_located_and_not_copied(raw, mutable):
    value = root(b"N0" + raw + b".")
    assert isinstance(value, Blob)
    assert (value.start, value.length, value.mutable, value.value) == (2 + len(raw) - 1, 1, mutable, None)


@pytest.mark.parametrize("opcode", [b"X", b"B", b"T"])
def test_a_length_beyond_the_end_is_refused_before_anything_is_allocated(opcode):
    assert "past the end" in failure(opcode + b"\xff\xff\xff\x7f" + b"x")


@pytest.mark.parametrize("opcode", [b"\x8d", b"\x8e", b"\x96"])
def test_a_length_of_exabytes_is_refused(opcode):
    assert "past the end" in failure(opcode + b"\xff" * 8 + b"x")


# Lines without end


def test_the_last_line_without_a_line_feed_loses_its_last_byte_as_in_python():
    graph = interpret(b"(S'x'\nios\nsystemX")
    assert [found.written for found in graph.globals] == [("os", "system")]
    assert [call.kind for call in graph.calls] == [CallKind.INST]
    assert graph.failure == "the stream ends without STOP"
    assert {anomaly.kind for anomaly in graph.anomalies} == {"line"}


def test_a_line_that_is_not_there_at_all_is_empty_as_in_python():
    graph = interpret(b"cos\n")
    assert [found.written for found in graph.globals] == [("os", "")]
    assert graph.failure == "the stream ends without STOP"


def test_a_line_beyond_the_budget_is_a_budget_and_not_the_end():
    graph = interpret(b"V" + b"a" * 100 + b"\n.", budget=Budget(line=50))
    assert graph.budget_hit
    assert "line of more than 50 bytes" in graph.failure


# The stack and the memo


def test_pop_takes_a_mark_when_nothing_stands_above_it():
    assert root(b"K\x01(0.") == 1
    assert root(b"K\x01(K\x020(10.") == 1


def test_pop_mark_takes_everything_down_to_the_mark():
    assert root(b"K\x01(K\x02K\x031.") == 1


def test_dup_is_the_same_object_twice():
    first, second = root(b"]2\x86.")
    assert first is second


@pytest.mark.parametrize(
    "stream", [b"0.", b"2.", b".", b"(.", b"K\x01\x86.", b"K\x01K\x02\x87.", b"\x85.", b"R.", b"b."]
)
def test_an_empty_stack_ends_the_stream(stream):
    failure(stream)


@pytest.mark.parametrize("opcode", [b"t", b"l", b"d", b"e", b"u", b"o", b"1", b"\x90", b"\x91"])
def test_a_missing_mark_ends_the_stream(opcode):
    assert failure(b"N" + opcode + b".") == "no MARK on the stack"


def test_memoize_counts_the_entries_and_not_the_highest_index():
    assert root(b"K\x07q\x00K\x08r\x09\x00\x00\x00K\x05\x9400h\x02.") == 5


def test_a_memo_entry_is_the_value_on_the_stack_and_not_the_last_argument():
    graph = interpret(b"\x80\x04\x8c\x02os\x8c\x06system\x86\x940\x8c\x04json\x94\x8c\x05loads\x940h\x01h\x02\x93.")
    assert [found.written for found in graph.globals] == [("json", "loads")]


@pytest.mark.parametrize("get", [b"g5\n", b"h\x05", b"j\x05\0\0\0"])
def test_a_memo_entry_that_was_never_set_ends_the_stream(get):
    assert failure(get + b".") == "memo index 5 was never set"


@pytest.mark.parametrize("put", [b"p3\n", b"q\x03", b"r\x03\0\0\0"])
@pytest.mark.parametrize("get", [b"g3\n", b"h\x03", b"j\x03\0\0\0"])
def test_every_way_to_put_goes_with_every_way_to_get(put, get):
    assert root(b"K\x09" + put + b"0" + get + b".") == 9


@pytest.mark.parametrize("line", [b"-1", b"x", b"", b"9" * 5000])
def test_a_memo_index_that_is_none_ends_the_stream(line):
    failure(b"Np" + line + b"\n.")


def test_the_memo_does_not_outlive_its_stream():
    data = b"K\x01q\x00.h\x00."
    assert interpret(data).failure is None
    assert interpret(data, 5).failure == "memo index 0 was never set"


def test_a_sparse_memo_index_is_noted_because_a_loader_would_allocate_for_it():
    assert kinds(b"Nr\xff\xff\xff\x7f.") == {"allocation"}
    assert kinds(b"Np4000000000\n.") == {"allocation"}
    assert kinds(b"Nr\x10\0\0\0.") == set()


@pytest.mark.parametrize("opcode", [b"B", b"\x8e", b"\x96"])
def test_a_length_that_a_loader_would_make_room_for_is_noted(opcode):
    assert kinds(opcode + struct.pack("<I" if opcode == b"B" else "<Q", 1 << 30) + b"x.") == {"allocation"}
    assert kinds(opcode + struct.pack("<I" if opcode == b"B" else "<Q", 100) + b"x.") == set()


# Keys


DOUBLED = b"N" + b"2\x86" * 40


@pytest.mark.parametrize("stream", [b"}%bNs.", b"}(%bNu.", b"(%bNd.", b"\x8f(%b\x90.", b"(%b\x91.", b"ca\nb\n)R%bNs."])
def test_a_key_that_takes_a_loader_too_long_to_hash_is_noted(stream):
    assert kinds(stream % DOUBLED) == {"hash"}
    assert kinds(stream % (b"N" + b"2\x86" * 4)) == set()


def test_a_key_that_overflows_the_stack_of_a_loader_is_noted():
    assert kinds(b"}N" + b"\x85" * 1001 + b"Ns.") == {"hash"}
    assert kinds(b"}N" + b"\x85" * 1000 + b"Ns.") == set()


def test_a_long_key_that_is_hashed_many_times_is_noted():
    assert kinds(b"}((" + b"N" * 10_000 + b"tq\x01N" + b"h\x01N" * 10_000 + b"u.") == {"hash"}
    assert kinds(b"}((" + b"N" * 10_000 + b"tq\x01N" + b"h\x01N" * 100 + b"u.") == set()


# Containers


def test_containers_hold_what_was_put_into_them():
    assert root(b"(K\x01K\x02t.") == (1, 2)
    assert root(b"K\x01K\x02K\x03\x87.") == (1, 2, 3)
    assert root(b"(K\x01l.") == [1]
    assert root(b"]K\x01a(K\x02K\x03e.") == [1, 2, 3]
    dictionary = root(b"(K\x01K\x02dK\x03K\x04s(K\x05K\x06u.")
    assert isinstance(dictionary, Dictionary)
    assert dictionary.pairs == [(1, 2), (3, 4), (5, 6)]
    members = root(b"\x8f(K\x01K\x02\x90.")
    assert isinstance(members, SetNode)
    assert (members.members, members.frozen) == ([1, 2], False)
    assert root(b"(K\x01\x91.").frozen


def test_an_object_keeps_what_is_done_to_it_in_order():
    made = root(
        b.stream(
            b.append(b.fill(b.build(b.call("a.b"), b.number(1)), (b.number(2), b.number(3))), b.number(4))
            + b"(K\x05\x90K\x06b"
        )
    )
    assert isinstance(made, Call)
    assert (made.states, made.items, made.elements) == ([1, 6], [(2, 3)], [4, 5])


@pytest.mark.parametrize("state", [b"}q\x01", b"N}q\x01\x86", b"}q\x01N\x86"])
def test_a_state_that_is_changed_after_build_took_it_is_noted(state):
    made = b"ca\nb\n)R"
    assert kinds(made + state + b"bh\x01K\x01K\x02s0.") == {"state"}
    assert kinds(made + state + b"h\x01K\x01K\x02s0b.") == set()


@pytest.mark.parametrize("stream", [b"}(K\x01u.", b"(K\x01d."])
def test_an_odd_number_of_keys_and_values_ends_the_stream(stream):
    assert failure(stream) == "an odd number of keys and values"


def test_whole_pairs_before_an_odd_one_are_set_as_in_python():
    graph = interpret(b.named("sys.modules") + b"(NNNu.")
    assert [mutation.opcode for mutation in graph.mutations] == ["SETITEMS"]


@pytest.mark.parametrize(
    ("tail", "opcode"),
    [
        (b"Nb", "BUILD"),
        (b"Na", "APPEND"),
        (b"(Ne", "APPENDS"),
        (b"NNs", "SETITEM"),
        (b"(NNu", "SETITEMS"),
        (b"(N\x90", "ADDITEMS"),
    ],
)
@pytest.mark.parametrize("target", [b.named("os.environ"), b"K\x01", b"C\x01x", b"NQ", b"(N\x91"])
def test_a_change_of_what_the_stream_did_not_make_is_a_mutation(target, tail, opcode):
    graph = interpret(target + tail + b".")
    assert [mutation.opcode for mutation in graph.mutations] == [opcode]


# Names


@pytest.mark.parametrize(
    "mapping", sorted(_compat_pickle.NAME_MAPPING) + [(m, "x") for m in sorted(_compat_pickle.IMPORT_MAPPING)]
)
def test_python_2_names_are_renamed_as_cpython_renames_them(mapping):
    module, name = mapping
    stream = f"c{module}\n{name}\n.".encode()
    (found,) = interpret(b"\x80\x02" + stream).globals
    assert found.written == mapping
    (kept,) = interpret(b"\x80\x03" + stream).globals
    assert (kept.module, kept.name) == mapping
    if name == "x":
        assert found.module == _compat_pickle.IMPORT_MAPPING[module]
        return
    try:
        theirs = pickle.loads(b"\x80\x02" + stream)
    except (ImportError, AttributeError):
        pytest.skip(f"{found.dotted} does not exist in this Python")
    assert theirs is getattr(importlib.import_module(found.module), found.name)


def test_the_last_proto_decides_about_renaming():
    assert interpret(b"\x80\x02\x80\x04c__builtin__\nset\n.").globals[0].module == "__builtin__"
    assert interpret(b"\x80\x04\x80\x02c__builtin__\nset\n.").globals[0].module == "builtins"
    assert kinds(b"\x80\x04\x80\x02N.") == {"protocol"}


def test_a_protocol_that_does_not_exist_ends_the_stream():
    assert failure(b"\x80\x06N.") == "protocol 6 does not exist"


@pytest.mark.parametrize(
    "operand",
    [
        b.named("string.ascii_letters"),
        b.call("str.lower"),
        b"NQ",
        b"\x82\x01",
        b"U\x02\xe9s",
        b"\x97",
        b"I" + b"9" * 5000 + b"\n",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_name_that_depends_on_the_loader_is_computed(operand, first):
    operands = operand + b.text("system") if first else b.text("os") + operand
    graph = interpret(b"\x80\x04" + operands + b"\x93.")
    assert graph.failure is None
    assert graph.globals[-1].module is None
    assert graph.globals[-1].dotted == "<computed name>"


@pytest.mark.parametrize("operand", [b"N", b"K\x01", b"C\x02os", b"]"])
def test_a_name_that_is_no_string_ends_the_stream(operand):
    assert failure(b"\x80\x04" + operand + b.text("system") + b"\x93.") == "STACK_GLOBAL needs two strings"


@pytest.mark.parametrize(
    ("raw", "code"), [(b"\x82\x07", 7), (b"\x83\x07\x01", 263), (b"\x84\x07\0\0\0", 7), (b"\x84\xff\xff\xff\xff", -1)]
)
def test_extension_codes_are_kept_and_resolved_by_nobody(raw, code):
    graph = interpret(raw + b".")
    assert isinstance(graph.root, Extension)
    assert [extension.code for extension in graph.extensions] == [code]


def test_a_very_long_name_is_cut_where_it_is_shown():
    (found,) = interpret(b"c" + b"a" * 3000 + b"\n" + b"b" * 3000 + b"\n.").globals
    assert len(found.dotted) < 2100
    assert found.written == ("a" * 3000, "b" * 3000)


# Calls


@pytest.mark.parametrize(
    ("value", "kind", "args"),
    [
        (b.call("a.b", b.number(1)), CallKind.REDUCE, (1,)),
        (b.new("a.b", b.number(1)), CallKind.NEWOBJ, (1,)),
        (b.new_ex("a.b", b.tup(b.number(1)), b"}"), CallKind.NEWOBJ_EX, (1,)),
        (b.inst("a.b", b.number(1)), CallKind.INST, (1,)),
        (b.obj("a.b", b.number(1)), CallKind.OBJ, (1,)),
        (b.named("a.b") + b"K\x01R", CallKind.REDUCE, 1),
    ],
)
def test_every_way_to_call_is_a_call(value, kind, args):
    (made,) = interpret(b.stream(value)).calls
    assert (made.kind, made.args) == (kind, args)
    assert isinstance(made.callable, Global)
    assert isinstance(made.kwargs, Dictionary) == (kind is CallKind.NEWOBJ_EX)


def test_obj_without_a_class_ends_the_stream():
    failure(b"(o.")


@pytest.mark.parametrize(("raw", "pid"), [(b"Pab\n", "ab"), (b"K\x05Q", 5), (b"P\n", "")])
def test_persistent_ids_are_kept(raw, pid):
    value = root(raw + b".")
    assert isinstance(value, Persistent)
    assert value.pid == pid


def test_a_textual_persistent_id_must_be_ascii():
    assert failure(b"P\xe9\n.") == "a string that is not valid text"


def test_buffers_that_travel_beside_the_stream_are_marked():
    assert isinstance(root(b"\x80\x05\x97."), OutOfBand)
    assert root(b"\x80\x05\x97\x98.").readonly
    assert isinstance(root(b"C\x01x\x98."), Blob)
    assert kinds(b"N\x98.") == {"buffer"}


# Frames


def test_a_frame_changes_nothing_and_one_that_is_too_long_is_noted():
    assert root(b"\x80\x04\x95\x02" + b"\0" * 7 + b"K\x07.") == 7
    assert kinds(b"\x80\x04\x95\x02" + b"\0" * 7 + b"K\x07.") == set()
    assert kinds(b"\x80\x04\x95\xff" + b"\0" * 7 + b"K\x07.") == {"frame"}


def frame(length: int) -> bytes:
    return b"\x95" + struct.pack("<Q", length)


TORN = {
    "a line": frame(3) + b"cos\nsystem\n.",
    "a string": frame(7) + b"X\x05\0\0\0abcde.",
    "the length of a string": frame(3) + b"X\x05\0\0\0abcde.",
    "a number": frame(2) + b"J\0\0\0\0.",
    "another frame": frame(10) + frame(5) + b"N0N0N.",
}


@pytest.mark.parametrize("name", TORN)
def test_what_crosses_the_end_of_a_frame_ends_all_certainty(name):
    graph = interpret(TORN[name])
    assert "crosses the end of a frame" in graph.failure
    assert graph.root is None
    assert "torn" in kinds(TORN[name])


def test_a_stream_that_ends_inside_of_a_frame_ends_all_certainty():
    """A reader without peek() has taken the whole frame, and looks for the next stream behind it."""
    swallowed = b"X\x0c\0\0\0" + b"A" * 12
    data = frame(19) + b"N." + swallowed + b"K\x07."
    file = io.BytesIO(data)
    assert (pickle.load(file), pickle.load(file)) == (None, 7)
    graph = interpret(data)
    assert graph.root is None
    assert "ends inside of a frame" in graph.failure
    assert graph.failure_offset == data.index(b".")
    assert "torn" in kinds(data)


def test_what_stands_behind_a_torn_frame_is_reported_all_the_same():
    graph = interpret(frame(7) + b"X\x05\0\0\0abcde" + b.named("os.system") + b")R.")
    assert [found.name for found in graph.globals] == ["system"]


def test_frames_one_after_the_other_and_inside_of_each_other_are_not_torn():
    assert root(frame(2) + b"N0" + frame(2) + b"N.") is None
    assert root(frame(12) + frame(2) + b"N0N.") is None


# Budgets and breaks


def test_the_opcode_budget_ends_the_stream_and_says_so():
    graph = interpret(b"N0" * 50 + b"N.", budget=Budget(opcodes=20))
    assert graph.budget_hit
    assert graph.failure == "more than 20 opcodes"


def test_a_stream_of_exactly_the_budget_is_read():
    assert interpret(b"N0N.", budget=Budget(opcodes=4)).failure is None


NODES = {
    "list": b"]",
    "dict": b"}",
    "set": b"\x8f",
    "LIST": b"(l",
    "DICT": b"(d",
    "FROZENSET": b"(\x91",
    "TUPLE": b"(t",
    "TUPLE1": b"N\x85",
    "TUPLE2": b"NN\x86",
    "TUPLE3": b"NNN\x87",
    "bytes": b"C\x01a",
    "bytearray": b"\x96" + bytes(8),
    "text of Python 2": b"U\x01\xff",
    "GLOBAL": b"ca\nB\n",
    "STACK_GLOBAL": b"\x8c\x01a\x8c\x01B\x93",
    "EXT": b"\x82\x01",
    "persistent": b"NQ",
    "out of band": b"\x97",
    "REDUCE": b"NNR",
    "NEWOBJ": b"NN\x81",
    "NEWOBJ_EX": b"NNN\x92",
    "OBJ": b"(No",
    "INST": b"(ia\nB\n",
}


@pytest.mark.parametrize("made", NODES.values(), ids=NODES)
def test_the_budget_of_nodes_ends_the_stream_and_says_so(made):
    assert interpret(made * 3 + b".", budget=Budget(nodes=3)).failure is None
    graph = interpret(made * 4 + b".", budget=Budget(nodes=3))
    assert graph.budget_hit
    assert graph.failure == "more than 3 containers and objects"


KNOWN = {ord(opcode.code) for opcode in pickletools.opcodes}


@pytest.mark.parametrize("byte", sorted(set(range(256)) - KNOWN))
def test_a_byte_that_is_no_opcode_ends_the_stream(byte):
    assert failure(bytes((byte,))) == f"0x{byte:02x} is not an opcode"


def test_the_table_of_opcodes_is_the_one_of_the_standard_library():
    assert {int(op) for op in Op} == KNOWN


STREAMS = {
    "dict": pickle.dumps({"a": [1, (2.5, None)], "b": {3}}, 5),
    "protocol 0": pickle.dumps({"a": [1, (2.5, None)], "b": "x"}, 0),
    "call": b.stream(b.dct((b.text("w"), b.tensor()), (b.text("p"), b.call("os.system", b.text("true"))))),
    "legacy": b.stream(b.inst("os.system", b.text("true")), 2),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_at_any_byte_breaks_off_and_keeps_what_happened_before(name):
    stream = STREAMS[name]
    whole = interpret(stream)
    for cut in range(len(stream)):
        graph = interpret(stream[:cut])
        assert graph.failure is not None
        seen = [(found.written, found.offset) for found in graph.globals]
        complete = [(found.written, found.offset) for found in whole.globals]
        if "line" not in {anomaly.kind for anomaly in graph.anomalies}:
            assert seen == complete[: len(seen)]
        assert len(graph.calls) <= len(whole.calls)
        # Everything whose opcode lies wholly before the cut has been seen.
        later = [place for _, place in complete if place < graph.failure_offset]
        assert len(seen) >= len(later)


@effort(200)
@given(st.binary(max_size=200), st.integers(0, 5))
def test_no_bytes_make_the_machine_raise(data, start):
    graph = interpret(data, start)
    assert graph.failure is not None or data[graph.end - 1 : graph.end] == b"."
    assert graph.end <= max(len(data), start) + 1
    interpret(memoryview(data), min(start, len(data)))


def test_a_checkpoint_is_read_without_a_single_anomaly(tmp_path):
    import torch  # here, because everything else is quick without

    path = tmp_path / "m.bin"
    torch.save(torch.nn.Linear(3, 2).state_dict(), path, _use_new_zipfile_serialization=False)
    data, start = path.read_bytes(), 0
    for _ in range(5):
        graph = interpret(data, start)
        assert (graph.failure, graph.anomalies) == (None, [])
        start = graph.end


# Inputs that exhaust other readers


def test_two_hundred_thousand_nested_tuples_are_read():
    graph = interpret(b"N" + b"\x85" * 200_000 + b"0}(" + b"N" + b"\x85" * 1000 + b"Nu.")
    assert graph.failure is None


def test_tuples_doubled_a_thousand_times_as_a_key_are_read():
    graph = interpret(b"}N" + b"2\x86" * 1000 + b"Ns.")
    assert graph.failure is None


def test_long_runs_of_dup_are_read():
    assert interpret(b"(N" + b"2" * 500_000 + b"t.").failure is None


# Rules that are easily lost


@pytest.mark.parametrize("stream", [b"Nq\x00p-1\n.", b"Nq\x00g-1\n."], ids=["put", "get"])
def test_a_negative_memo_index_breaks_the_stream(stream):
    assert interpret(stream).failure is not None


def test_what_is_put_anew_replaces_what_was_there():
    assert interpret(b"Nq\x000]q\x000h\x00.").root == []


def test_memoize_counts_each_entry_once_when_a_gap_is_filled():
    filled = b"".join(b"]q%c0" % index for index in range(6))
    assert interpret(b"Nq\x050" + filled + b")\x940h\x06.").root == ()


def test_a_memo_index_has_no_more_digits_than_python_reads():
    assert interpret(b"Np" + b"0" * 4999 + b"1\n.").failure == "a memo index of too many digits"


def test_a_string_without_quotes_breaks_the_stream():
    assert interpret(b"Saxa\n.").failure is not None


def test_the_letters_of_a_name_are_those_that_its_opcode_allows():
    assert interpret(b"c\xc3\xa9\n\xc3\xa8\n.").globals[0].written == ("é", "è")
    for inst in (b"(i\xc3\xa9\nx\n.", b"(ix\n\xc3\xa9\n."):
        graph = interpret(inst)
        assert graph.failure is not None
        assert graph.globals == []


def test_a_long_state_that_objects_share_is_gone_through_once():
    shared = b.tup(*[b"}"] * 2000) + b"q\x010" + b.named("a.A") + b"q\x000"
    machine = _Machine(b.stream(shared + b.lst(*[b"h\x00)\x81h\x01b"] * 500)), 0, Budget())
    machine.after_build = None
    graph = machine.run()
    assert graph.failure is None
    assert graph.anomalies == []
    assert len(machine.taken) == 2001  # the dicts, and the tuple that holds them


def test_a_dict_in_a_long_state_that_grows_later_is_told():
    state = b"}q\x010" + b.tup(*[b"h\x01"] * 20) + b"q\x020"
    grown = b.build(b.new("a.A"), b"h\x02") + b.build(b.new("a.A"), b"h\x02") + b"h\x01NNs"
    (anomaly,) = interpret(b.stream(state + grown)).anomalies
    assert anomaly.kind == "state"
