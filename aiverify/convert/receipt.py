"""The record that proves how a twin came about: an in-toto statement that stands beside it.

It names the source file by its digest, and for every tensor the byte range that it was taken from and the digest of
its bytes in the twin. For a tensor with the transform ``copy``, hashing those two ranges is the whole proof. Nothing in
it depends on time, place or machine: the same source, the same options and the same version of aiverify give the same
receipt, byte for byte. What was not proved is listed under ``checks.missing``, and absent where it would stand.

Source: in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from aiverify import __version__
from aiverify.convert.plan import ConversionPlan, PlannedTensor, Transform
from aiverify.convert.writer import TwinDigests
from aiverify.pickles.graph import Graph

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://aiverify-weights.readthedocs.io/conversion-receipt/v1"
FORMAT = 1
SUFFIX = ".receipt.json"


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
) -> bytes:
    """The receipt of the twin with the file name ``twin``, as JSON. ``salvaged``: the source itself is blocked."""
    stated = [storage for storage in plan.storages if storage.range.crc32 is not None]
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
            "tensors": [_tensor(tensor, digests.tensors) for tensor in plan.tensors],
            "aliases": dict(plan.aliases),
            "dropped": [{"path": dropped.path, "type": dropped.type} for dropped in plan.dropped],
            "checks": {
                "checksums_verified": len(stated) if digests.checksums else 0,
                "storages_used": len(plan.storages),
                "opened_with_safetensors": True,
                "missing": _missing(digests, checksums=bool(stated)),
            },
        },
    }
    return json.dumps(statement, indent=2).encode() + b"\n"


def _missing(digests: TwinDigests, *, checksums: bool) -> list[str]:
    """What a conversion can prove and this one did not."""
    gaps = {
        "checksums of the archive": checksums and not digests.checksums,
        "SHA-256 of the source": digests.source is None,
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
    if tensor.transform in (Transform.GATHER, Transform.GATHER_BYTESWAP, Transform.INFLATE):
        facts["strides"] = {"size": tensor.size, "stride": tensor.stride, "itemsize": tensor.itemsize}
    if tensor.transform in (Transform.BYTESWAP, Transform.GATHER_BYTESWAP, Transform.INFLATE):
        facts["swap"] = tensor.swap
    if tensor.inflated is not None:
        facts["inflated"] = {"length": tensor.inflated.length, "crc32": tensor.inflated.crc32, "skip": tensor.skip}
    return facts
