"""What a manifest says about one file: the digest of its bytes, whole or in shards.

Source: https://github.com/ossf/model-signing-spec, spec/v1.0.md sections 5 and 6. A ``Resource`` exists only if its
parts begin at 0, follow each other without a gap, and are all of the shard size but the last, which may be shorter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiverify.signatures.interface import MalformedError, UnsupportedError

DIGEST_BYTES: Mapping[str, int] = {"sha256": 32, "blake2b": 64, "blake3": 32}
"""The digest algorithms that a manifest may use, and the length of what they give, in bytes."""

_HEX = re.compile("[0-9a-fA-F]+")
_SHARDED = re.compile(r"(?P<algorithm>.+)-sharded-[0-9]+")
_SHARD_NAME = re.compile(r"(?P<path>.*):(?P<start>0|[1-9][0-9]{0,18}):(?P<end>[1-9][0-9]{0,18})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """The digest (lower-case hex) of the bytes from ``start`` to ``end``; ``None`` is the end of the file."""

    digest: str
    start: int = 0
    end: int | None = None

    def having(self, digest: str) -> Part:
        """The same bytes, with this digest."""
        return Part(digest, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Resource:
    """What was signed about one file."""

    algorithm: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int | None:
        """The size of the file in bytes, where the parts tell it."""
        return self.parts[-1].end

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the whole file, where that is what was signed."""
        return self.parts[0].digest if self.algorithm == "sha256" and len(self.parts) == 1 else None


def whole(algorithm: str, digest: str) -> Resource:
    """The resource of a file that was hashed as a whole. Raises MalformedError and UnsupportedError."""
    return Resource(algorithm, (Part(hex_digest(algorithm, digest)),))


def sharded(algorithm: str, parts: Sequence[Part], shard_size: int) -> Resource:
    """The resource of a file that was hashed in shards of ``shard_size`` bytes. Raises MalformedError."""
    ordered = tuple(sorted(parts, key=lambda part: part.start))
    expected = 0
    for part in ordered:
        if part.start != expected or part.end is None or not part.start < part.end <= part.start + shard_size:
            raise MalformedError("the shards of a file do not follow each other")
        expected = part.end
    if any(part.end != part.start + shard_size for part in ordered[:-1]):
        raise MalformedError("a shard that is not the last of its file is not of the shard size")
    return Resource(algorithm, ordered)


def shard(name: str, algorithm: str, digest: str) -> tuple[str, str, Part]:
    """The path, the algorithm and the part that an entry for a shard stands for. Raises MalformedError.

    model_signing 1.1 writes ``sha256-sharded-4`` where the specification has ``sha256``.
    """
    found = _SHARD_NAME.fullmatch(name)
    if found is None:
        raise MalformedError(f"{name[:80]!r} does not name a shard, as path:start:end")
    mangled = _SHARDED.fullmatch(algorithm)
    algorithm = mangled["algorithm"] if mangled else algorithm
    return found["path"], algorithm, Part(hex_digest(algorithm, digest), int(found["start"]), int(found["end"]))


def hex_digest(algorithm: str, digest: str) -> str:
    """``digest`` in lower case, if it has the form of one. Raises MalformedError and UnsupportedError."""
    length = DIGEST_BYTES.get(algorithm)
    if length is None:
        raise UnsupportedError(f"digests are {algorithm[:80]!r}; known are {', '.join(DIGEST_BYTES)}")
    if len(digest) != 2 * length or not _HEX.fullmatch(digest):
        name = "SHA-256" if algorithm == "sha256" else algorithm
        raise MalformedError(f"{digest[:80]!r} is not a {name} digest")
    return digest.lower()
