"""The weights of an exported program (see ``torch_pt2``): from JSON and nested checkpoints to one graph.

Source: torch/export/pt2_archive/_package.py and torch/_export/serde/schema.py (PyTorch 2.13).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiverify.formats.archives import Entry
from aiverify.formats.checkpoint import Checkpoint, StorageRange
from aiverify.formats.interface import FormatError
from aiverify.pickles.graph import Call, Dictionary, Global, Graph, Value

_MAX_DIMENSIONS = 64
_STRIDED = 7  # the layout of plain tensors

_SCALAR_TYPES: Mapping[int, str] = {
    **dict(enumerate(("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"), 1)),
    **dict(enumerate(("complex32", "complex64", "complex128", "bool", "bfloat16"), 9)),
    **dict(enumerate(("uint16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 28)),
    **dict(enumerate(("float8_e8m0fnu", "uint32", "uint64"), 33)),
}


@dataclass(slots=True)
class State:
    """The state in the making."""

    graph: Graph
    pairs: list[tuple[Value, Value]] = field(default_factory=list)
    storages: dict[str, StorageRange | str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    roots: dict[str, Value] = field(default_factory=dict)
    digests: bytes = b""

    def adopted(self, found: Checkpoint, name: str, entry: Entry) -> Value:
        """What the checkpoint in the entry ``name`` describes, its storages under names that are theirs alone."""
        if name in self.roots:
            return self.roots[name]
        graph = found.graph
        for node in graph.persistents:
            if isinstance(node.pid, tuple) and len(node.pid) > 2 and isinstance(node.pid[2], str):
                node.pid = (*node.pid[:2], f"{name}:{node.pid[2]}", *node.pid[3:])
        for key, held in found.storages.items():
            self.storages[f"{name}:{key}"] = _inside(entry, held) if found.byteorder == "little" else "big-endian"
        self.graph.persistents += graph.persistents
        self.graph.globals += graph.globals
        self.graph.mutations += graph.mutations
        self.graph.opcodes += graph.opcodes
        self.digests += bytes.fromhex(found.stream_sha256)
        self.roots[name] = graph.root
        return graph.root


def _inside(entry: Entry, held: StorageRange | str) -> StorageRange | str:
    """Where a storage of a nested checkpoint lies in the outer file."""
    if isinstance(held, str):
        return held
    return replace(held, offset=entry.start + held.offset) if entry.stored else "it is compressed twice"


def pairs_of(root: Value) -> list[tuple[Value, Value]]:
    """The entries of the checkpoint that older versions keep the whole state in."""
    if isinstance(root, Dictionary):
        return root.pairs
    name = root.callable.dotted if isinstance(root, Call) and isinstance(root.callable, Global) else None
    if isinstance(root, Call) and name == "collections.OrderedDict" and root.args == ():
        return [*root.items]
    raise FormatError("a state that is no dict")


def record_of(payload: Any) -> str | None:
    """The name of the record that holds a tensor; ``None`` for what torch does not write."""
    if not isinstance(payload, dict) or type(payload.get("use_pickle")) is not bool:
        return None
    record = payload.get("path_name")
    return record if isinstance(record, str) and re.fullmatch(r"[\w.-]{1,80}", record) else None


def described(meta: Any) -> tuple[str, int, list[int], list[int]] | None:
    """Type, offset, size and stride of a raw tensor; ``None`` if one of them is not a plain number."""
    if not isinstance(meta, dict) or meta.get("layout") != _STRIDED or type(meta.get("dtype")) is not int:
        return None
    dtype = _SCALAR_TYPES.get(meta["dtype"])
    size, stride = _numbers(meta.get("sizes")), _numbers(meta.get("strides"))
    offset = _number(meta.get("storage_offset"))
    if dtype is None or size is None or stride is None or offset is None:
        return None
    return dtype, offset, size, stride


def _numbers(items: Any) -> list[int] | None:
    if not isinstance(items, list) or len(items) > _MAX_DIMENSIONS:
        return None
    numbers = [number for number in map(_number, items) if number is not None]
    return numbers if len(numbers) == len(items) else None


def _number(item: Any) -> int | None:
    value = item.get("as_int") if isinstance(item, dict) and len(item) == 1 else None
    return value if type(value) is int and value >= 0 else None
