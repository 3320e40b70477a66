"""SentencePiece tokenizers (``tokenizer.model``): a protocol buffer, checked for being one.

Only the outermost level is walked: every field must have a known wire type and lie inside the file.

Source: sentencepiece_model.proto (pieces are field 1).
"""

from __future__ import annotations

from aiverify.finding import Unexamined
from aiverify.formats.interface import Examination, Format
from aiverify.formats.protobuf import MalformedMessageError, Message

MAX_SIZE = 256 << 20
_PIECE = 1


def examine_sentencepiece(data: bytes, path: str) -> Examination:
    """Examine one file that is called like a SentencePiece model."""
    examination = Examination(format=Format.SENTENCEPIECE)
    try:
        if len(data) > MAX_SIZE:
            raise MalformedMessageError(f"{len(data)} bytes")
        if not sum(field.number == _PIECE and field.is_range for field in Message.whole(data)):
            raise MalformedMessageError("it holds no pieces")
    except MalformedMessageError as error:
        examination.unexamined.append(Unexamined(file=path, reason=f"not a readable SentencePiece model: {error}"))
    return examination
