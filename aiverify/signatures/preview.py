"""What a signature says about files that are not here yet: the source's statements, compared before the download.

A Hub states the SHA-256 of its large files, and a manifest that is signed over whole files holds the same digests.
Where the two differ, the bytes cannot be those that were signed, and need not be fetched to know it. Agreement proves
nothing: the bytes are compared again once they are here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aiverify.artifact import ArtifactFile, Fetched, FetchedFile, FileClass
from aiverify.signatures.interface import Authentication
from aiverify.signatures.presented import MAX_SIGNATURES, is_bundle, is_signature, read
from aiverify.signatures.resources import Resource
from aiverify.signatures.stage import authenticate
from aiverify.signatures.trust import TrustSource
from aiverify.signers import Expectation


def foreseen(
    stated: Fetched,
    *,
    bundles: Sequence[Path] = (),
    signers: Sequence[Expectation] = (),
    trusted_root: TrustSource | None = None,
) -> Authentication:
    """The signatures of an artifact, and those of its files whose stated digest is not the signed one.

    ``stated`` lists the files as their source does; under its root lie the signatures, and nothing else is looked at.
    Raises SignatureError as ``authenticate`` does.
    """
    signatures = bundles or [file.location for file in stated.files if _is_bundle(file)][:MAX_SIGNATURES]
    if not signatures:
        return Authentication((), ())
    known = [file for file in stated.files if file.sha256 is not None]
    seen = authenticate(
        files=[
            ArtifactFile(path=file.path, size=file.size, sha256=file.sha256, format="", file_class=FileClass.INERT)
            for file in known
        ],
        root=stated.root,
        left_out=[*stated.left_out, *(file.path for file in stated.files if file.sha256 is None)],
        bundles=signatures,
        signers=signers,
        trusted_root=trusted_root,
        measured_by=_unknown,
    )
    against = [one for one in seen.findings if one.rule == "AIV205"]
    return Authentication(seen.results, tuple(replace(one, message=_foretold(one.message)) for one in against))


def _foretold(message: str) -> str:
    return f"by the listing it {message}; nothing of it was downloaded"


def _is_bundle(file: FetchedFile) -> bool:
    """One that cannot be read is a finding later on, when everything is here."""
    return is_signature(file.path) and file.location.is_file() and is_bundle(read(file.location))


def _unknown(root: Path, resources: Mapping[str, Resource]) -> dict[str, None]:  # noqa: ARG001 - no bytes, no digests
    return dict.fromkeys(resources)
