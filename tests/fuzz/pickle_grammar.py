"""Changes to pickle streams that know opcodes: cut, repeat, exchange, insert, or write an argument anew."""

from __future__ import annotations

import pickletools
import random
import struct
from collections.abc import Sequence
from typing import TypeVar

_Item = TypeVar("_Item")

# What readers take, and what some of them refuse.
NAMES = (
    *(b"os", b"system", b"__builtin__", b"eval", b"set", b"copy_reg", b"_reconstructor", b"UserDict", b"StringIO"),
    *(b"text", b"textual", b"collections", b"OrderedDict", b"itertools", b"izip", b"exceptions", b"a.b", b"x y"),
    *(b"urllib", b"urlencode", b"cPickle", b"loads", b"torch._utils", b"tkFileDialog", b"IterableUserDict", b"Queue"),
    *(b"Tix", b"anydbm", b"whichdb", b"socket", b"fromfd", b"with\0nul", b"x\ry"),
)
ODD_NAMES = ("é".encode(), b"\xed\xb2\x80", b"\xff", b"")
NUMBERS = (b"0", b"1", b"00", b"01", b"-1", b"+1", b"1_000", b"12", b" 7", b"9" * 30, b"1\r", b"-0", b"7\x0b", b"\x0c1")
ODD_NUMBERS = (
    *(
        b"000",
        b"0x1F",
        b"0X1f",
        b"010",
        b"08",
        b"0o17",
        b"0b101",
        b"12L",
        b"0x1FL",
        b"L",
        b"",
        b"7 ",
        b"\t7",
        b"1\0junk",
    ),
    *(b"\0", b"\x001", b" \0", b"+\0", b"-0x10", b"0777777777777777777777777777777", b"9" * 4301, b"0x" + b"f" * 4400),
    *(
        b"1e3",
        b"1.5",
        b"-",
        b"0x",
        b"0_1",
        b"1__0",
        b"\xd9\xa1",
        b"nan",
        b"-inf",
        b"1e999",
        b"1_0.5",
        b" 2.5 ",
        b"2.5\0x",
    ),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"00L", b"+0", b" 0", b"01L"),
)
QUOTED = (b"'os'", b'"os"', b"'text'", b"''", b"'\\x6fs'", b"'\\157s'", b"'\\q'", b"'a'b'")
ODD_QUOTED = (
    *(
        b"os",
        b"'os",
        b"os'",
        b"'os\"",
        b"'",
        b"",
        b"'\\x'",
        b"'\\'",
        b" 'os'",
        b"'os' ",
        b"'\xe9'",
        b"'\\xe9'",
        b"'os'\r",
    ),
    *(b"'\\777'", b"'\\\n'"),
)
ESCAPED = (b"os", b"\\u006fs", b"\\U0000006fs", b"\\x6fs", b"text", b"\\", b"\\\\u0041", b"")
ODD_ESCAPED = (b"\\u00", b"\xe9", b"\\ud800", b"\\U00110000")
SIZES = (0, 1, 2, 5, 20, 255, 256, 1000, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
HUGE = (*SIZES, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
CODES = (0, 1, 2, 3, 7, 255, 256, 300, 65535, 65536, 70000, -1)

_INFO = {ord(info.code): info for info in pickletools.opcodes}
_PUSHES = frozenset(b"NK\x88\x89)]}\x8fIJLMFGSTUVXBC\x8a\x8b\x8c\x8d\x8e\x96cghj")  # one thing each
_PLAIN = tuple(code for code, info in _INFO.items() if info.arg is None)
_FIXED = {"uint1": 1, "uint2": 2, "int4": 4, "uint4": 4, "uint8": 8, "float8": 8}
_COUNTED = {
    **dict.fromkeys(("string1", "bytes1", "unicodestring1", "long1"), 1),
    **dict.fromkeys(("string4", "bytes4", "unicodestring4", "long4"), 4),
    **dict.fromkeys(("bytes8", "unicodestring8", "bytearray8"), 8),
}
_TWO_LINES = "stringnl_noescape_pair"
# The kind of argument of each opcode: a name of pickletools.
_KIND = {code: info.arg.name for code, info in _INFO.items() if info.arg is not None}


def tokens(stream: bytes) -> list[bytes]:
    """The stream cut into opcodes with their arguments; what is no opcode is a token of one byte."""
    found, at, size = [], 0, len(stream)
    while at < size:
        end = min(size, _end(stream, at, size))
        found.append(stream[at:end])
        at = end
    return found


def _end(stream: bytes, at: int, size: int) -> int:
    kind, begin = _KIND.get(stream[at]), at + 1
    if kind is None:
        return begin
    if kind in _FIXED:
        return begin + _FIXED[kind]
    if kind in _COUNTED:
        width = _COUNTED[kind]
        return begin + width + min(size, int.from_bytes(stream[begin : begin + width], "little"))
    for _ in range(2 if kind == _TWO_LINES else 1):
        begin = (stream.find(b"\n", begin) + 1) or size
    return begin


class Grammar:
    """Random pieces of streams."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.random = chance.random

    def below(self, limit: int) -> int:
        """A number from zero up to, not including ``limit``; much faster than ``randrange``."""
        return int(self.random() * limit)

    def pick(self, items: Sequence[_Item]) -> _Item:
        return items[int(self.random() * len(items))]

    def usual(self, usual: tuple[bytes, ...], odd: tuple[bytes, ...]) -> bytes:
        return self.pick(usual if self.below(12) else odd)

    def opcode(self, code: int) -> bytes:
        """An opcode with an argument of its kind."""
        head, kind = bytes((code,)), _KIND.get(code)
        if kind is None:
            return head
        if kind in _COUNTED:
            width = _COUNTED[kind]
            body = self.usual(NAMES, ODD_NAMES) if "long" not in kind else self.chance.randbytes(self.below(4))
            length = len(body) if self.below(40) else self.pick(HUGE)
            return head + (length % (1 << (8 * width))).to_bytes(width, "little") + body
        match kind:
            case "uint1":
                value = self.below(6) if self.below(8) else self.below(256)
                return head + bytes((value,))
            case "uint2" | "int4" | "uint4" | "uint8":
                if code in b"\x82\x83\x84":
                    value = self.pick(CODES[1:3] if self.below(4) else CODES)
                else:
                    value = self.below(6) if self.below(4) else self.pick(HUGE)
                width = _FIXED[kind]
                return head + (value % (1 << (8 * width))).to_bytes(width, "little")
            case "float8":
                return head + struct.pack(">d", self.pick((0.0, 1.0, -0.0, float("nan"), float("inf"))))
            case "stringnl":
                return head + self.usual(QUOTED, ODD_QUOTED) + b"\n"
            case "unicodestringnl":
                return head + self.usual(ESCAPED, ODD_ESCAPED) + b"\n"
            case "stringnl_noescape":
                return head + self.usual(NAMES, ODD_NAMES) + b"\n"
            case "stringnl_noescape_pair":
                return head + self.usual(NAMES, ODD_NAMES) + b"\n" + self.usual(NAMES, ODD_NAMES) + b"\n"
        small = code in b"pg" and self.below(4)
        return head + (b"%d" % self.below(6) if small else self.usual(NUMBERS, ODD_NUMBERS)) + b"\n"

    def literal(self) -> bytes:
        if not self.below(8):
            return self.opcode(self.pick(b"hgj\x97"))
        return self.opcode(self.pick(b"NK\x88\x89)]}\x8fIJLMFGSTUVXBC\x8a\x8b\x8c\x8d\x8e\x96"))

    def text(self) -> bytes:
        return self.opcode(self.pick(b"SUXV\x8c\x8dT")) if self.below(16) else self.value(1)

    def name(self) -> bytes:
        return self.opcode(ord("c")) if self.below(2) else self.text() + self.text() + b"\x93"

    def values(self, depth: int) -> bytes:
        return b"".join(self.value(depth) for _ in range(self.below(4)))

    def pairs(self, depth: int) -> bytes:
        return b"".join(self.key() + self.value(depth) for _ in range(self.below(3))) if self.below(16) else b"NNN"

    def key(self) -> bytes:
        return self.opcode(self.pick(b"NK\x88)IJLMGSUXVBCXU\x8c")) if self.below(6) else self.value(1)

    def value(self, depth: int = 3) -> bytes:
        """Opcodes that mostly leave one more thing on the stack."""
        below = self.below
        if depth <= 0 or not below(3):
            return self.literal() if below(3) else self.name()
        depth -= 1
        several = self.values(depth)
        made = self.name() + self.pick((b"", b")R", b")\x81", b"(tR"))
        match below(20):
            case 0:
                if not below(4):
                    return b"(" + self.pairs(depth) + b"d"
                return b"(" + several + self.pick((b"t", b"l", b"t", b"\x91"))
            case 1:
                return b"](" + several + b"e"
            case 2:
                return b"}(" + self.pairs(depth) + b"u"
            case 3:
                return b"\x8f(" + several + b"\x90"
            case 4:
                return self.value(depth) + self.value(depth) + b"\x86"
            case 5:
                return self.value(depth) + b"\x85"
            case 6 | 7:
                return self.name() + b"(" + several + b"t" + self.pick((b"R", b"\x81"))
            case 8:
                return self.name() + b"(" + several + b"t" + b"}" + b"\x92"
            case 9:
                return b"(" + self.name() + several + b"o"
            case 10:
                return b"(" + several + self.opcode(ord("i"))
            case 11 | 12:
                return made + self.value(depth) + b"b"
            case 13:
                return made + b"(" + (several + self.pick((b"e", b"\x90")) if below(2) else self.pairs(depth) + b"u")
            case 14:
                return made + self.value(depth) + self.pick((b"a", self.value(depth) + b"s"))
            case 15:
                return self.value(depth) + b"Q"
            case 16:
                return self.opcode(self.pick(b"P\x82\x83\x84"))
            case 17:
                return self.value(depth) + self.opcode(self.pick(b"pqr\x94"))
            case 18:
                return self.value(depth) + self.pick((b"20", b"0", b"2", b"(10", b"\x98"))
            case _:
                return self.value(depth) + self.value(depth) + self.value(depth) + b"\x87"

    def framed(self, body: bytes) -> bytes:
        length = len(body) + (0 if self.below(6) else self.pick((-1, 1, 3, 100)))
        return b"\x95" + struct.pack("<Q", max(0, length)) + body

    def stream(self) -> bytes:
        body = b"".join(self.value(3) + self.pick((b"", b"0", b"q\x00", b"\x94")) for _ in range(1 + self.below(3)))
        if not self.below(4):
            body = self.framed(body + b".")
        memo = b"K\x05q\x000S'os'\nq\x010cos\nsystem\nq\x020ca\nb\n)Rq\x030]q\x040}q\x050"
        head = self.pick((b"", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) + self.pick((memo, b""))
        return head + body + b"."


def mutate(stream: bytes, max_length: int, chance: random.Random) -> bytes:
    """A stream like this one, at most ``max_length`` bytes."""
    grammar = Grammar(chance)
    if not grammar.below(4):
        return grammar.stream()[:max_length]
    parts = tokens(stream)
    change = _keep_valid if grammar.below(3) else _change
    for _ in range(1 + grammar.below(4)):
        change(parts, grammar)
    return b"".join(parts)[:max_length]


def _keep_valid(parts: list[bytes], grammar: Grammar) -> None:
    """A change after which the stack is what it was: a valid stream mostly stays one."""
    below = grammar.below
    place = below(len(parts) + 1)
    token = parts[place] if place < len(parts) else b""
    if token and token[0] in _PUSHES:
        match below(5):
            case 0:
                parts[place] = grammar.opcode(token[0])
            case 1 | 2:
                parts[place] = grammar.value(2)
            case 3:
                parts[place] = token + grammar.opcode(grammar.pick(b"pqr\x94"))
            case _:
                parts[place] = token + grammar.value(2) + grammar.pick((b"\x86", b"\x860", b"0", b"R", b"b", b"\x81"))
    else:
        parts.insert(place, grammar.value(2) + grammar.pick((b"0", b"0", b"q\x000", b"\x940", b"Q0", b"200")))


def _change(parts: list[bytes], grammar: Grammar) -> None:
    below = grammar.below
    place = below(len(parts) + 1)
    token = parts[place] if place < len(parts) else b""
    match below(14):
        case 0 | 1:
            parts.insert(place, grammar.value(2))
        case 2:
            parts.insert(place, bytes((grammar.pick(_PLAIN),)))
        case 3:
            del parts[place : place + 1 + below(3)]
        case 4:
            parts[place:place] = parts[place : place + 1 + below(4)]
        case 5:
            start = below(len(parts) + 1)
            parts[place:place] = parts[start : start + 1 + below(6)]
        case 6 | 7 if token:
            parts[place] = grammar.opcode(token[0]) if token[0] in _INFO else grammar.value(1)
        case 8 if token:
            parts[place] = grammar.value(1)
        case 9 if token:
            parts[place] = bytes((grammar.pick(_PLAIN),)) + token[1:]
        case 10 if len(token) > 1:
            at = below(len(token))
            parts[place] = token[:at] + bytes((below(256),)) + token[at + 1 :]
        case 11:
            inner = b"".join(parts[place:])
            parts[place:] = [grammar.framed(inner)]
        case 12:
            parts.insert(place, grammar.opcode(grammar.pick(b"pqrghj\x94")))
        case _:
            parts.insert(place, grammar.opcode(grammar.pick(tuple(_INFO))))
