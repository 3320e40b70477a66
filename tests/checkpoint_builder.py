"""Builds the graphs that the pickle machine makes of checkpoints, honest and hostile ones, without any pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiverify.formats.checkpoint import StorageRange
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global, Graph, Persistent, Value


class GraphBuilder:
    """Collects one graph. ``storages`` maps each storage that was used to a range, laid out one after the other."""

    def __init__(self) -> None:
        self.graph = Graph(0)
        self.storages: dict[str, StorageRange | str] = {}
        self.size = 0
        self.offset = 0

    def name(self, dotted: str) -> Global:
        module, _, name = dotted.rpartition(".")
        return Global(module, name, self._next(), (module, name))

    def call(self, dotted: str, *args: Value, kind: CallKind = CallKind.REDUCE) -> Call:
        return Call(kind, self.name(dotted), args, self._next())

    def storage(self, key: str = "0", kind: str = "torch.FloatStorage", numel: int = 4, width: int = 4) -> Persistent:
        if key not in self.storages:
            self.storages[key] = StorageRange(self.size, numel * width)
            self.size += numel * width
        return self.persistent(("storage", self.name(kind), key, "cpu", numel))

    def persistent(self, pid: Value) -> Persistent:
        node = Persistent(pid, self._next())
        self.graph.persistents.append(node)
        return node

    def tensor(
        self,
        storage: Value = None,
        offset: Value = 0,
        size: Value = (2, 2),
        stride: Value = (2, 1),
        *more: Value,
        requires_grad: Value = False,
        hooks: Value = None,
    ) -> Call:
        """A call of ``_rebuild_tensor_v2``; ``more`` are arguments behind the hooks."""
        storage = self.storage() if storage is None else storage
        hooks = self.ordered() if hooks is None else hooks
        return self.call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, requires_grad, hooks, *more)

    def ordered(self, pairs: Mapping[str, Value] | Iterable[tuple[Value, Value]] = ()) -> Call:
        node = self.call("collections.OrderedDict")
        node.items = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        return node

    @staticmethod
    def dict(pairs: Mapping[str, Value] | Iterable[tuple[Value, Value]] = ()) -> Dictionary:
        return Dictionary(list(pairs.items() if isinstance(pairs, Mapping) else pairs))

    def _next(self) -> int:
        self.offset += 1
        return self.offset
