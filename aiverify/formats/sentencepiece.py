"""SentencePiece tokenizers (``tokenizer.model``): a protocol buffer, checked for being one.

Only the outermost level is walked: every field must have a known wire type and lie inside the file.

Source: protobuf encoding specification; sentencepiece_model.proto (pieces are field 1).
"""

from __future__ import annotations

from aiverify.finding import Unexamined
from aiverify.formats.interface import Examination, Format, FormatError

_MAX_SIZE = 256 << 20
_MAX_FIELDS = 4_000_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def examine_sentencepiece(data: bytes, path: str) -> Examination:
    """Examine one file that is called like a SentencePiece model."""
    examination = Examination(format=Format.SENTENCEPIECE)
    try:
        if len(data) > _MAX_SIZE:
            raise FormatError(f"{len(data)} bytes")
        if not _walk(data):
            raise FormatError("it holds no pieces")
    except FormatError as error:
        examination.unexamined.append(Unexamined(file=path, reason=f"not a readable SentencePiece model: {error}"))
    return examination


def _walk(data: bytes) -> int:
    """The number of pieces."""
    position, pieces, fields = 0, 0, 0
    while position < len(data):
        fields += 1
        if fields > _MAX_FIELDS:
            raise FormatError(f"more than {_MAX_FIELDS} fields")
        key, position = _varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            _, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        elif wire == _BYTES:
            length, position = _varint(data, position)
            position += length
            pieces += key >> 3 == 1
        else:
            raise FormatError(f"wire type {wire} at byte {position}")
    if position != len(data):
        raise FormatError("a field reaches past the end")
    return pieces


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise FormatError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise FormatError("a number of more than ten bytes")
