"""The other direction: the payload of a signature over files whose digests are known.

Source: https://github.com/ossf/model-signing-spec, spec/v1.0.md. What is built here is a manifest that ``manifest.py``
reads, byte for byte the same for the same files: resources are in the order of their names, and so are ignored paths.
Whole files, SHA-256, no links: what every verifier has to know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from aiverify.signatures.comparison import HOUSEKEEPING
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.manifest import PREDICATE_TYPE, STATEMENT_TYPE, parse_manifest, root_digest
from aiverify.signatures.names import with_folders


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
                "method": "files",
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
