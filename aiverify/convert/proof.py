"""A receipt checked again, by anybody and without the converter: digests of two files and of the ranges in them.

The twin must have the digest that the receipt states, hold exactly the tensors that it lists, and each of them the
bytes that it states. With the source file at hand, its digest must be as stated too, and every tensor that was copied
must be found in its range. Strided and byte-swapped tensors are proved by converting again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiverify.convert.plan import ConversionError
from aiverify.convert.reading import range_digests
from aiverify.convert.receipt import FORMAT, PREDICATE_TYPE, STATEMENT_TYPE
from aiverify.formats.safetensors import MalformedHeaderError, is_plain, read_header, shown
from aiverify.progress import Progress

MAX_RECEIPT = 512 << 20


class ReceiptError(ConversionError):
    """The receipt cannot be read, or a file is not what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proved: how many tensors the twin holds as stated, and how many of them were found in the source."""

    twin: str
    tensors: int
    found_in_source: int


@dataclass(frozen=True, slots=True)
class _Stated:
    """One tensor as the receipt states it; ``origin`` are offset and length in the source, ``None`` if not copied."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    sha256: str
    origin: tuple[int, int] | None


def check_receipt(receipt: Path, progress: Progress, *, twin: Path | None = None, source: Path | None = None) -> Proof:
    """Check the file ``receipt`` against its twin (by default the file that it names, beside it) and its source.

    Raises ReceiptError with the first thing that is not as stated.
    """
    statement = _read(receipt)
    try:
        name, digest = statement["subject"][0]["name"], statement["subject"][0]["digest"]["sha256"]
        predicate = statement["predicate"]
        stated = {entry["name"]: _stated(entry) for entry in predicate["tensors"]}
        if len(stated) != len(predicate["tensors"]):
            raise ValueError("a tensor stands in it twice")
        origin = predicate["source"]["sha256"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ReceiptError(f"{receipt.name} lacks a fact or states it wrongly: {error}") from error
    if not isinstance(name, str) or not is_plain(name) or name in ("", ".", "..") or "/" in name:
        raise ReceiptError(f"{receipt.name} names a twin that is no file beside it")
    _check_twin(twin or receipt.with_name(name), digest, stated, progress)
    found = _check_source(source, origin, stated, progress) if source else 0
    return Proof(twin=name, tensors=len(stated), found_in_source=found)


def _read(receipt: Path) -> dict[str, Any]:
    try:
        with receipt.open("rb") as file:
            data = file.read(MAX_RECEIPT + 1)
        statement = json.loads(data.decode()) if len(data) <= MAX_RECEIPT else None
    except (OSError, ValueError, RecursionError) as error:
        raise ReceiptError(f"{receipt.name} cannot be read: {error}") from error
    if (
        not isinstance(statement, dict)
        or statement.get("_type") != STATEMENT_TYPE
        or statement.get("predicateType") != PREDICATE_TYPE
        or not isinstance(statement.get("predicate"), dict)
        or statement["predicate"].get("format") != FORMAT
    ):
        raise ReceiptError(f"{receipt.name} is not a receipt of a conversion that this version reads")
    return statement


def _stated(entry: Mapping[str, Any]) -> _Stated:
    source, copied = entry["source"], entry["transform"] == "copy"
    origin = (_count(source["offset"]), _count(source["length"])) if copied else None
    return _Stated(str(entry["dtype"]), tuple(entry["shape"]), _count(entry["offset"]), str(entry["sha256"]), origin)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number of bytes that is none")
    return value


def _check_twin(twin: Path, digest: str, stated: Mapping[str, _Stated], progress: Progress) -> None:
    try:
        with twin.open("rb") as file:
            size = file.seek(0, 2)
            header = read_header(file, size)
            start = size - max((entry.end for entry in header.tensors), default=0)
            ranges = [(start + entry.start, entry.end - entry.start) for entry in header.tensors]
            whole, digests = range_digests(file.fileno(), size, ranges, progress)
    except (OSError, MalformedHeaderError) as error:
        raise ReceiptError(f"{twin.name} cannot be read: {error}") from error
    if {entry.name for entry in header.tensors} != stated.keys():
        raise ReceiptError(f"{twin.name} holds other tensors than the receipt lists")
    for entry, found in zip(header.tensors, digests, strict=True):
        claim = stated[entry.name]
        if (entry.dtype, entry.shape, entry.start, found) != (claim.dtype, claim.shape, claim.offset, claim.sha256):
            raise ReceiptError(f"{twin.name}: tensor {shown(entry.name)} is not as the receipt states")
    if whole != digest:
        raise ReceiptError(f"{twin.name} has the SHA-256 {whole}, the receipt states {digest}")


def _check_source(source: Path, digest: str, stated: Mapping[str, _Stated], progress: Progress) -> int:
    copied = [(name, claim, claim.origin) for name, claim in stated.items() if claim.origin]
    try:
        with source.open("rb") as file:
            whole, digests = range_digests(
                file.fileno(), file.seek(0, 2), [origin for _, _, origin in copied], progress
            )
    except OSError as error:
        raise ReceiptError(f"{source.name} cannot be read: {error}") from error
    if whole != digest:
        raise ReceiptError(f"{source.name} has the SHA-256 {whole}, the receipt states {digest}")
    for (name, claim, _), found in zip(copied, digests, strict=True):
        if found != claim.sha256:
            raise ReceiptError(f"tensor {shown(name)} does not stand in {source.name} where the receipt says")
    return len(copied)
