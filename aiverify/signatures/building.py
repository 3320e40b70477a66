"""The other direction: the payload of a signature over files whose digests are known.

Source: https://github.com/ossf/model-signing-spec, spec/v1.0.md. What is built here is a manifest that ``manifest.py``
reads, byte for byte the same for the same files: resources are in the order of their names, and so are ignored paths.
SHA-256, no links; whole files, which every verifier has to know, or shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from aiverify.signatures.comparison import HOUSEKEEPING
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.manifest import PREDICATE_TYPE, STATEMENT_TYPE, parse_manifest, root_digest
from aiverify.signatures.names import with_folders
from aiverify.signatures.resources import Part


def signed_paths(paths: Iterable[str], *, signatures: Iterable[str], ignore: Iterable[str]) -> list[str]:
    """Of the files of an artifact, those that a signature covers, in the order of their names.

    Signatures are left out, git's housekeeping at the top, and what is ignored: files, or folders with all they hold.
    """
    left_out = {*HOUSEKEEPING, *ignore}
    apart = set(signatures)
    return sorted(path for path in paths if path not in apart and left_out.isdisjoint(with_folders(path)))


def build_payload(digests: Mapping[str, str], *, name: str, ignore: Iterable[str] = ()) -> bytes:
    """The statement about files with these SHA-256 digests (hex), by path. ``name`` is the model's, for readers only.

    Raises MalformedError for what no verifier would read: no files, a path that is not canonical, no digest.
    """
    return _payload(digests, {"method": "files"}, name=name, ignore=ignore)


def build_sharded_payload(
    shards: Mapping[str, Sequence[Part]], *, shard_size: int, name: str, ignore: Iterable[str] = ()
) -> bytes:
    """The statement about files in shards of ``shard_size`` bytes, by path. A file without shards is not listed.

    Raises MalformedError as ``build_payload`` does.
    """
    digests = {f"{path}:{part.start}:{part.end}": part.digest for path, parts in shards.items() for part in parts}
    return _payload(digests, {"method": "shards", "shard_size": shard_size}, name=name, ignore=ignore)


def shards_of(size: int, shard_size: int) -> tuple[Part, ...]:
    """The shards of a file of ``size`` bytes, without their digests."""
    return tuple(Part("", start, min(start + shard_size, size)) for start in range(0, size, shard_size))


def _payload(digests: Mapping[str, str], method: Mapping[str, object], *, name: str, ignore: Iterable[str]) -> bytes:
    names = sorted(digests)
    resources = [{"name": path, "algorithm": "sha256", "digest": digests[path].lower()} for path in names]
    try:
        root = root_digest([digests[path] for path in names])
    except ValueError as error:
        raise MalformedError(f"a digest is not hexadecimal: {error}") from error
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                **method,
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted({*HOUSEKEEPING, *ignore}),
            },
            "resources": resources,
        },
    }
    try:
        payload = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a name is not UTF-8") from error
    parse_manifest(payload)
    return payload
