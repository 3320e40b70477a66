"""The receipt of a rebuilt shard index, checked: the index and every twin that it names, from these files alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aiverify.convert.digesting import range_digests
from aiverify.convert.index import MAX_INDEX, MalformedIndexError, read_index
from aiverify.convert.proving import DisprovedError, ReceiptError, opened
from aiverify.errors import in_words
from aiverify.formats.safetensors import MalformedHeaderError, is_plain, read_header, shown
from aiverify.progress import Progress


@dataclass(frozen=True, slots=True)
class IndexProof:
    """How many shards were found as stated, and how many tensors the index places in them.

    ``undigested`` tells that the receipt lacks digests of shards: of these, only what they hold is as stated.
    """

    shards: int
    tensors: int
    undigested: bool


def check_index_receipt(predicate: Mapping[str, Any], index: Path, digest: object, progress: Progress) -> IndexProof:
    """Check the ``predicate`` of a receipt against the file ``index``, whose SHA-256 it states, and the shards.

    Raises DisprovedError with the first thing that is not as stated, and ReceiptError if nothing can be said.
    """
    try:
        shards = {str(entry["name"]): (entry["sha256"], entry["tensors"]) for entry in predicate["shards"]}
        sound = len(shards) == len(predicate["shards"]) and all(map(_is_inside, shards))
        total = predicate["total_size"]
    except (KeyError, TypeError) as error:
        raise ReceiptError(f"the receipt of {index.name} lacks a fact or states it wrongly: {error}") from error
    if not sound:
        raise ReceiptError(f"the receipt of {index.name} names shards that are no files beside it")
    try:
        with opened(index) as file:
            content = file.read(MAX_INDEX + 1)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise DisprovedError(f"{index.name} has the SHA-256 {found}, the receipt states {shown(str(digest))}")
        placed = read_index(content, index.name).shards
    except (OSError, MalformedIndexError) as error:
        raise ReceiptError(f"{index.name} cannot be read: {in_words(error)}") from error
    if set(placed.values()) != shards.keys():
        raise DisprovedError(f"{index.name} names other shards than the receipt lists")
    size = sum(_check_shard(index, name, facts, placed, progress) for name, facts in shards.items())
    if size != total:
        raise DisprovedError(f"the shards of {index.name} hold {size} bytes, the receipt states {shown(str(total))}")
    undigested = any(digest is None for digest, _ in shards.values())
    return IndexProof(shards=len(shards), tensors=len(placed), undigested=undigested)


def _check_shard(
    index: Path, name: str, facts: tuple[object, object], placed: Mapping[str, str], progress: Progress
) -> int:
    """How many bytes the tensors of one shard have."""
    digest, tensors = facts
    try:
        with opened(index.parent / name) as file:
            size = file.seek(0, 2)
            whole, _ = range_digests(file.fileno(), size, [], progress) if digest is not None else (None, [])
            if whole != digest:
                raise DisprovedError(f"{name} has the SHA-256 {whole}, the receipt states {shown(str(digest))}")
            header = read_header(file, size)
    except (OSError, MalformedHeaderError) as error:
        raise ReceiptError(f"{name} cannot be read: {in_words(error)}") from error
    held = {entry.name for entry in header.tensors}
    if held != {tensor for tensor, shard in placed.items() if shard == name} or len(held) != tensors:
        raise DisprovedError(f"{name} holds other tensors than {index.name} places there")
    return sum(entry.end - entry.start for entry in header.tensors)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return is_plain(name) and bool(parts) and ".." not in parts and not name.startswith("/")
