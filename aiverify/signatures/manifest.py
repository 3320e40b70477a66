"""The signed list path -> digest of an OpenSSF Model Signing signature.

Source: https://github.com/ossf/model-signing-spec, spec/v1.0.md. A ``Manifest`` exists only if all of this holds:

- the payload is an in-toto Statement v1 with the predicate type of OMS v1.0 and exactly one subject;
- there is at least one resource; names are valid (``names.py``) and distinct, a name of shards before its offsets;
- digests are hex of the length of their algorithm; the shards of a file make up the file;
- the subject's sha256 is the SHA-256 over the resources' raw digests in the order of their names.

Unknown fields are ignored, as the specification asks. The format that model_signing 0.2 wrote lists the files as
subjects and nothing else; it is read under the same rules. What is of a kind that is not known is an UnsupportedError;
everything else that breaks a rule is a MalformedError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiverify.signatures.interface import MalformedError, UnsupportedError
from aiverify.signatures.names import fault
from aiverify.signatures.resources import Part, Resource, hex_digest, shard, sharded, whole
from aiverify.signatures.strict_json import optional, parse_object, required

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
LEGACY_PREDICATE_TYPE = "https://model_signing/Digests/v0.1"
SINGLE_FILE = "."
"""The name under which model_signing 1.1 lists a model that is one file; the specification asks for its base name."""

MAX_RESOURCES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A valid manifest. ``resources`` are by path; ``ignore_paths`` are files and folders that the signer left out.

    ``method`` is ``files`` or ``shards``. ``legacy`` marks the format before v1.0.
    """

    resources: Mapping[str, Resource]
    method: str
    hash_type: str
    allow_symlinks: bool
    ignore_paths: frozenset[str]
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """One resource as it is listed: the path it is about, where in the file it stands, and its digest."""

    path: str
    algorithm: str
    part: Part


def parse_manifest(payload: bytes) -> Manifest:
    """The manifest in the payload of an envelope. Raises MalformedError and UnsupportedError."""
    statement = parse_object(payload)
    if statement.get("_type") != STATEMENT_TYPE:
        raise MalformedError("the payload is not an in-toto Statement v1")
    predicate_type = required(statement, "predicateType", str)
    if predicate_type == LEGACY_PREDICATE_TYPE:
        return _legacy(statement)
    if predicate_type != PREDICATE_TYPE:
        raise MalformedError(f"the statement is about {predicate_type[:80]!r}, not about a model's files")
    predicate = required(statement, "predicate", dict)
    serialization = required(predicate, "serialization", dict)
    method = required(serialization, "method", str)
    entries = required(predicate, "resources", list)
    match method:
        case "files":
            listed = _listed(entries, _file_entry)
            resources = {entry.path: Resource(entry.algorithm, (entry.part,)) for entry in listed}
        case "shards":
            listed = _listed(entries, _shard_entry)
            resources = _joined(listed, _shard_size(serialization))
        case _:
            raise UnsupportedError(f"files are signed by {method[:80]!r}; known are files and shards")
    if _subject_digest(statement) not in _root_digests(listed):
        raise MalformedError("the subject's digest does not add up to the resources")
    return Manifest(
        resources=resources,
        method=method,
        hash_type=required(serialization, "hash_type", str),
        allow_symlinks=optional(serialization, "allow_symlinks", bool, default=False),
        ignore_paths=_ignore_paths(optional(serialization, "ignore_paths", list, [])),
    )


def _legacy(statement: Mapping[str, Any]) -> Manifest:
    """The manifest of model_signing 0.2: one subject per file, with its SHA-256."""

    def entry(subject: Mapping[str, Any], *, alone: bool) -> _Entry:
        digest = required(required(subject, "digest", dict), "sha256", str)
        return _file_entry({"name": subject.get("name"), "algorithm": "sha256", "digest": digest}, alone=alone)

    listed = _listed(required(statement, "subject", list), entry)
    return Manifest(
        resources={one.path: Resource(one.algorithm, (one.part,)) for one in listed},
        method="files",
        hash_type="sha256",
        allow_symlinks=False,
        ignore_paths=frozenset(),
        legacy=True,
    )


def _listed(entries: list[Any], read: Callable[..., _Entry]) -> list[_Entry]:
    if not entries:
        raise MalformedError("the manifest lists no files")
    if len(entries) > MAX_RESOURCES:
        raise MalformedError(f"the manifest lists more than {MAX_RESOURCES} files")
    names: set[tuple[str, int]] = set()
    listed = []
    for table in entries:
        if not isinstance(table, dict):
            raise MalformedError("a resource is not an object")
        entry = read(table, alone=len(entries) == 1)
        if (entry.path, entry.part.start) in names:
            raise MalformedError(f"the manifest lists {entry.path[:80]!r} twice")
        names.add((entry.path, entry.part.start))
        listed.append(entry)
    return listed


def _file_entry(table: Mapping[str, Any], *, alone: bool) -> _Entry:
    name, algorithm = required(table, "name", str), required(table, "algorithm", str)
    _require_name(name, dot=alone)
    return _Entry(name, algorithm, whole(algorithm, required(table, "digest", str)).parts[0])


def _shard_entry(table: Mapping[str, Any], *, alone: bool) -> _Entry:  # noqa: ARG001 - a file may have many shards
    name, algorithm = required(table, "name", str), required(table, "algorithm", str)
    path, plain, part = shard(name, algorithm, required(table, "digest", str))
    _require_name(path, dot=True)
    return _Entry(path, plain, part)


def _require_name(name: str, *, dot: bool) -> None:
    wrong = fault(name)
    if wrong and not (dot and name == SINGLE_FILE):
        raise MalformedError(f"the resource name {name[:80]!r} {wrong}")


def _joined(listed: list[_Entry], shard_size: int) -> dict[str, Resource]:
    """The resources by path, out of their shards."""
    shards: dict[str, list[_Entry]] = {}
    for entry in listed:
        shards.setdefault(entry.path, []).append(entry)
    if SINGLE_FILE in shards and len(shards) > 1:
        raise MalformedError(f"the resource name {SINGLE_FILE!r} stands beside others")
    resources = {}
    for path, entries in shards.items():
        algorithms = {entry.algorithm for entry in entries}
        if len(algorithms) > 1:
            raise MalformedError(f"the shards of {path[:80]!r} have digests of several algorithms")
        resources[path] = sharded(algorithms.pop(), [entry.part for entry in entries], shard_size)
    return resources


def _shard_size(serialization: Mapping[str, Any]) -> int:
    """The size in bytes; model_signing 1.1 writes it as a float."""
    size = serialization.get("shard_size")
    if isinstance(size, float) and size.is_integer():
        size = int(size)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size < 1 << 63:
        raise MalformedError("'shard_size' is not a number of bytes")
    return size


def _subject_digest(statement: Mapping[str, Any]) -> str:
    subjects = required(statement, "subject", list)
    if len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise MalformedError(f"the statement has {len(subjects)} subjects; there must be exactly one")
    return hex_digest("sha256", required(required(subjects[0], "digest", dict), "sha256", str))


def _root_digests(listed: list[_Entry]) -> set[str]:
    """Names are in the order of code points by the specification, of path components in model_signing 1.1."""

    def by_code_point(entry: _Entry) -> str:
        return entry.path if entry.part.end is None else f"{entry.path}:{entry.part.start}:{entry.part.end}"

    def by_component(entry: _Entry) -> tuple[list[str], int]:
        return entry.path.split("/"), entry.part.start

    keys: tuple[Callable[[_Entry], Any], ...] = (by_code_point, by_component)
    return {root_digest([entry.part.digest for entry in sorted(listed, key=key)]) for key in keys}


def root_digest(digests: list[str]) -> str:
    """SHA-256 (hex) over raw digests (hex), in the order given."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _ignore_paths(entries: list[Any]) -> frozenset[str]:
    """Entries that are no canonical relative paths (signers have recorded ``.`` and absolute paths) cover nothing."""
    if not all(isinstance(entry, str) for entry in entries):
        raise MalformedError("'ignore_paths' holds something that is not a string")
    return frozenset(entry for entry in entries if not fault(entry))
