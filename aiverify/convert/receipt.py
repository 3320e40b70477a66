"""The record that proves how a twin came about: an in-toto statement that stands beside it.

It names the source file by its digest, and for every tensor the byte range that it was taken from and the digest of
its bytes in the twin. For a tensor with the transform ``copy``, hashing those two ranges is the whole proof; for the
others, the receipt says what else was done. Tensors that were taken apart are listed under ``lowered``. Nothing in it
depends on time, place or machine: the same source, the same options and the same version of aiverify give the same
receipt, byte for byte. What was not proved is listed under ``checks.missing``, and absent where it would stand.

Source: in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from aiverify import __version__
from aiverify.convert.plan import ConversionPlan, PlannedTensor, Transform
from aiverify.convert.writer import TwinDigests
from aiverify.pickles.graph import Graph

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://aiverify-weights.readthedocs.io/conversion-receipt/v1"
INDEX_TYPE = "https://aiverify-weights.readthedocs.io/index-receipt/v1"
FORMAT = 1
SUFFIX = ".receipt.json"

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """The checkpoint: its path in the artifact, size in bytes and SHA-256; repository and commit where it has them."""

    name: str
    size: int
    sha256: str | None
    repo: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PickleFacts:
    """The pickle that the tensors were read from: SHA-256 of its bytes, the names it asks for, and its length."""

    sha256: str
    globals: tuple[str, ...]
    opcodes: int


def pickle_facts(graph: Graph, sha256: str) -> PickleFacts:
    """The facts of the stream that ``graph`` was read from; ``sha256`` is the digest of its bytes."""
    names = {found.dotted for found in graph.globals}
    return PickleFacts(sha256=sha256, globals=tuple(sorted(names)), opcodes=graph.opcodes)


def receipt(
    twin: str,
    source: SourceFacts,
    pickle: PickleFacts,
    plan: ConversionPlan,
    digests: TwinDigests,
    *,
    salvaged: bool = False,
) -> Iterator[bytes]:
    """The receipt of the twin with the file name ``twin``, as JSON in parts. ``salvaged``: the source is blocked."""
    stated, verified = _checksums(plan, digests)
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": twin, "digest": {"sha256": digests.twin} if digests.twin is not None else {}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "format": FORMAT,
            "converter": {"name": "aiverify-weights", "version": __version__},
            "source": {
                "name": source.name,
                "size": source.size,
                "sha256": source.sha256,
                "repo": source.repo,
                "revision": source.revision,
            },
            "pickle": {"sha256": pickle.sha256, "globals": pickle.globals, "opcodes": pickle.opcodes},
            "salvaged": salvaged,
            "twin": {"size": digests.size, "data_offset": len(plan.header)},
            "aliases": dict(plan.aliases),
            "lowered": [{"name": item.name, "form": item.form, **item.facts} for item in plan.lowered],
            "dropped": [{"path": dropped.path, "type": dropped.type} for dropped in plan.dropped],
            "checks": {
                "checksums_verified": verified,
                "storages_used": len(plan.storages),
                "opened_with_safetensors": True,
                "missing": _missing(source, digests, checksums=verified < stated),
            },
        },
    }
    text = json.dumps(statement, indent=2).removesuffix("\n  }\n}")
    yield f'{text},\n    "tensors": ['.encode()
    # One by one, because all of them together are larger than everything else; one line each is enough to read.
    for start in range(0, len(plan.tensors), _AT_ONCE):
        lines = [json.dumps(_tensor(tensor, digests.tensors)) for tensor in plan.tensors[start : start + _AT_ONCE]]
        yield ((",\n      " if start else "\n      ") + ",\n      ".join(lines)).encode()
    yield b"\n    ]\n  }\n}\n"


def index_receipt(index: PurePosixPath, content: bytes, origin: str, twins: Mapping[str, str | None]) -> bytes:
    """The receipt of ``content``, the rebuilt index that stands at ``index`` in the output, as JSON.

    ``origin`` is the path of the index in whose place it was made, ``twins`` the SHA-256 of each twin by its path in
    the output, ``None`` where it was not taken.
    """
    stated = json.loads(content)
    shards = Counter(stated["weight_map"].values())
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": index.name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}],
        "predicateType": INDEX_TYPE,
        "predicate": {
            "format": FORMAT,
            "converter": {"name": "aiverify-weights", "version": __version__},
            "source": {"name": origin},
            "shards": [
                {"name": name, "sha256": twins.get(str(index.parent / name)), "tensors": shards[name]}
                for name in sorted(shards)
            ],
            "total_size": stated["metadata"]["total_size"],
        },
    }
    return json.dumps(statement, indent=2).encode() + b"\n"


def _checksums(plan: ConversionPlan, digests: TwinDigests) -> tuple[int, int]:
    """For how many storages the archive states a checksum, and how many of these were verified.

    Stored ones are verified on the way, if digests are taken at all. Deflated ones are verified whenever they are
    inflated, and that is whenever a tensor needs a byte of them.
    """
    inflated = {tensor.storage for tensor in plan.tensors if tensor.inflated is not None}
    stated = verified = 0
    for storage in plan.storages:
        if storage.range.crc32 is not None or storage.range.inflated is not None:
            stated += 1
            verified += storage.key in inflated if storage.range.inflated is not None else digests.checksums
    return stated, verified


def _missing(source: SourceFacts, digests: TwinDigests, *, checksums: bool) -> list[str]:
    """What a conversion can prove and this one did not."""
    gaps = {
        "checksums of the archive": checksums,
        "SHA-256 of the source": source.sha256 is None,
        "SHA-256 of the twin": digests.twin is None,
        "SHA-256 of each tensor": digests.twin is None,
    }
    return [name for name, missing in gaps.items() if missing]


def _tensor(tensor: PlannedTensor, digests: Mapping[str, str]) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": tensor.shape,
        "transform": tensor.transform.value,
        "source": {"storage": tensor.storage, "offset": tensor.source_offset, "length": tensor.source_length},
        "offset": tensor.offset,
    }
    if tensor.name in digests:
        facts["sha256"] = digests[tensor.name]
    if tensor.transform not in (Transform.COPY, Transform.BYTESWAP):
        facts["strides"] = {"size": tensor.size, "stride": tensor.stride, "itemsize": tensor.itemsize}
    if tensor.transform not in (Transform.COPY, Transform.GATHER):
        facts["swap"] = tensor.swap
    if tensor.flip:
        facts["flip"] = tensor.flip.hex()
    if tensor.inflated is not None:
        facts["inflated"] = {"length": tensor.inflated.length, "crc32": tensor.inflated.crc32, "skip": tensor.skip}
    return facts
