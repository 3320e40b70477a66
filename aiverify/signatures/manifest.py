"""The signed list path -> digest of an OpenSSF Model Signing v1.0 signature.

Source: https://github.com/ossf/model-signing-spec, spec/v1.0.md. A ``Manifest`` exists only if all of this holds:

- the payload is an in-toto Statement v1 with the predicate type of OMS v1.0 and exactly one subject;
- there is at least one resource; names are relative, ``/``-separated, canonical, printable in UTF-8, and distinct;
- digests are hex of the length of their algorithm;
- the subject's sha256 is the SHA-256 over the resources' raw digests in the order of their names.

Unknown fields are ignored, as the specification asks. Shards, BLAKE digests and the format before v1.0 are recognised
and refused as UnsupportedError; everything else that breaks a rule is a MalformedError.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiverify.signatures.interface import MalformedError, UnsupportedError
from aiverify.signatures.strict_json import optional, parse_object, required

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SINGLE_FILE = "."
"""The name under which model_signing 1.1 lists a model that is one file; the specification asks for its base name."""

MAX_RESOURCES = 100_000
MAX_NAME = 4096

_OLD_PREDICATE_TYPE = "https://model_signing/Digests/v0.1"
_SHA256 = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Resource:
    """What was signed about one file. ``digest`` is lower-case hex."""

    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A valid manifest. ``ignore_paths`` are files and folders that the signer left out, as relative paths."""

    resources: Mapping[str, Resource]
    method: str
    hash_type: str
    allow_symlinks: bool
    ignore_paths: frozenset[str]


def parse_manifest(payload: bytes) -> Manifest:
    """The manifest in the payload of an envelope. Raises MalformedError and UnsupportedError."""
    statement = parse_object(payload)
    if statement.get("_type") != STATEMENT_TYPE:
        raise MalformedError("the payload is not an in-toto Statement v1")
    predicate_type = required(statement, "predicateType", str)
    if predicate_type == _OLD_PREDICATE_TYPE:
        raise UnsupportedError("the signature has the format that model_signing wrote before version 1.0")
    if predicate_type != PREDICATE_TYPE:
        raise MalformedError(f"the statement is about {predicate_type[:80]!r}, not about a model's files")
    predicate = required(statement, "predicate", dict)
    serialization = required(predicate, "serialization", dict)
    method = required(serialization, "method", str)
    if method != "files":
        raise UnsupportedError(f"files are signed by {method[:80]!r}; only whole files are read by this version")
    resources = _resources(required(predicate, "resources", list))
    if _subject_digest(statement) not in _root_digests(resources):
        raise MalformedError("the subject's digest does not add up to the resources")
    return Manifest(
        resources=resources,
        method=method,
        hash_type=required(serialization, "hash_type", str),
        allow_symlinks=optional(serialization, "allow_symlinks", bool, default=False),
        ignore_paths=_ignore_paths(optional(serialization, "ignore_paths", list, [])),
    )


def _resources(entries: list[Any]) -> dict[str, Resource]:
    if not entries:
        raise MalformedError("the manifest lists no files")
    if len(entries) > MAX_RESOURCES:
        raise MalformedError(f"the manifest lists more than {MAX_RESOURCES} files")
    resources: dict[str, Resource] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise MalformedError("a resource is not an object")
        name = required(entry, "name", str)
        fault = _fault(name)
        if fault and not (name == SINGLE_FILE and len(entries) == 1):
            raise MalformedError(f"the resource name {name[:80]!r} {fault}")
        if name in resources:
            raise MalformedError(f"the manifest lists {name[:80]!r} twice")
        resources[name] = _resource(entry)
    return resources


def _resource(entry: Mapping[str, Any]) -> Resource:
    algorithm, digest = required(entry, "algorithm", str), required(entry, "digest", str)
    if algorithm != "sha256":
        raise UnsupportedError(f"digests are {algorithm[:80]!r}; only sha256 is read by this version")
    return Resource(algorithm, _sha256(digest))


def _sha256(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise MalformedError(f"{digest[:80]!r} is not a SHA-256 digest")
    return digest.lower()


def _fault(name: str) -> str:
    """What is wrong with a resource name; empty when nothing is."""
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if name.startswith("/"):
        return "is absolute"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has an empty, '.' or '..' component"
    if "\\" in name:
        return "has a backslash, which separates folders on some systems only"
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in name):
        return "has a control character or is not UTF-8"
    return ""


def _subject_digest(statement: Mapping[str, Any]) -> str:
    subjects = required(statement, "subject", list)
    if len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise MalformedError(f"the statement has {len(subjects)} subjects; there must be exactly one")
    return _sha256(required(required(subjects[0], "digest", dict), "sha256", str))


def _root_digests(resources: Mapping[str, Resource]) -> set[str]:
    """Names are in the order of code points by the specification, of path components in model_signing 1.1."""
    by_code_point = sorted(resources)
    by_component = sorted(resources, key=lambda name: name.split("/"))
    return {
        hashlib.sha256(b"".join(bytes.fromhex(resources[name].digest) for name in names)).hexdigest()
        for names in (by_code_point, by_component)
    }


def _ignore_paths(entries: list[Any]) -> frozenset[str]:
    """Entries that are no canonical relative paths (signers have recorded ``.`` and absolute paths) cover nothing."""
    if not all(isinstance(entry, str) for entry in entries):
        raise MalformedError("'ignore_paths' holds something that is not a string")
    return frozenset(entry for entry in entries if not _fault(entry))
