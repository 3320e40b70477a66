"""The signatures of an artifact: those that the user names, or those that lie where signatures lie.

That is ``model.sig`` at the top, ``NAME.sig`` beside a single file NAME, and, for models that several have signed,
``model.LABEL.sig`` beside ``model.sig``. One that is named with a label counts only if it is a signature; what else
ends like that is a file like others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiverify.artifact import ArtifactFile
from aiverify.errors import in_words
from aiverify.files import read_at_most
from aiverify.signatures.bundle import MAX_BUNDLE_BYTES, parse_bundle
from aiverify.signatures.comparison import SIGNATURE_SUFFIXES
from aiverify.signatures.interface import MalformedError, SignatureError

SIGNATURE_NAME = "model.sig"
SIGNATURE_PATTERNS = (SIGNATURE_NAME, "model.*.sig")
MAX_SIGNATURES = 16

_LABELLED = re.compile(r"model\.[^/.]+\.sig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A signature as it was found: its bytes, where it lies, and its path if it is one of the artifact's files.

    ``named``: the user named it. ``changed``: its bytes are not those that the digest stage saw.
    """

    raw: bytes
    place: Path
    path: str | None
    named: bool = False
    changed: bool = False


def is_signature(path: str) -> bool:
    """Whether a signature of a folder may lie at ``path``."""
    return path == SIGNATURE_NAME or bool(_LABELLED.fullmatch(path))


def named(bundles: Sequence[Path], files: Sequence[ArtifactFile], root: Path) -> list[Presented]:
    """The signatures in the files ``bundles``. Raises SignatureError for one that cannot be read."""
    paths = {file.path for file in files}
    found = []
    for bundle in bundles:
        raw = read(bundle)
        place = bundle.parent.resolve() / bundle.name
        inside = place.relative_to(root.resolve()).as_posix() if place.is_relative_to(root.resolve()) else None
        found.append(Presented(raw=raw, place=bundle, path=inside if inside in paths else None, named=True))
    return found


def _is_there(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # a name that is too long for any file
        return False


def found(files: Sequence[ArtifactFile], root: Path, *, alone: bool) -> list[Presented]:
    """The signatures that lie with the files. Raises SignatureError for one that cannot be read."""
    by_path = {file.path: file for file in files}
    models = [path for path in by_path if not path.endswith(SIGNATURE_SUFFIXES)]
    if alone:
        beside = root / f"{models[0]}.sig" if len(models) == 1 else None
        if beside is not None and _is_there(beside):
            return [Presented(raw=read(beside), place=beside, path=None)]
    names = [SIGNATURE_NAME, *(f"{path}.sig" for path in models if len(models) == 1)]
    first = next((by_path[name] for name in names if name in by_path), None)
    presented = [_of(first, root)] if first is not None else []
    labelled = (
        path for path in sorted(by_path) if _LABELLED.fullmatch(path) and path.removesuffix(".sig") not in by_path
    )
    for path in labelled:
        if len(presented) < MAX_SIGNATURES and (first is None or path != first.path):
            further = _of(by_path[path], root)
            if is_bundle(further.raw):
                presented.append(further)
    return presented


def _of(file: ArtifactFile, root: Path) -> Presented:
    raw = read(root / file.path)
    changed = len(raw) <= MAX_BUNDLE_BYTES and hashlib.sha256(raw).hexdigest() != file.sha256
    return Presented(raw=raw, place=root / file.path, path=file.path, changed=changed)


def is_bundle(raw: bytes) -> bool:
    """Whether the bytes are a well-formed bundle."""
    try:
        parse_bundle(raw)
    except MalformedError:
        return False
    return True


def read(path: Path) -> bytes:
    """The file, or of a file that is too large enough to tell that it is. Raises SignatureError."""
    try:
        return read_at_most(path, MAX_BUNDLE_BYTES)
    except (OSError, ValueError) as error:
        raise SignatureError(f"the signature {path} cannot be read: {in_words(error)}") from error
