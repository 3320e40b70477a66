"""Every string of opcodes up to a length, over a reduced alphabet: the machine and CPython's unpicklers agree on all.

``FUZZ_FACTOR=100`` makes the strings one opcode longer. What a reader does with a string does not depend on what stands
behind the opcode at which it stops; so strings that begin alike and stop there are looked at once.
"""

import itertools
import os
import struct

import pytest
from pickle_witness import WITNESSES, Result, differences

from aiverify.pickles.machine import interpret

LONGER = int(os.environ.get("FUZZ_FACTOR", "1")) >= 100
IN_C, AHEAD, IN_PYTHON = WITNESSES

# Every opcode that moves the stack or the memo, names, calls or changes, with one argument each; literals by the few
# that differ in what may be done with them.
ALPHABET = {
    "NONE": b"N",
    "BININT1": b"K\x00",
    "TEXT": b"\x8c\x01a",
    "BYTES": b"C\x01a",
    "GLOBAL": b"cm\nn\n",
    "COMPUTED": b"cm\ntext\n",
    "EMPTY_TUPLE": b")",
    "EMPTY_LIST": b"]",
    "EMPTY_DICT": b"}",
    "EMPTY_SET": b"\x8f",
    "MARK": b"(",
    "TUPLE": b"t",
    "LIST": b"l",
    "DICT": b"d",
    "FROZENSET": b"\x91",
    "TUPLE1": b"\x85",
    "TUPLE2": b"\x86",
    "TUPLE3": b"\x87",
    "POP": b"0",
    "POP_MARK": b"1",
    "DUP": b"2",
    "BINPUT": b"q\x00",
    "BINGET": b"h\x00",
    "MEMOIZE": b"\x94",
    "STACK_GLOBAL": b"\x93",
    "EXT1": b"\x82\x01",
    "REDUCE": b"R",
    "NEWOBJ": b"\x81",
    "NEWOBJ_EX": b"\x92",
    "OBJ": b"o",
    "INST": b"im\nn\n",
    "BUILD": b"b",
    "APPEND": b"a",
    "APPENDS": b"e",
    "SETITEM": b"s",
    "SETITEMS": b"u",
    "ADDITEMS": b"\x90",
    "PERSID": b"Pa\n",
    "BINPERSID": b"Q",
}


def agree(stream: bytes, *witnesses) -> Result:
    result = differences(stream, witnesses)
    assert result.differences == [], stream
    return result


def longer_strings(prefix: bytes, length: int):
    """Every string that goes on from ``prefix`` with up to ``length`` opcodes and is not like a shorter one."""
    yield prefix
    stopped = interpret(prefix + b".")
    if length and (stopped.failure is None or stopped.failure_offset == len(prefix)):
        for token in ALPHABET.values():
            yield from longer_strings(prefix + token, length - 1)


@pytest.mark.parametrize("first", ALPHABET)
def test_every_short_string_of_opcodes_is_read_alike(first):
    looked_at = 0
    for stream in longer_strings(ALPHABET[first], 3 if LONGER else 2):
        agree(stream + b".", IN_C, IN_PYTHON)
        looked_at += 1
    assert looked_at >= 1


# What a pickle does with an object needs more opcodes than can be tried out: they follow these beginnings.
BEGINNINGS = {
    "an object": b"cm\nn\n)R",
    "an object and a tuple": b"cm\nn\n)Rcm\nn\n)",
    "an object in the memo and a mark": b"cm\nn\n)\x81q\x00(",
    "a list with a mark": b"](",
    "a dict with a mark and a key": b"}(K\x00",
    "a set with a mark": b"\x8f(\x8c\x01a",
    "a mark below a mark": b"(N(",
    "a name's two parts": b"\x8c\x01m\x8c\x01n",
    "three of everything": b"cm\nn\n)}",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_every_short_end_of_a_longer_string_is_read_alike(name):
    for stream in longer_strings(BEGINNINGS[name], 3 if LONGER else 2):
        agree(stream + b".", IN_C, IN_PYTHON)


LETTERS = [bytes((letter,)) for letter in b"018x_-+. L\0\\'\"u\xe9"]


@pytest.mark.parametrize("opcode", [b"I", b"L", b"F", b"S", b"V", b"P", b"K\x00p", b"K\x00q\x00g"])
def test_every_short_line_is_read_alike(opcode):
    for length in range(5 if LONGER else 4):
        for letters in itertools.product(LETTERS, repeat=length):
            agree(opcode + b"".join(letters) + b"\n.", IN_C, IN_PYTHON)


FRAMES = [b"\x95" + struct.pack("<Q", length) for length in (0, 1, 2, 3, 5, 9, 10, 11, 12, 1 << 40)]
FRAMED = [*FRAMES, b"N", b"K\x00", b"\x8c\x02ab", b"cm\nn\n", b"0", b"."]


@pytest.mark.parametrize("first", FRAMES)
def test_every_short_string_with_frames_is_read_alike(first):
    for length in range(4 if LONGER else 3):
        for rest in itertools.product(FRAMED, repeat=length):
            agree(first + b"".join(rest) + b"N.", *WITNESSES)


@pytest.mark.parametrize("code", range(256))
def test_every_single_byte_is_read_alike(code):
    for head in (b"", b"N", b"NN", b"(", b"(N", b"((", b"cm\nn\n)", b"](N", b"cm\nn\n"):
        for tail in (b"", b"\0", b"\0" * 8, b"\x01" * 9, b"\xff" * 8, b"m\nn\n", b"1\n"):
            agree(head + bytes((code,)) + tail + b".", *WITNESSES)
