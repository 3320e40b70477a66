"""Which files of a repository no loader would read, going by their names: they need not be downloaded.

Loaders take safetensors where there are any. So, beside safetensors weights,

- a pickle of the same weights is left alone: one of the same name in the same folder, where ``pytorch_model`` and
  ``model`` count as the same name, whole or in shards; with its index,
- and so are the weights of other frameworks.

A pickle without such a counterpart stays, and so does everything where no safetensors are, or not all shards of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SAFETENSORS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
OTHERS = (".gguf", ".h5", ".msgpack", ".onnx", ".onnx_data", ".ot", ".tflite")

_INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")


def needless(paths: Iterable[str]) -> frozenset[str]:
    """Those of ``paths`` that no loader would read."""
    paths = list(paths)
    whole = _weights(paths)
    if not whole:
        return frozenset()
    return frozenset(path for path in paths if path.lower().endswith(OTHERS) or _is_pickle_of(whole, path))


def _weights(paths: list[str]) -> frozenset[str]:
    """What the safetensors weights are called that are there as a whole."""
    shards: dict[tuple[str, int], set[int]] = {}
    whole = set()
    for path in paths:
        if path.endswith(SAFETENSORS):
            stem = path.removesuffix(SAFETENSORS)
            shard = _SHARD.fullmatch(stem)
            if shard is None:
                whole.add(_name(stem))
            else:
                shards.setdefault((_name(shard["stem"]), int(shard["count"])), set()).add(int(shard["number"]))
    for (name, count), numbers in shards.items():
        if len(numbers) == count and min(numbers) == 1 and max(numbers) == count:
            whole.add(name)
    return frozenset(whole)


def _is_pickle_of(whole: frozenset[str], path: str) -> bool:
    path = path.removesuffix(_INDEX)
    if not path.endswith(PICKLES):
        return False
    stem = path.rpartition(".")[0]
    shard = _SHARD.fullmatch(stem)
    return _name(shard["stem"] if shard else stem) in whole


def _name(stem: str) -> str:
    """A stem by which the two forms of the same weights are called alike."""
    folder, slash, name = stem.rpartition("/")
    return folder + slash + re.sub(r"^pytorch_model(?=$|\.)", "model", name)
