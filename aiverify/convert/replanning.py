"""The receipt that this version of aiverify would write of a source, to compare one that somebody else wrote with.

A receipt whose ranges are right could still give the tensors other names than the checkpoint does. So the pickle is
read again by the inert machine, and planned again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import ConversionPlan, StorageChecksumError
from aiverify.convert.proving import opened
from aiverify.convert.reading import read_exactly
from aiverify.convert.receipt import SourceFacts, pickle_facts, receipt
from aiverify.convert.writer import TwinDigests
from aiverify.formats.examine import examine
from aiverify.formats.interface import FormatError, ScanOptions

_PART = 4 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """The source file, its size in bytes, and its SHA-256 if the receipt states one."""

    path: Path
    size: int
    sha256: str | None


def expected_statement(statement: Mapping[str, Any], origin: Origin, digests: Mapping[str, str]) -> dict[str, Any]:
    """The statement that this version writes. What cannot be had from the source is taken from ``statement``.

    ``digests`` are those of the tensors of the twin, where the receipt states any. Raises FormatError or a
    ConversionError if this version does not convert the source.
    """
    subject, predicate = statement["subject"][0], statement["predicate"]
    facts = predicate["source"]
    checkpoint = examine(origin.path, str(facts.get("name")), ScanOptions()).checkpoint
    if checkpoint is None:
        raise FormatError("it cannot be read as a checkpoint")
    made = plan(
        checkpoint.graph.root,
        checkpoint.graph,
        checkpoint.storages,
        byteorder=checkpoint.byteorder,
        source_size=origin.size,
        left_out=checkpoint.left_out,
        lower=bool(predicate.get("lowered")),
    )
    twin = subject["digest"].get("sha256")
    if twin is not None:
        _check_checksums(origin.path, made)
    taken = TwinDigests(
        source=origin.sha256, twin=twin, size=made.output_size, tensors=digests, checksums=twin is not None
    )
    source = SourceFacts(
        name=facts.get("name"),
        size=origin.size,
        sha256=origin.sha256,
        repo=facts.get("repo"),
        revision=facts.get("revision"),
    )
    pickle = pickle_facts(checkpoint.graph, checkpoint.stream_sha256)
    salvaged = predicate.get("salvaged") is True
    parts = receipt(subject["name"], source, pickle, made, taken, salvaged=salvaged)
    expected: dict[str, Any] = json.loads(b"".join(parts))
    return expected


def _check_checksums(source: Path, made: ConversionPlan) -> None:
    """Verify the CRC-32 of every stored entry, as a conversion with digests does. Raises StorageChecksumError."""
    with opened(source) as file:
        for storage in made.storages:
            if storage.range.crc32 is None:
                continue
            found, done = 0, 0
            while done < storage.range.length:
                part = read_exactly(file.fileno(), storage.range.offset + done, min(_PART, storage.range.length - done))
                found = zlib.crc32(part, found)
                done += len(part)
            if found != storage.range.crc32:
                raise StorageChecksumError(storage.key, storage.range.crc32, found)


def difference(stated: Any, expected: Any, path: str = "") -> str | None:
    """Where two statements differ first, without the version of the converter; ``None`` if they are the same."""
    if isinstance(stated, dict) and isinstance(expected, dict):
        for key in sorted({*stated, *expected}):
            if f"{path}.{key}" == ".predicate.converter.version":
                continue
            if key not in stated or key not in expected:
                return f"{path}.{key}".lstrip(".")
            found = difference(stated[key], expected[key], f"{path}.{key}")
            if found is not None:
                return found
        return None
    if isinstance(stated, list) and isinstance(expected, list) and len(stated) == len(expected):
        pairs = enumerate(zip(stated, expected, strict=True))
        return next((found for index, pair in pairs if (found := difference(*pair, f"{path}[{index}]"))), None)
    return None if type(stated) is type(expected) and stated == expected else path.lstrip(".") or "everything"
