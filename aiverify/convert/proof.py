"""A receipt checked again, by anybody and without the converter: digests of two files and of the ranges in them.

The twin must have the digest that the receipt states, hold exactly the tensors that it lists, and each of them the
bytes that it states. With the source file at hand, its digest must be as stated too, and every tensor that was copied
must be found in its range. Strided and byte-swapped tensors are proved by converting again. A receipt that was written
without digests proves nothing by itself; with the source, its copied tensors are compared with their ranges.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from aiverify.convert.digesting import range_digests
from aiverify.convert.plan import ConversionError
from aiverify.convert.receipt import FORMAT, PREDICATE_TYPE, STATEMENT_TYPE
from aiverify.formats.safetensors import MalformedHeaderError, is_plain, read_header, shown
from aiverify.progress import Progress

MAX_RECEIPT = 512 << 20


class ReceiptError(ConversionError):
    """The receipt, or a file that it is about, cannot be read: nothing was proved and nothing was disproved."""


class DisprovedError(ReceiptError):
    """A file is not what the receipt says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proved: how many tensors the twin holds as stated, and how many of them were found in the source.

    ``undigested`` tells that the receipt states no digests. Then only what was found in the source is proved.
    """

    twin: str
    tensors: int
    found_in_source: int
    undigested: bool = False

    @property
    def complete(self) -> bool:
        """Whether every tensor was proved."""
        return not self.undigested or self.found_in_source == self.tensors

    def __str__(self) -> str:
        """One sentence."""
        stated = f"{self.twin} holds {self.tensors} tensors"
        stated += ", of which the receipt states no digests" if self.undigested else " as the receipt states"
        return f"{stated}; {self.found_in_source} of them were found in the source" if self.found_in_source else stated


@dataclass(frozen=True, slots=True)
class _Stated:
    """One tensor as the receipt states it; ``origin`` are offset and length in the source, ``None`` if not copied."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    sha256: str | None
    origin: tuple[int, int] | None


def check_receipt(receipt: Path, progress: Progress, *, twin: Path | None = None, source: Path | None = None) -> Proof:
    """Check the file ``receipt`` against its twin (by default the file that it names, beside it) and its source.

    Raises DisprovedError with the first thing that is not as stated, and ReceiptError if nothing can be said.
    """
    statement = _read(receipt)
    try:
        name, digest = statement["subject"][0]["name"], statement["subject"][0]["digest"].get("sha256")
        predicate = statement["predicate"]
        stated = {entry["name"]: _stated(entry) for entry in predicate["tensors"]}
        if len(stated) != len(predicate["tensors"]):
            raise ValueError("a tensor stands in it twice")
        origin = predicate["source"]["sha256"]
        if digest is not None and not (isinstance(digest, str) and isinstance(origin, str)):
            raise ValueError("a digest is none")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ReceiptError(f"{receipt.name} lacks a fact or states it wrongly: {error}") from error
    if not isinstance(name, str) or not is_plain(name) or name in ("", ".", "..") or "/" in name:
        raise ReceiptError(f"{receipt.name} names a twin that is no file beside it")
    if digest is None and source is None:
        raise ReceiptError(
            f"{receipt.name} states no digests: it proves nothing by itself", hint="Name the source file, too."
        )
    held = _check_twin(twin or receipt.with_name(name), digest, stated, progress)
    found = _check_source(source, origin, stated, held, progress) if source else 0
    return Proof(twin=name, tensors=len(stated), found_in_source=found, undigested=digest is None)


def _read(receipt: Path) -> dict[str, Any]:
    try:
        with _opened(receipt) as file:
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
    return _Stated(str(entry["dtype"]), tuple(entry["shape"]), _count(entry["offset"]), entry.get("sha256"), origin)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number of bytes that is none")
    return value


def _check_twin(
    twin: Path, digest: str | None, stated: Mapping[str, _Stated], progress: Progress
) -> Mapping[str, tuple[int, str]]:
    """The length and the SHA-256 of every tensor that the twin holds."""
    try:
        with _opened(twin) as file:
            size = file.seek(0, 2)
            header = read_header(file, size)
            start = size - max((entry.end for entry in header.tensors), default=0)
            ranges = [(start + entry.start, entry.end - entry.start) for entry in header.tensors]
            whole, digests = range_digests(file.fileno(), size, ranges, progress)
    except (OSError, MalformedHeaderError) as error:
        raise ReceiptError(f"{twin.name} cannot be read: {error}") from error
    if {entry.name for entry in header.tensors} != stated.keys():
        raise DisprovedError(f"{twin.name} holds other tensors than the receipt lists")
    for entry, found in zip(header.tensors, digests, strict=True):
        claim = stated[entry.name]
        described = (entry.dtype, entry.shape, entry.start) == (claim.dtype, claim.shape, claim.offset)
        if not described or (digest is not None and found != claim.sha256):
            raise DisprovedError(f"{twin.name}: tensor {shown(entry.name)} is not as the receipt states")
    if digest is not None and whole != digest:
        raise DisprovedError(f"{twin.name} has the SHA-256 {whole}, the receipt states {digest}")
    lengths = {entry.name: entry.end - entry.start for entry in header.tensors}
    return {entry.name: (lengths[entry.name], found) for entry, found in zip(header.tensors, digests, strict=True)}


def _check_source(
    source: Path,
    digest: str | None,
    stated: Mapping[str, _Stated],
    held: Mapping[str, tuple[int, str]],
    progress: Progress,
) -> int:
    """How many tensors were found in the source, of those that were copied. ``held`` is what the twin holds."""
    copied = [(name, claim.origin) for name, claim in stated.items() if claim.origin]
    for name, (_, length) in copied:
        if length != held[name][0]:
            raise _not_there(name, source)
    try:
        with _opened(source) as file:
            size = file.seek(0, 2)
            whole, digests = range_digests(file.fileno(), size, [origin for _, origin in copied], progress)
    except OSError as error:
        raise ReceiptError(f"{source.name} cannot be read: {error}") from error
    if digest is not None and whole != digest:
        raise DisprovedError(f"{source.name} has the SHA-256 {whole}, the receipt states {digest}")
    for (name, _), found in zip(copied, digests, strict=True):
        if found != held[name][1]:
            raise _not_there(name, source)
    return len(copied)


def _not_there(name: str, source: Path) -> DisprovedError:
    return DisprovedError(f"tensor {shown(name)} does not stand in {source.name} where the receipt says")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file ``path``; what is no regular file is not waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        yield file
