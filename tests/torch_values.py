"""What ``torch.load`` returns, compared down to bits, strides and shared memory."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Any

import torch

SCALARS = (int, bool, str, type(None))


class Comparison:
    """Compares two values. What is one object, or one storage, in the first must be one in the second."""

    def __init__(self) -> None:
        self.objects: dict[int, tuple[Any, Any]] = {}
        self.storages: dict[int, int] = {}

    def check(self, one: Any, other: Any) -> None:
        assert type(one) is type(other)
        if isinstance(one, float):
            assert struct.pack("d", one) == struct.pack("d", other)
        elif isinstance(one, SCALARS):
            assert one == other
        elif id(one) in self.objects:
            assert self.objects[id(one)][1] is other
        else:
            self.objects[id(one)] = one, other
            self._parts(one, other)

    def finish(self) -> None:
        """No two objects or storages of the first are one in the second."""
        containers = [other for _, other in self.objects.values() if other != ()]
        assert len({id(other) for other in containers}) == len(containers)
        assert len(set(self.storages.values())) == len(self.storages)

    def _parts(self, one: Any, other: Any) -> None:
        if isinstance(one, torch.Tensor):
            self._tensor(one, other)
        elif isinstance(one, dict):
            self._all(
                [item for pair in one.items() for item in pair], [item for pair in other.items() for item in pair]
            )
            if isinstance(one, OrderedDict):
                self.check(one.__dict__, other.__dict__)
        elif isinstance(one, list | tuple):
            self._all(list(one), list(other))
        else:
            raise AssertionError(f"{type(one)} is nothing that was to be compared")

    def _all(self, one: list[Any], other: list[Any]) -> None:
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            self.check(first, second)

    def _tensor(self, one: torch.Tensor, other: torch.Tensor) -> None:
        for name in ("dtype", "shape", "device", "requires_grad", "is_leaf", "_backward_hooks"):
            assert getattr(one, name) == getattr(other, name), name
        assert (one.stride(), one.storage_offset()) == (other.stride(), other.storage_offset())
        assert one.__dict__ == other.__dict__
        first, second = one.untyped_storage(), other.untyped_storage()
        assert first.nbytes() == second.nbytes()
        if first.nbytes():
            assert self.storages.setdefault(first.data_ptr(), second.data_ptr()) == second.data_ptr()
            assert bytes(first.tolist()) == bytes(second.tolist())


def assert_same(one: Any, other: Any) -> None:
    """``one`` and ``other`` are of the same make, whatever they are made of."""
    comparison = Comparison()
    comparison.check(one, other)
    comparison.finish()
