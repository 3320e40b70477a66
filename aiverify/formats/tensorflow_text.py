"""TensorFlow graphs as text (``.pbtxt``): read as tokens, for the operators that they name.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from aiverify.formats.complaints import Complaints
from aiverify.formats.interface import Examination, Format
from aiverify.formats.operators import judge_operator
from aiverify.formats.safetensors import shown
from aiverify.pickles.reading import Buffer

MAX_SIZE = 256 << 20
_STRING = rb"""(?:"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+')"""
#: One that never ends: passed over as far as it reaches, so that the search stays linear.
_UNENDED = rb""""(?:[^"\\\n]|\\.)*+|'(?:[^'\\\n]|\\.)*+"""
#: A field ``op`` or ``filename``: its value may be several strings in a row, with comments between them.
_FIELD = re.compile(
    rb"(?s)#[^\n]*|\b(op|filename|s)(?:\s|#[^\n]*\n)*+:?((?:(?:\s|#[^\n]*\n)*+" + _STRING + rb")++)"
    rb"|" + _STRING + rb"|" + _UNENDED
)
_PART = re.compile(rb"#[^\n]*\n|(" + _STRING + rb")", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_SIMPLE = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def is_text(path: str, head: bytes) -> bool:
    """Whether a file of TensorFlow called ``path`` that begins with ``head`` is text."""
    return PurePosixPath(path.lower()).suffix == ".pbtxt" and b"\0" not in head


def examine_graph_text(data: Buffer, path: str) -> Examination:
    """Examine one graph in text form."""
    examination = Examination(format=Format.TENSORFLOW)
    complaints = Complaints(examination, path)
    if len(data) > MAX_SIZE:
        complaints.gap(f"a graph as text of {len(data)} bytes")
        return examination
    for name, value, offset in _strings(bytes(data)):
        if name == b"op":
            said = judge_operator(value.decode("utf-8", "replace"))
            if said is not None:
                complaints.say(*said, offset=offset)
        elif name == b"filename" and (value.startswith(b"/") or b".." in value or b":" in value or b"\\" in value):
            text = shown(value.decode("utf-8", "replace"))
            complaints.say("AIV415", f"the asset {text} lies outside the model's folder", offset=offset)
        elif name == b"s":
            complaints.judge_value(value, "an attribute", offset)
    return examination


def _strings(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """The fields whose values are looked at: name, value, offset."""
    for found in _FIELD.finditer(data):
        if found[1] is not None:
            parts = (part[1] for part in _PART.finditer(found[2]) if part[1] is not None)
            yield found[1], b"".join(_ESCAPE.sub(_unescaped, part[1:-1]) for part in parts), found.start()


def _unescaped(found: re.Match[bytes]) -> bytes:
    octal, hexadecimal, other = found.groups()
    if octal is not None:
        return bytes((int(octal, 8) & 0xFF,))
    return bytes((int(hexadecimal, 16),)) if hexadecimal is not None else _SIMPLE.get(other, other)
