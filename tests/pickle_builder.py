"""Puts pickle streams together by hand. Nothing here unpickles anything.

A *value* is a run of opcodes that leaves exactly one thing on the stack. ``stream`` makes a whole stream of one.
"""

from __future__ import annotations

import struct

PROTO4 = b"\x80\x04"
PROTO2 = b"\x80\x02"
STOP = b"."
NONE = b"N"
EMPTY_DICT = b"}"
EMPTY_LIST = b"]"


def stream(value: bytes, protocol: int = 4) -> bytes:
    return bytes((0x80, protocol)) + value + STOP


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def blob(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes((len(raw),)) + raw


def named(dotted: str) -> bytes:
    """GLOBAL of a dotted name; a colon tells where the module ends when it is not the last dot."""
    module, _, name = dotted.rpartition(":" if ":" in dotted else ".")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def stack_named(dotted: str) -> bytes:
    module, _, name = dotted.rpartition(":" if ":" in dotted else ".")
    return text(module) + text(name) + b"\x93"


def tup(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def lst(*values: bytes) -> bytes:
    return b"](" + b"".join(values) + b"e"


def dct(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"}(" + b"".join(key + value for key, value in pairs) + b"u"


def frozen(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"\x91"


def members(*values: bytes) -> bytes:
    return b"\x8f(" + b"".join(values) + b"\x90"


def call(callable_: str | bytes, *args: bytes) -> bytes:
    """REDUCE. ``callable_`` is a dotted name or a value."""
    return (named(callable_) if isinstance(callable_, str) else callable_) + tup(*args) + b"R"


def new(class_: str, *args: bytes) -> bytes:
    return named(class_) + tup(*args) + b"\x81"


def new_ex(class_: str, args: bytes, kwargs: bytes) -> bytes:
    return named(class_) + args + kwargs + b"\x92"


def inst(class_: str, *args: bytes) -> bytes:
    module, _, name = class_.rpartition(".")
    return b"(" + b"".join(args) + b"i" + module.encode() + b"\n" + name.encode() + b"\n"


def obj(class_: str, *args: bytes) -> bytes:
    return b"(" + named(class_) + b"".join(args) + b"o"


def build(target: bytes, state: bytes) -> bytes:
    return target + state + b"b"


def fill(target: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
    return target + b"(" + b"".join(key + value for key, value in pairs) + b"u"


def append(target: bytes, *values: bytes) -> bytes:
    return target + b"(" + b"".join(values) + b"e"


def persistent(pid: bytes) -> bytes:
    return pid + b"Q"


def storage(kind: str = "torch.FloatStorage", key: str = "0", size: int = 4) -> bytes:
    return persistent(tup(text("storage"), named(kind), text(key), text("cpu"), number(size)))


def ordered(*pairs: tuple[bytes, bytes]) -> bytes:
    made = call("collections.OrderedDict")
    return fill(made, *pairs) if pairs else made


def tensor(
    source: bytes | None = None, *, flag: bytes = b"\x89", hooks: bytes | None = None, more: tuple[bytes, ...] = ()
) -> bytes:
    shape = tup(number(2), number(2))
    parts = (source or storage(), number(0), shape, tup(number(2), number(1)), flag, hooks or ordered(), *more)
    return call("torch._utils._rebuild_tensor_v2", *parts)


def dtype(code: str, *state: bytes) -> bytes:
    made = call("numpy.dtype", text(code), b"\x89", b"\x88")
    return build(made, tup(*state)) if state else made
