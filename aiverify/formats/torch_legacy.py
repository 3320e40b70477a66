"""PyTorch's checkpoints from before version 1.6: pickles and raw storages in one stream.

Layout: five pickles (magic number, protocol version, system facts, the object, the list of storage keys), then for each
key the number of elements as a 64-bit integer and the raw bytes. All five pickles are judged. The sizes come from the
persistent ids of the fourth; the file must end where they say.

Source: torch/serialization.py, _legacy_save and _legacy_load (PyTorch 2.13).
"""

from __future__ import annotations

import hashlib
import struct

from aiverify.finding import Unexamined
from aiverify.formats.checkpoint import Checkpoint, StorageRange
from aiverify.formats.dtypes import STORAGES
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.formats.pickle import examine_stream
from aiverify.pickles.graph import Global, Graph, Value
from aiverify.pickles.growth import note_growth
from aiverify.pickles.machine import Buffer, interpret
from aiverify.rules import finding

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")
_PARTS = ("magic number", "protocol version", "system facts", "object", "storage keys")


def begins_like_legacy(head: bytes) -> bool:
    """Whether the first pickle of a file is the magic number."""
    graph = interpret(head[:64])
    return graph.failure is None and graph.root == MAGIC and isinstance(graph.root, int)


def examine_legacy(data: Buffer, path: str, options: ScanOptions, nesting: Nesting | None = None) -> Examination:
    """Examine a whole legacy file in ``data``."""
    examination = Examination(format=Format.TORCH_LEGACY)
    start, graphs = 0, []
    for part in _PARTS:
        graph = interpret(data, start)
        examine_stream(data, graph, examination, path, options, nesting, member=part, storages=part == "object")
        if graph.failure is not None:
            return examination
        graphs.append(graph)
        start = graph.end
    _, version, _, state, keys = graphs
    if version.root != _PROTOCOL:
        examination.unexamined.append(Unexamined(file=path, reason="an unknown version of the legacy format"))
        return examination
    try:
        storages, end = _storages(data, start, state, keys.root)
    except _LayoutError as error:
        examination.unexamined.append(Unexamined(file=path, reason=str(error)))
        return examination
    if end != len(data):
        text = f"{len(data) - end} bytes follow the last storage"
        examination.findings.append(finding("AIV308", text, file=path, offset=end))
    note_growth(data, state)
    examination.checkpoint = Checkpoint(
        graph=state,
        storages=storages,
        byteorder="little",  # whatever the system facts say: torch does not look at them
        stream_sha256=hashlib.sha256(data[state.start : state.end]).hexdigest(),
    )
    return examination


class _LayoutError(Exception):
    """The storages do not lie where the pickles say."""


def _storages(data: Buffer, start: int, state: Graph, keys: Value) -> tuple[dict[str, StorageRange | str], int]:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _LayoutError("the list of storage keys is not a list of names")
    widths = {key: width for key, width in map(_key_and_width, (node.pid for node in state.persistents)) if width}
    found: dict[str, StorageRange | str] = {}
    for key in map(str, keys):
        width = widths.get(key)
        if width is None or key in found:
            raise _LayoutError("a storage that the object does not use, or uses under an unknown type")
        if len(data) - start < _COUNT.size:
            raise _LayoutError("the file ends before its storages")
        (count,) = _COUNT.unpack(data[start : start + _COUNT.size])
        start += _COUNT.size
        if count < 0 or count * width > len(data) - start:
            raise _LayoutError("a storage reaches past the end of the file")
        found[key] = StorageRange(start, count * width)
        start += count * width
    return found, start


def _key_and_width(pid: Value) -> tuple[str, int | None]:
    """The storage key of a persistent id, and the bytes per element of its type."""
    if not isinstance(pid, tuple) or len(pid) < 3 or pid[0] != "storage":
        return "", None
    if isinstance(pid[1], Global) and isinstance(pid[2], str):
        if pid[1].dotted == "torch.storage.UntypedStorage":
            return pid[2], 1
        dtype = STORAGES.get(pid[1].name) if pid[1].module == "torch" else None
        return pid[2], dtype.size if dtype else None
    return "", None
