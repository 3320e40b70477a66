"""A receipt checked again, by anybody: every fact in it, from the twin and the source alone.

1. The twin must have the digest that the receipt states, hold exactly the tensors that it lists, where it says, and
   each of them the bytes that it states.
2. With the source at hand, its digest must be as stated too, and every tensor is made from it again as the receipt says
   (copied, gathered, swapped, inflated, flipped) and compared with the twin, byte by byte.
3. With the source, its pickle is then read again by the inert machine, and the receipt must be the one that this
   version of aiverify writes: every name, every range, everything that was left behind. A receipt of another version
   that differs is said to be uncheckable, not wrong.

A receipt that was written without digests proves nothing by itself, and everything together with the source. One that
stands beside an index is checked against the index and the twins that it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from aiverify.convert.digesting import range_digests
from aiverify.convert.index_proof import check_index_receipt
from aiverify.convert.plan import ConversionError, NotConvertibleError, StorageChecksumError, Transform
from aiverify.convert.proving import DisprovedError, ReceiptError, opened
from aiverify.convert.reading import read_exactly
from aiverify.convert.receipt import FORMAT, INDEX_TYPE, PREDICATE_TYPE, STATEMENT_TYPE
from aiverify.convert.regathering import Budget, OtherBytesError, claimed, number, numbers, regather
from aiverify.convert.replanning import Origin, difference, expected_statement
from aiverify.errors import in_words
from aiverify.formats.interface import FormatError
from aiverify.formats.safetensors import MalformedHeaderError, is_plain, read_header, shown
from aiverify.progress import Progress
from aiverify.version import __version__

MAX_RECEIPT = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proved: how many tensors the twin holds as stated, and how many of them were found in the source.

    ``undigested`` tells that the receipt states no digests. Then only what was found in the source is proved.
    ``shards`` is how many twins an index names, all of them as stated; it has no tensors of its own.
    """

    twin: str
    tensors: int
    found_in_source: int
    undigested: bool = False
    shards: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every tensor was proved."""
        return not self.undigested or self.found_in_source == self.tensors

    def __str__(self) -> str:
        """One sentence."""
        if self.shards is not None:
            stated = f"{self.twin} names {self.shards} shards and {self.tensors} tensors in them as the receipt states"
            return f"{stated}, which states no digests of them" if self.undigested else stated
        stated = f"{self.twin} holds {self.tensors} tensors"
        stated += ", of which the receipt states no digests" if self.undigested else " as the receipt states"
        return f"{stated}; {self.found_in_source} of them were found in the source" if self.found_in_source else stated


@dataclass(frozen=True, slots=True)
class _Stated:
    """One tensor as the receipt states it."""

    entry: Mapping[str, Any]
    dtype: str
    shape: tuple[int, ...]
    offset: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    """One tensor as the twin holds it: where in the file, how many bytes, and their SHA-256."""

    place: int
    length: int
    sha256: str


def check_receipt(receipt: Path, progress: Progress, *, twin: Path | None = None, source: Path | None = None) -> Proof:
    """Check the file ``receipt`` against its twin (by default the file that it names, beside it) and its source.

    Raises DisprovedError with the first thing that is not as stated, and ReceiptError if nothing can be said.
    """
    statement = _read(receipt)
    try:
        name, digest = statement["subject"][0]["name"], statement["subject"][0]["digest"].get("sha256")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ReceiptError(f"{receipt.name} lacks a fact or states it wrongly: {error}") from error
    if not isinstance(name, str) or not is_plain(name) or name in ("", ".", "..") or "/" in name:
        raise ReceiptError(f"{receipt.name} names a twin that is no file beside it")
    if statement["predicateType"] == INDEX_TYPE:
        if source is not None:
            raise ReceiptError(
                f"{receipt.name} is about an index, and names no source file",
                hint="Leave out --source, or check the receipt of a shard.",
            )
        index = check_index_receipt(statement["predicate"], twin or receipt.with_name(name), digest, progress)
        return Proof(
            twin=name, tensors=index.tensors, found_in_source=0, undigested=index.undigested, shards=index.shards
        )
    return _Check(receipt, statement, name, digest, progress).proof(twin or receipt.with_name(name), source)


def _read(receipt: Path) -> dict[str, Any]:
    try:
        with opened(receipt) as file:
            data = file.read(MAX_RECEIPT + 1)
        statement = json.loads(data.decode()) if len(data) <= MAX_RECEIPT else None
    except (OSError, ValueError, RecursionError) as error:
        raise ReceiptError(f"{receipt.name} cannot be read: {in_words(error)}") from error
    if (
        not isinstance(statement, dict)
        or statement.get("_type") != STATEMENT_TYPE
        or statement.get("predicateType") not in (PREDICATE_TYPE, INDEX_TYPE)
        or not isinstance(statement.get("predicate"), dict)
        or statement["predicate"].get("format") != FORMAT
    ):
        raise ReceiptError(f"{receipt.name} is not a receipt of a conversion that this version reads")
    return statement


class _Check:
    """The check of one receipt of a twin."""

    def __init__(
        self, receipt: Path, statement: dict[str, Any], name: str, digest: str | None, progress: Progress
    ) -> None:
        self.receipt = receipt
        self.statement = statement
        self.name = name
        self.digest = digest
        self.progress = progress
        self.predicate = statement["predicate"]
        try:
            self.stated = {entry["name"]: _stated(entry) for entry in self.predicate["tensors"]}
            if len(self.stated) != len(self.predicate["tensors"]):
                raise ValueError("a tensor stands in it twice")
            self.origin = self.predicate["source"]["sha256"]
            if digest is not None and not (isinstance(digest, str) and isinstance(self.origin, str)):
                raise ValueError("a digest is none")
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ReceiptError(f"{receipt.name} lacks a fact or states it wrongly: {error}") from error

    def proof(self, twin: Path, source: Path | None) -> Proof:
        if self.digest is None and source is None:
            raise ReceiptError(
                f"{self.receipt.name} states no digests: it proves nothing by itself", hint="Name the source file, too."
            )
        try:
            with opened(twin) as file:
                held = self._check_twin(twin, file)
                found = self._check_source(source, file, held) if source is not None else 0
        except (OSError, MalformedHeaderError) as error:
            raise ReceiptError(f"{twin.name} cannot be read: {in_words(error)}") from error
        return Proof(twin=self.name, tensors=len(self.stated), found_in_source=found, undigested=self.digest is None)

    # The twin

    def _check_twin(self, twin: Path, file: BinaryIO) -> Mapping[str, _Held]:
        """Every tensor that the twin holds."""
        size = file.seek(0, 2)
        header = read_header(file, size)
        start = size - max((entry.end for entry in header.tensors), default=0)
        ranges = [(start + entry.start, entry.end - entry.start) for entry in header.tensors]
        whole, digests = range_digests(file.fileno(), size, ranges, self.progress)
        if {entry.name for entry in header.tensors} != self.stated.keys():
            raise DisprovedError(f"{twin.name} holds other tensors than the receipt lists")
        for entry, found in zip(header.tensors, digests, strict=True):
            claim = self.stated[entry.name]
            described = (entry.dtype, entry.shape, entry.start) == (claim.dtype, claim.shape, claim.offset)
            if not described or (self.digest is not None and found != claim.sha256):
                raise DisprovedError(f"{twin.name}: tensor {shown(entry.name)} is not as the receipt states")
        if self.digest is not None and whole != self.digest:
            raise DisprovedError(f"{twin.name} has the SHA-256 {whole}, the receipt states {self.digest}")
        if self.predicate.get("twin") != {"size": size, "data_offset": start}:
            raise DisprovedError(f"{twin.name} has another size than the receipt states")
        if not _has_aliases(header.metadata, self.predicate.get("aliases")):
            raise DisprovedError(f"{twin.name} has other aliases than the receipt states")
        return {
            entry.name: _Held(start + entry.start, entry.end - entry.start, found)
            for entry, found in zip(header.tensors, digests, strict=True)
        }

    # The source

    def _check_source(self, source: Path, twin: BinaryIO, held: Mapping[str, _Held]) -> int:
        """How many tensors were made again from the source: all of them."""
        try:
            with opened(source) as file:
                size = file.seek(0, 2)
                copied = self._copied(source, held)
                ranges = [(start, length) for start, length in copied.values()]
                whole, digests = range_digests(file.fileno(), size, ranges, self.progress)
                if self.origin is not None and whole != self.origin:
                    raise DisprovedError(f"{source.name} has the SHA-256 {whole}, the receipt states {self.origin}")
                for name, found in zip(copied, digests, strict=True):
                    if found != held[name].sha256:
                        raise _not_there(name, source)
                self._regather(source, file, size, twin, held)
        except OSError as error:
            raise ReceiptError(f"{source.name} cannot be read: {in_words(error)}") from error
        self._check_plan(source, size, whole, held)
        return len(self.stated)

    def _copied(self, source: Path, held: Mapping[str, _Held]) -> dict[str, tuple[int, int]]:
        """Offset and length in the source of every tensor that was copied."""
        copied: dict[str, tuple[int, int]] = {}
        for name, claim in self.stated.items():
            if claim.entry["transform"] != Transform.COPY:
                continue
            origin = claim.entry["source"]
            copied[name] = (number(origin["offset"]), number(origin["length"]))
            if copied[name][1] != held[name].length:
                raise _not_there(name, source)
        return copied

    def _regather(self, source: Path, file: BinaryIO, size: int, twin: BinaryIO, held: Mapping[str, _Held]) -> None:
        """Make every tensor that was not copied again, and compare it with the twin."""
        budget = Budget()
        for name, claim in self.stated.items():
            if claim.entry["transform"] == Transform.COPY:
                continue
            try:
                tensor = claimed(claim.entry, held[name].length, size)
                budget.spend(tensor, size)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DisprovedError(f"tensor {shown(name)} cannot come about as the receipt says: {error}") from error
            try:
                regather(
                    tensor,
                    partial(read_exactly, file.fileno()),
                    partial(read_exactly, twin.fileno()),
                    held[name].place,
                )
            except OtherBytesError:
                raise _not_there(name, source) from None
            except ConversionError as error:
                raise DisprovedError(
                    f"tensor {shown(name)} cannot be made again from {source.name}: {error}"
                ) from error

    # The plan

    def _check_plan(self, source: Path, size: int, sha256: str, held: Mapping[str, _Held]) -> None:
        """Read the checkpoint again, plan again, and compare the receipt that comes of it."""
        facts = self.predicate["source"]
        try:
            digests = {name: item.sha256 for name, item in held.items()} if self.digest is not None else {}
            origin = Origin(source, size, sha256 if self.origin is not None else None)
            expected = expected_statement(self.statement, origin, digests)
        except (FormatError, NotConvertibleError, StorageChecksumError) as error:
            reason = f"{source.name} is not converted by this version: {error}"
        else:
            differing = difference(self.statement, expected)
            if differing is None:
                return
            reason = f"the receipt differs in {differing} from the one that this version writes of {source.name}"
        converter = self.predicate.get("converter")
        version = converter.get("version") if isinstance(converter, dict) else None
        if version not in (None, __version__):
            raise ReceiptError(f"{reason}; it was written by version {shown(str(version))}") from None
        if not isinstance(facts, dict):
            raise ReceiptError(f"{self.receipt.name} lacks a fact or states it wrongly: source") from None
        raise DisprovedError(reason)


def _stated(entry: Mapping[str, Any]) -> _Stated:
    Transform(entry["transform"])
    number(entry["source"]["offset"]), number(entry["source"]["length"])
    return _Stated(entry, str(entry["dtype"]), numbers(entry["shape"]), number(entry["offset"]), entry.get("sha256"))


def _has_aliases(metadata: Mapping[str, str], aliases: object) -> bool:
    """Whether the metadata of a twin states these aliases, whatever else it states."""
    return isinstance(aliases, dict) and all(metadata.get(name) == kept for name, kept in aliases.items())


def _not_there(name: str, source: Path) -> DisprovedError:
    return DisprovedError(f"tensor {shown(name)} does not stand in {source.name} where the receipt says")
