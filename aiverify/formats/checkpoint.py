"""A checkpoint as the scan leaves it for the conversion: the graph of its pickle, and where its storages lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aiverify.pickles.graph import Graph


@dataclass(frozen=True, slots=True)
class StorageRange:
    """Where the raw bytes of one storage lie in the source file: ``length`` bytes, uncompressed, at ``offset``.

    ``crc32`` is what the archive states for exactly these bytes, ``None`` where the container has no checksum.
    """

    offset: int
    length: int
    crc32: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One PyTorch checkpoint. A storage that cannot be used stands in ``storages`` with the reason instead of a range.

    ``stream_sha256`` is the digest of the pickle that ``graph`` was read from.
    """

    graph: Graph
    storages: Mapping[str, StorageRange | str]
    byteorder: Literal["little", "big"]
    stream_sha256: str
