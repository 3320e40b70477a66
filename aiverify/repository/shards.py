"""The index of a sharded checkpoint against its shards, for every command alike.

Rules it keeps:

1. Every name of the index is in the shard that it names, and in no other; no shard holds what the index does not name.
   A loader reads whole shards, so that of two tensors of one name the last one wins.
2. ``total_size`` is the number of bytes of the tensors. Tools have counted it in several ways: it is said, and no more.
3. The type that ``config.json`` names is the type of most bytes, unless the configuration says that they are quantized.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath

from aiverify.artifact import FileClass
from aiverify.convert.index import MAX_INDEX, ShardIndex, examine_index, is_index
from aiverify.finding import Finding, Severity
from aiverify.formats.interface import Format
from aiverify.formats.names import file_class
from aiverify.formats.safetensors import MalformedHeaderError, read_header
from aiverify.repository.subject import Part, Repository
from aiverify.rules import finding

_EXAMPLES = 3
_TYPES: Mapping[str, str] = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
_FEW = 64  # bytes of tensors below which a type says nothing


def check_shards(repository: Repository, pickled: Collection[str], said: Collection[str]) -> Iterator[Finding]:
    """AIV407 for each disagreement of an index with its shards, and AIV511 for types.

    ``pickled`` are checkpoints that are going to be planned: the names in them are known then, and the index is
    compared there (``convert/planning.py``). Of the files in ``said`` it is known that they are no index.
    """
    known: dict[str, Collection[str] | None] = dict.fromkeys(repository.left_out)
    known |= {
        part.path: part.tensors for part in repository.parts.values() if file_class(part.format) is FileClass.WEIGHTS
    }
    for part in repository.of(Format.JSON):
        if is_index(part.path) and part.path not in said:
            yield from _index(part, repository, known, pickled)
        elif PurePosixPath(part.path).name == "config.json":
            yield from _types(part, repository)


def _index(
    part: Part, repository: Repository, known: Mapping[str, Collection[str] | None], pickled: Collection[str]
) -> Iterator[Finding]:
    data = part.read(MAX_INDEX)
    if data is None:
        return
    index, said = examine_index(data, part.path, known)
    if index is None or not set(index.shards.values()).intersection(pickled):
        yield from said
    if index is None:
        return
    yield from _twice(index, known)
    yield from _size(index, data, repository)


def _twice(index: ShardIndex, known: Mapping[str, Collection[str] | None]) -> Iterator[Finding]:
    """Tensors that stand in several shards of an index."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for shard in sorted(set(index.shards.values())):
        for name in set(known.get(shard) or ()):
            holders[name].append(shard)
    twice = sorted(name for name, shards in holders.items() if len(shards) > 1)
    if twice:
        first = ", ".join(holders[twice[0]][:_EXAMPLES])
        text = f"{len(twice)} tensors stand in several shards, the first, {twice[0][:200]}, in {first}"
        evidence = {"tensors": len(twice), "examples": [name[:200] for name in twice[:_EXAMPLES]]}
        yield finding("AIV407", text, file=index.path, severity=Severity.MEDIUM, evidence=evidence)


def _size(index: ShardIndex, data: bytes, repository: Repository) -> Iterator[Finding]:
    metadata = json.loads(data).get("metadata")
    stated = metadata.get("total_size") if isinstance(metadata, dict) else None
    shards = [repository.parts.get(path) for path in set(index.shards.values())]
    sizes = [_payload(part) for part in shards]
    if not isinstance(stated, int | float) or isinstance(stated, bool) or None in sizes:
        return
    total = sum(size for size in sizes if size is not None)
    if stated != total:
        text = f"the index states {stated} bytes of tensors, the shards hold {total}"
        yield finding("AIV407", text, file=index.path, severity=Severity.LOW, evidence={"total_size": total})


def _payload(part: Part | None) -> int | None:
    """The bytes behind the header of a safetensors file."""
    if part is None or part.format is not Format.SAFETENSORS or part.tensors is None:
        return None
    try:
        with part.location.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError:
        return None
    return part.size - 8 - length


def _types(part: Part, repository: Repository) -> Iterator[Finding]:
    """Compare the type that a configuration names with that of the first safetensors file beside it."""
    try:
        content = json.loads(part.read() or b"null")
    except (ValueError, RecursionError):
        return
    if not isinstance(content, dict) or content.get("quantization_config"):
        return
    stated = content.get("dtype") or content.get("torch_dtype")
    expected = _TYPES.get(stated.removeprefix("torch.")) if isinstance(stated, str) else None
    folder = PurePosixPath(part.path).parent
    beside = (
        other
        for other in repository.of(Format.SAFETENSORS)
        if PurePosixPath(other.path).parent == folder and other.tensors is not None
    )
    for other in islice(beside, 1) if expected else ():
        sizes: Counter[str] = Counter()
        try:
            with other.location.open("rb") as file:
                for tensor in read_header(file, other.size).tensors:
                    sizes[tensor.dtype] += tensor.end - tensor.start
        except (OSError, MalformedHeaderError):
            return
        kind, most = sizes.most_common(1)[0] if sizes else (expected, 0)
        if kind != expected and most > _FEW:
            text = f"the configuration says {stated}, most of {other.path} is {kind}"
            yield finding("AIV511", text, file=part.path, evidence={"stated": stated, "found": kind})
