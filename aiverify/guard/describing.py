"""What ``torch.load`` would return of a checkpoint, as plain data: a recipe, and the storages that it is made from.

Rules it keeps:

1. Nothing is left out. A recipe exists only of a checkpoint that is dicts, lists and tuples of tensors, parameters and
   plain scalars, and whose pickle asks for nothing else, not even in passing. Otherwise NotConvertibleError says why.
2. What is one object in the checkpoint is one object in the recipe. Nothing may hold itself.
3. The twin holds whole storages, each once and as it lies in the source: so tensors share memory, overlap and are
   strided as they did. Their bytes must not need swapping.
4. A recipe is written by us and read by us (``rebuilding``); no pickle is ever in it.

The form: ``nodes`` are in an order in which each refers to earlier ones only. A value is a JSON scalar,
``{"float": bits}`` with the bits of a double in hexadecimal, or ``{"at": index}`` of a node.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiverify.convert.checkpoint import check_stream
from aiverify.convert.containers import is_mapping, read_mapping
from aiverify.convert.plan import ConversionPlan, NotConvertibleError
from aiverify.convert.tensors import StorageId, View, read_storage, read_tensor
from aiverify.formats.checkpoint import Checkpoint, StorageRange
from aiverify.formats.dtypes import DTYPES, STORAGES
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global, Persistent, Value

FORMAT = 1
MAX_VALUES = 2_000_000
MAX_BITS = 4096

_ORDERED = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_TYPED_TENSOR = "torch._utils._rebuild_tensor_v3"
_PARAMETER = "torch._utils._rebuild_parameter"
_CALLED = frozenset((_ORDERED, _TENSOR, _TYPED_TENSOR, _PARAMETER))
_NAMED = _CALLED | {"torch.storage.UntypedStorage", "torch.UntypedStorage"}
_BYTE = DTYPES["uint8"]

Encoded: TypeAlias = "bool | int | str | Mapping[str, object] | None"
Node: TypeAlias = Sequence[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One checkpoint. ``storages`` are in the order in which ``torch.load`` meets them, each with its device."""

    nodes: Sequence[Node]
    root: Encoded
    storages: Sequence[tuple[StorageId, str]]

    def views(self) -> dict[str, View]:
        """What the twin holds: the storages, by number, in a type of theirs if safetensors has it, or else as bytes."""
        return {str(number): _whole(storage) for number, (storage, _) in enumerate(self.storages)}

    def recipe(self, plan: ConversionPlan) -> str:
        """The recipe as JSON, for the twin of ``plan``: of each storage its place there, its type and its device."""
        start = {tensor.name: len(plan.header) + tensor.offset for tensor in plan.tensors}
        places = [
            (start[str(number)], storage.length, (storage.dtype or _BYTE).torch, location)
            for number, (storage, location) in enumerate(self.storages)
        ]
        whole = {"format": FORMAT, "storages": places, "nodes": self.nodes, "root": self.root}
        return json.dumps(whole, separators=(",", ":"))

    def end(self, checkpoint: Checkpoint, *, zipped: bool) -> int | None:
        """How far into the file ``torch.load`` has read when it is done, ``None`` where that cannot be told."""
        ranges = [checkpoint.storages.get(storage.key) for storage, _ in self.storages]
        known = [found for found in ranges if isinstance(found, StorageRange) and found.inflated is None]
        if not ranges or len(known) < len(ranges):
            return None
        if zipped:  # storages without bytes are read again each time that they are met
            return None if any(not found.length for found in known) else known[-1].offset + known[-1].length
        return max(found.offset + found.length for found in known)


def describe(checkpoint: Checkpoint) -> Description:
    """The description of ``checkpoint``. Raises NotConvertibleError where there can be none."""
    return _Describing(checkpoint).description()


class _Describing:
    """One walk over one checkpoint, without recursion."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.graph = checkpoint.graph
        self.numbers: dict[str, int] = {}
        self.storages: list[tuple[StorageId, str]] = []
        self.nodes: list[Node] = []
        self.places: dict[int, int] = {}
        self.count = 0

    def description(self) -> Description:
        self._check()
        for persistent in self.graph.persistents:
            self._meet(persistent)
        entered: set[int] = set()
        pending: list[tuple[Value, bool]] = [(self.graph.root, False)]
        while pending:
            value, finished = pending.pop()
            if _is_scalar(value) or id(value) in self.places:
                continue
            if finished:
                self.nodes.append(self._node(value))
                self.places[id(value)] = len(self.nodes) - 1
                continue
            if id(value) in entered:
                raise NotConvertibleError("", "it holds something that holds itself")
            entered.add(id(value))
            pending.append((value, True))
            parts = list(_parts(value))
            self.count += len(parts)
            if self.count > MAX_VALUES:
                raise NotConvertibleError("", f"it has more than {MAX_VALUES} values")
            pending.extend((part, False) for part in reversed(parts))
        return Description(nodes=self.nodes, root=self._encoded(self.graph.root), storages=self.storages)

    def _check(self) -> None:
        check_stream(self.graph)
        orders = {found.byteorder for found in self.checkpoint.storages.values() if isinstance(found, StorageRange)}
        if self.checkpoint.byteorder != "little" or "big" in orders:
            raise NotConvertibleError("", "its bytes would have to be swapped")
        if self.graph.extensions or self.checkpoint.left_out:
            raise NotConvertibleError("", "there is more in it than its pickle says")
        for found in self.graph.globals:
            known = found.module == "torch" and (found.name in STORAGES or found.name in DTYPES)
            if not known and found.dotted not in _NAMED:
                raise NotConvertibleError("", f"it asks for {found.dotted}")
        for call in self.graph.calls:
            if _called(call) not in _CALLED:
                raise NotConvertibleError("", "it calls something that makes no plain value")

    def _meet(self, persistent: Persistent) -> None:
        storage = read_storage(persistent, "")
        if storage.key not in self.numbers:
            self.numbers[storage.key] = len(self.storages)
            location = persistent.pid[3] if isinstance(persistent.pid, tuple) else None
            self.storages.append((storage, str(location)))

    def _encoded(self, value: Value) -> Encoded:
        if isinstance(value, float):
            return {"float": struct.pack(">d", value).hex()}
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                raise NotConvertibleError("", f"it has a number of more than {MAX_BITS} bits")
            return value
        return {"at": self.places[id(value)]}

    def _node(self, value: Value) -> Node:
        if isinstance(value, list | tuple):
            return ("list" if isinstance(value, list) else "tuple", [self._encoded(item) for item in value])
        if isinstance(value, Dictionary):
            return ("dict", self._pairs(value.pairs))
        if not isinstance(value, Call) or not isinstance(value.args, tuple):
            raise NotConvertibleError("", "it holds something that is no plain value")
        called = _called(value)
        if called == _ORDERED:
            mapping = _ordered(value)
            attributes = [(name, self._encoded(item)) for name, item in mapping[1]]
            return ("ordered", self._pairs(mapping[0]), attributes)
        if called == _PARAMETER:
            return ("parameter", self._encoded(value.args[0]), value.args[1], _has_hooks(value.args[2]))
        return self._tensor(value, value.args)

    def _pairs(self, pairs: Sequence[tuple[Value, Value]]) -> list[tuple[Encoded, Encoded]]:
        for key, _ in pairs:
            if not _is_scalar(key) and not (isinstance(key, tuple) and all(map(_is_scalar, key))):
                raise NotConvertibleError("", "it has a dict with keys that are no plain scalars")
        return [(self._encoded(key), self._encoded(value)) for key, value in pairs]

    def _tensor(self, call: Call, args: tuple[Value, ...]) -> Node:
        view = read_tensor(call, "").view
        if view.conjugated or view.negated:
            raise NotConvertibleError("", "it has a tensor whose values are not its bytes")
        named = view.dtype.torch if _called(call) == _TYPED_TENSOR else None
        number = self.numbers[view.storage.key]
        return ("tensor", number, view.offset, view.size, view.stride, args[4], _has_hooks(args[5]), named)


def _parts(value: Value) -> Iterator[Value]:
    """What must be there before ``value`` can be made."""
    if isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, Dictionary):
        for pair in value.pairs:
            yield from pair
    elif isinstance(value, Call) and _called(value) == _ORDERED:
        pairs, attributes = _ordered(value)
        for pair in pairs:
            yield from pair
        for _, item in attributes:
            yield item
    elif isinstance(value, Call) and _called(value) == _PARAMETER:
        read_tensor(value, "")
        inner = value.args[0] if isinstance(value.args, tuple) else None
        if not isinstance(inner, Call) or _called(inner) not in (_TENSOR, _TYPED_TENSOR):
            raise NotConvertibleError("", "it has a parameter that is not made of a plain tensor")
        yield inner


def _ordered(call: Call) -> tuple[Sequence[tuple[Value, Value]], Sequence[tuple[str, Value]]]:
    """The pairs and the attributes of an OrderedDict that is made as Python 3 writes it."""
    if call.args != () or not all(isinstance(state, Dictionary) for state in call.states):
        raise NotConvertibleError("", "it has an OrderedDict that is not made in the usual way")
    mapping = read_mapping(call, "")
    return (mapping.pairs, mapping.attributes) if mapping is not None else ((), ())


def _has_hooks(value: Value) -> bool:
    """Whether an empty OrderedDict, and not nothing, stands where hooks would be; ``read_tensor`` saw that it is."""
    if value is not None and (not isinstance(value, Call) or not is_mapping(value)):
        raise NotConvertibleError("", "it has a tensor that is not made in the usual way")
    return value is not None


def _called(call: Call) -> str | None:
    plain = call.kind is CallKind.REDUCE and isinstance(call.callable, Global)
    return call.callable.dotted if plain and isinstance(call.callable, Global) else None


def _is_scalar(value: Value) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _whole(storage: StorageId) -> View:
    dtype = storage.dtype
    if dtype is None or dtype.safetensors is None or dtype.packed > 1:
        return View(storage, 0, (storage.length,), (1,), _BYTE)
    return View(storage, 0, (storage.numel,), (1,), dtype)
