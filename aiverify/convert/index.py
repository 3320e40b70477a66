"""Sharded checkpoints: the index that says which shard holds which tensor, and the names that twins get.

Rules it keeps:

1. An index names files inside its own folder only: no absolute path, no ``..``, nothing that cannot be shown.
2. No tensor and no key stands in an index twice.
3. The index of the twins is made from what was written, never copied.

Source of the names: ``transformers.utils`` (``WEIGHTS_NAME``, ``SAFE_WEIGHTS_INDEX_NAME``) and huggingface_hub's
serialization of sharded models.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from aiverify.convert.plan import ConversionError, ConversionPlan
from aiverify.finding import Finding, Severity
from aiverify.formats.safetensors import is_plain, shown
from aiverify.rules import finding

MAX_INDEX = 100_000_000
SUFFIX = ".safetensors"

_INDEX = re.compile(r"(?P<model>.+)\.(?:bin|pt|pth|ckpt|safetensors)\.index(?P<variant>(?:\.[^.]+)?)\.json")
_CHECKPOINTS = frozenset({".bin", ".ckpt", ".dat", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pt2", ".pth", ".th"})
_EXAMPLES = 3


class MalformedIndexError(ConversionError):
    """A file that should be a shard index breaks one of the rules. The message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """A valid index: ``path`` is its own path in the artifact, ``shards`` maps each tensor to the path of its shard."""

    path: str
    shards: Mapping[str, str]


def is_index(path: str) -> bool:
    """Whether a file of this name is a shard index."""
    return _INDEX.fullmatch(PurePosixPath(path).name) is not None


def read_index(data: bytes, path: str) -> ShardIndex:
    """Read the index ``data`` that stands at ``path`` in the artifact. Raises MalformedIndexError."""
    if len(data) > MAX_INDEX:
        raise MalformedIndexError(f"{path}: an index of more than {MAX_INDEX} bytes")
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise MalformedIndexError(f"{path}: not a valid index: {error}") from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict):
        raise MalformedIndexError(f"{path}: not a valid index: it has no weight_map")
    folder = PurePosixPath(path).parent
    shards: dict[str, str] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_inside(shard):
            raise MalformedIndexError(f"{path}: {shown(name)} is said to be in {shown(str(shard))}, outside the folder")
        shards[name] = str(folder / shard)
    return ShardIndex(path=path, shards=shards)


def check_index(index: ShardIndex, tensors: Mapping[str, Collection[str] | None]) -> tuple[Finding, ...]:
    """Compare an index with its shards: AIV407 for each kind of disagreement.

    ``tensors`` maps the path of every file of the artifact that could be a shard to the names of its tensors, aliases
    included, or to ``None`` if they are not known.
    """
    named: dict[str, list[str]] = {}
    for name, shard in index.shards.items():
        named.setdefault(shard, []).append(name)
    findings: list[Finding] = []
    for shard, names in sorted(named.items()):
        if shard not in tensors:
            findings.append(_disagreement(index, f"{shard} is missing", names))
            continue
        known = tensors[shard]
        if known is None:
            continue
        held = set(known)
        lacking = [name for name in names if name not in held]
        if lacking:
            findings.append(_disagreement(index, f"{shard} lacks tensors that the index places there", lacking))
        unnamed = sorted(held.difference(names))
        if unnamed:
            text = f"{shard} holds tensors that the index does not place there"
            findings.append(_disagreement(index, text, unnamed, Severity.LOW))
    return tuple(findings)


def examine_index(
    data: bytes, path: str, tensors: Mapping[str, Collection[str] | None]
) -> tuple[ShardIndex | None, tuple[Finding, ...]]:
    """Read and compare in one: the index, or ``None`` if it is malformed, and the findings either way."""
    try:
        index = read_index(data, path)
    except MalformedIndexError as error:
        return None, (finding("AIV407", str(error), file=path),)
    return index, check_index(index, tensors)


def twin_paths(sources: Iterable[str]) -> dict[str, str]:
    """The path that the twin of each checkpoint gets in the output folder.

    ``pytorch_model`` becomes ``model``, as loaders expect, and the suffix of a checkpoint ``.safetensors``. Checkpoints
    that would get the same name keep all of theirs.
    """
    short = {source: _renamed(source) for source in sources}
    times = Counter(short.values())
    return {source: twin if times[twin] == 1 else source + SUFFIX for source, twin in short.items()}


def twin_index_path(path: str) -> str:
    """The path that the index of the twins gets, given the path of the checkpoint's index."""
    file = PurePosixPath(path)
    match = _INDEX.fullmatch(file.name)
    if match is None:
        return str(file.with_name(f"{file.stem}{SUFFIX}.index.json"))
    return str(file.with_name(f"{_model(match['model'])}{SUFFIX}.index{match['variant']}.json"))


def rebuilt_index(
    index: ShardIndex, plans: Mapping[str, ConversionPlan], twins: Mapping[str, str]
) -> tuple[str, bytes]:
    """Path and content of the index of the twins, from the tensors that they store.

    ``plans`` and ``twins`` are by the path of the checkpoint. Raises ConversionError.
    """
    members = set(index.shards.values())
    missing = sorted(members.difference(twins))
    if missing:
        raise ConversionError(
            f"{index.path} names {len(missing)} shards that are not converted, the first is {missing[0]}",
            hint="A model with a part of its shards is of no use. Convert all of them.",
        )
    path = PurePosixPath(twin_index_path(index.path))
    shards: dict[str, str] = {}
    total = 0
    for source, plan in plans.items():
        if source not in members:
            continue
        for tensor in plan.tensors:
            if tensor.name in shards:
                raise ConversionError(f"two shards of {index.path} hold the tensor {tensor.name}")
            shards[tensor.name] = str(PurePosixPath(twins[source]).relative_to(path.parent))
            total += tensor.length
    return str(path), twin_index(shards, total)


def twin_index(shards: Mapping[str, str], total_size: int) -> bytes:
    """The index of the twins: the shard of each stored tensor, relative to the index, and the bytes of them all."""
    content = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(shards.items()))}
    return json.dumps(content, indent=2).encode() + b"\n"


def _renamed(source: str) -> str:
    file = PurePosixPath(source)
    stem = file.stem if file.suffix.lower() in _CHECKPOINTS else file.name
    return str(file.with_name(_model(stem) + SUFFIX))


def _model(name: str) -> str:
    return name.removeprefix("pytorch_") if re.match(r"pytorch_model\b", name) else name


def _is_inside(shard: str) -> bool:
    """Whether a file name leads to a place in or below its folder, on every system."""
    parts = shard.split("/")
    return is_plain(shard) and not any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _disagreement(index: ShardIndex, text: str, names: list[str], severity: Severity | None = None) -> Finding:
    evidence = {"tensors": len(names), "examples": [name[:200] for name in names[:_EXAMPLES]]}
    return finding("AIV407", text, file=index.path, severity=severity, evidence=evidence)
