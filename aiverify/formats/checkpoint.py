"""A checkpoint as the scan leaves it for the conversion: the graph of its pickle, and where its storages lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aiverify.pickles.graph import Graph

ByteOrder: TypeAlias = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Inflated:
    """What a deflated entry states about the bytes that come out of it: how many, and their CRC-32."""

    length: int
    crc32: int


@dataclass(frozen=True, slots=True)
class StorageRange:
    """Where the bytes of one storage lie in the source file: ``length`` bytes at ``offset``.

    ``crc32`` is what the archive states for exactly these bytes, ``None`` where the container has no checksum of them.
    ``inflated`` is there when these bytes are deflated. The first ``skip`` bytes (after inflating) are a header, and no
    part of the storage. ``byteorder`` is the storage's own, where the checkpoint does not state one for all.
    """

    offset: int
    length: int
    crc32: int | None = None
    inflated: Inflated | None = None
    skip: int = 0
    byteorder: ByteOrder | None = None

    @property
    def size(self) -> int:
        """The bytes of the storage itself: inflated, and without the header."""
        return (self.inflated.length if self.inflated else self.length) - self.skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint. A storage that cannot be used stands in ``storages`` with the reason instead of a range.

    ``stream_sha256`` is the digest of the pickle that ``graph`` was read from. ``left_out`` are parts of the file that
    hold tensors and are no weights: where they stand, and what they are.
    """

    graph: Graph
    storages: Mapping[str, StorageRange | str]
    byteorder: ByteOrder
    stream_sha256: str
    left_out: tuple[tuple[str, str], ...] = ()
