"""What weights are made of: tensors, added up by the layer that their names put them in, and by type.

A map of a model needs no single tensor, and a report has no room for a million of them. The rules:

1. A tensor's layer is its name without the last part: ``encoder.layer.0.attention`` for ``….attention.weight``.
2. Where that makes too many layers, their names are cut after fewer parts until it does not; at last all tensors of a
   file are one layer, and then those of all files. Nothing is left out of the sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST = 500
_PARTS = 8
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Layer:
    """``tensors`` many tensors of one type in one file, whose names begin with ``name``; ``size`` is in bytes.

    ``file`` is a path in the artifact, ``None`` for all files together. An empty ``name`` is the file as a whole.
    """

    file: str | None
    name: str
    dtype: str
    tensors: int
    size: int


def layers(file: str, tensors: Iterable[tuple[str, str, int]]) -> tuple[Layer, ...]:
    """The layers of the file ``file``; of each tensor the name, the type and the size in bytes."""
    return together(Layer(file, _layer_of(name), dtype, 1, size) for name, dtype, size in tensors)


def together(parts: Iterable[Layer]) -> tuple[Layer, ...]:
    """At most ``MOST`` layers that add up to ``parts``, in the order in which they begin."""
    kept = _summed(parts)
    for depth in reversed(range(_PARTS)):
        if len(kept) <= MOST:
            return kept
        kept = _summed(
            Layer(part.file, ".".join(part.name.split(".", depth)[:depth]), part.dtype, part.tensors, part.size)
            for part in kept
        )
    if len(kept) > MOST:
        kept = _summed(Layer(None, "", part.dtype, part.tensors, part.size) for part in kept)
    if len(kept) > MOST:
        kept = _summed(Layer(None, "", "other", part.tensors, part.size) for part in kept)
    return kept


def _summed(parts: Iterable[Layer]) -> tuple[Layer, ...]:
    sums: dict[tuple[str | None, str, str], tuple[int, int]] = {}
    for part in parts:
        key = part.file, part.name, part.dtype
        tensors, size = sums.get(key, (0, 0))
        sums[key] = tensors + part.tensors, size + part.size
    return tuple(Layer(*key, *sum_) for key, sum_ in sums.items())


def _layer_of(name: str) -> str:
    parts = name.split(".", _PARTS + 1)
    return ".".join(parts[: min(len(parts) - 1, _PARTS)])[:_LONGEST]
