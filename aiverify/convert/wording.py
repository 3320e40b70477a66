"""What stands in a checkpoint, in words for people: types by the names that the pickle gives them, and paths."""

from __future__ import annotations

from aiverify.convert.modules import class_of
from aiverify.convert.tensors import is_tensor
from aiverify.formats.safetensors import is_plain, shown
from aiverify.pickles.graph import Blob, Call, Dictionary, Extension, Global, Opaque, SetNode, Value

MAX_NAME = 4096


def type_of(value: Value) -> str:
    """The type of a value, as a word for people; classes and functions by the name that the pickle gives them."""
    if is_tensor(value):
        return "tensor"
    if isinstance(value, Call):
        name = class_of(value) or (value.callable.dotted if isinstance(value.callable, Global) else None)
        return _shown_name(name) if name else "object"
    if isinstance(value, Global):
        return f"reference to {_shown_name(value.dotted)}"
    if isinstance(value, SetNode):
        return "frozenset" if value.frozen else "set"
    if isinstance(value, Blob):
        return "str" if value.text else "bytearray" if value.mutable else "bytes"
    named = {Dictionary: "dict", Extension: "extension", Opaque: "literal"}
    return named.get(type(value)) or type(value).__name__


def shown_path(path: str) -> str:
    """A path as a report may print it: unchanged if it is plain, escaped and cut if it is not."""
    return path if len(path) <= MAX_NAME and is_plain(path) else shown(path)


def _shown_name(name: str) -> str:
    return name if len(name) <= 200 and name.isascii() and name.isprintable() else shown(name)


def article(kind: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if kind[:1] in 'aeiouAEIOU' else 'a'} {kind}"
