"""Byte strings inside a pickle that a callable of the same stream would load: each is examined as that loader reads it.

A byte string is found where it is written: as bytes, as text that is encoded to bytes, or wrapped in ``BytesIO``. One
that is only computed while loading cannot be followed; the judgement of the call says so. What no callable of the
stream loads is a value like any other.

Source: torch/storage.py, ``_load_from_bytes``; the loaders of pickle, dill, cloudpickle, numpy, joblib and pandas.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiverify.finding import Unexamined
from aiverify.formats.content import Content, in_place
from aiverify.formats.interface import Examination, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.pickles.graph import Blob, Call, Global, Graph, Value
from aiverify.pickles.literals import is_call, is_encoding
from aiverify.pickles.machine import Buffer

_READERS: Mapping[str, str] = {
    **dict.fromkeys(("torch.storage._load_from_bytes", "torch.load", "torch.serialization.load"), "torch"),
    **{
        f"{module}.{name}": "pickle"
        for module in ("pickle", "_pickle", "dill", "dill._dill", "cloudpickle", "cloudpickle.cloudpickle")
        for name in ("loads", "load", "_loads", "_load")
    },
    **dict.fromkeys(("joblib.load", "joblib.numpy_pickle.load", "numpy.load", "pandas.read_pickle"), "content"),
    **dict.fromkeys(("numpy.lib.npyio.load", "numpy.lib._npyio_impl.load", "pandas.io.pickle.read_pickle"), "content"),
    **dict.fromkeys(("zlib.decompress", "gzip.decompress", "bz2.decompress", "lzma.decompress"), "content"),
}
_WRAPPING = ("io.BytesIO", "_io.BytesIO", "builtins.bytes", "builtins.bytearray", "builtins.memoryview")
_MAX_WRAPS = 4


def follow_loads(
    data: Buffer,
    graph: Graph,
    examination: Examination,
    path: str,
    options: ScanOptions,
    nesting: Nesting | None,
    *,
    member: str | None,
) -> None:
    """Examine every byte string that a call of ``graph`` would load. ``data`` is what the graph was read from.

    One that several calls load is examined once, as each of their loaders reads it.
    """
    seen: set[tuple[int, str]] = set()
    for call in graph.calls:
        found = call.callable
        reader = _READERS.get(found.dotted) if isinstance(found, Global) else None
        if reader is None:
            continue
        place = f"bytes loaded at {call.offset}"
        place = place if member is None else f"{member}!{place}"
        held = _unwrapped(call.args[0]) if isinstance(call.args, tuple) and call.args else None
        if (id(held), reader) in seen:
            continue
        seen.add((id(held), reader))
        content = _written(data, held)
        if content is None or nesting is None:
            reason = "bytes that would be loaded, and are not written in the stream"
            examination.unexamined.append(Unexamined(file=path, member=place, reason=reason))
        else:
            nesting.look(content, "bytes", examination, path, options, member=place, reader=reader)


def _unwrapped(value: Value) -> Value:
    for _ in range(_MAX_WRAPS):
        if not is_call(value, *_WRAPPING) or not isinstance(value, Call) or not isinstance(value.args, tuple):
            break
        if len(value.args) != 1 or value.states or value.items or value.elements:
            return None
        value = value.args[0]
    return value


def _written(data: Buffer, value: Value) -> Content | None:
    """The bytes that ``value`` stands for, if they are written in the stream."""
    if isinstance(value, Blob):
        inner = value.value if value.value is not None else bytes(data[value.start : value.start + value.length])
        return in_place(inner)
    if isinstance(value, Call) and is_call(value, "_codecs.encode") and isinstance(value.args, tuple):
        return _encoded(value.args)
    return None


def _encoded(args: tuple[Value, ...]) -> Content | None:
    if not is_encoding(args) or not isinstance(args[0], str) or not isinstance(args[1], str):
        return None
    try:
        return in_place(args[0].encode(args[1]))
    except UnicodeEncodeError:
        return None
