"""Sign a folder: which files, their digests, the statement, the signature, and the bundle beside them.

What a verifier would refuse is refused here, before anything is signed: links (a clone has none; only those of the
Hub's cache are followed, because they stand for files), names that mean different files on different systems, a file
that changes meanwhile. The bundle appears whole or not at all, and takes the place of nothing but a signature.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import Fetched, FetchedFile
from aiverify.digests.hashing import Digesting, changed
from aiverify.errors import AiverifyError, UsageError
from aiverify.files import is_there, write_whole
from aiverify.progress import Progress, Silent
from aiverify.signatures.building import build_payload, build_sharded_payload, shards_of, signed_paths
from aiverify.signatures.comparison import HOUSEKEEPING
from aiverify.signatures.contents import measure
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.making import Signing
from aiverify.signatures.names import fault, with_folders
from aiverify.signatures.presented import SIGNATURE_NAME, is_bundle, is_signature, read
from aiverify.signatures.resources import Resource
from aiverify.sources.interface import Selection
from aiverify.sources.local import HOUSEKEEPING as FOLDERS_LEFT_OUT
from aiverify.sources.local import FolderSource, hub_blobs

if TYPE_CHECKING:
    from aiverify.signatures.making import Made

DEFAULT_SHARD_SIZE = 1_000_000_000
# Housekeeping of the Hub's client is no part of the model, but lies where other verifiers look.
_HUB_CLIENTS = tuple(sorted({*FOLDERS_LEFT_OUT} - HOUSEKEEPING))


class SigningError(AiverifyError):
    """A folder cannot be signed as it is, or a signature cannot be written."""


class Method(enum.StrEnum):
    """How the digests of files are taken: of whole files, or of shards of them."""

    FILES = "files"
    SHARDS = "shards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What was signed. ``left_out`` are the files that the signature does not speak of, as it says itself."""

    bundle: Path
    signer: str
    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def sign(
    folder: Path,
    signing: Signing,
    *,
    output: Path | None = None,
    ignore: Sequence[str] = (),
    method: Method = Method.FILES,
    shard_size: int = DEFAULT_SHARD_SIZE,
    progress: Progress | None = None,
) -> Signed:
    """Sign the files below ``folder`` and write the bundle, to ``model.sig`` among them unless ``output`` names a file.

    ``ignore`` are paths inside the folder, of files or of folders, that the signature leaves out and says so.
    ``shard_size`` is in bytes. Raises SigningError and SignatureError; then nothing was written.
    """
    progress = progress or Silent()
    place = output if output is not None else folder / SIGNATURE_NAME
    fetched = _listed(folder, progress)
    _require_replaceable(place)
    if not 1 <= shard_size < 1 << 63:
        raise UsageError("the shard size is not a number of bytes")
    signing.prepare()
    ignored = _ignored(ignore, fetched)
    _require_no_circle(fetched, ignored)
    ignored += [folder for folder in _HUB_CLIENTS if f"{folder}/" in fetched.left_out]
    signatures = _signatures(fetched, place)
    wanted = set(signed_paths([file.path for file in fetched.files], signatures=signatures, ignore=ignored))
    files = [file for file in fetched.files if file.path in wanted]
    for file in files:
        _require_signable(file, fetched.root)
    statement = _whole if method is Method.FILES else _sharded(shard_size)
    payload = statement(fetched.root, files, [*ignored, *signatures], progress)
    progress.stage("sign")
    made = signing.sign(payload)
    return _written(made, place, fetched, files, method)


Statement = Callable[[Path, Sequence[FetchedFile], Sequence[str], Progress], bytes]


def _whole(root: Path, files: Sequence[FetchedFile], ignore: Sequence[str], progress: Progress) -> bytes:
    with Digesting(files) as digesting:
        digesting.begin()
        digests = digesting.finish(progress)
    for found in changed(digests):
        raise SigningError(f"{found.file}: changed while it was being signed")
    by_path = {digest.path: digest.sha256 for digest in digests if digest.sha256 is not None}
    return _checked(lambda: build_payload(by_path, name=root.name, ignore=ignore))


def _sharded(shard_size: int) -> Statement:
    def statement(root: Path, files: Sequence[FetchedFile], ignore: Sequence[str], progress: Progress) -> bytes:
        with Digesting(files) as digesting:
            meant = digesting.meant()
        progress.stage("digest", sum(digest.size for digest in meant))
        resources = {
            digest.path: Resource("sha256", shards_of(digest.size, shard_size)) for digest in meant if digest.size
        }
        measured = measure(root, resources, progress.advance)
        for found in changed(meant):
            raise SigningError(f"{found.file}: changed while it was being signed")
        shards = {
            path: [part.having(digest) for part, digest in zip(resource.parts, measured[path], strict=True)]
            for path, resource in resources.items()
        }
        return _checked(lambda: build_sharded_payload(shards, shard_size=shard_size, name=root.name, ignore=ignore))

    return statement


def _checked(build: Callable[[], bytes]) -> bytes:
    try:
        return build()
    except MalformedError as error:
        raise SigningError(f"no verifier would read this signature: {error}") from error


def _listed(folder: Path, progress: Progress) -> Fetched:
    if is_there(folder) and folder.is_file():
        raise SigningError(f"{folder} is a file", hint="Sign the folder that holds the model.")
    fetched = FolderSource(folder).fetch(Selection(), progress)
    for found in fetched.findings:
        raise SigningError(
            found.message, hint="A signature cannot speak of what lies elsewhere: copy it, or remove it."
        )
    return fetched


def _ignored(paths: Sequence[str], fetched: Fetched) -> list[str]:
    """The ``paths`` in the form in which they are recorded. One that names nothing is a slip of the pen."""
    there = {path for file in fetched.files for path in with_folders(file.path)} | HOUSEKEEPING
    there |= {path.rstrip("/") for path in fetched.left_out}
    wanted = []
    for path in paths:
        name = path.removeprefix("./").rstrip("/")
        if fault(name) or name not in there:
            raise UsageError(
                f"{path}: there is no such file or folder in {fetched.root}",
                hint="--ignore takes paths relative to the folder that is signed.",
            )
        wanted.append(name)
    return wanted


def _require_no_circle(fetched: Fetched, ignored: Sequence[str]) -> None:
    """Links that lead to a folder which they lie in are the only other paths that a listing leaves out."""
    for path in sorted(path.rstrip("/") for path in fetched.left_out):
        if {*FOLDERS_LEFT_OUT, *ignored}.isdisjoint(with_folders(path)):
            raise _link(path)


def _signatures(fetched: Fetched, place: Path) -> list[str]:
    """The paths of signatures in the folder: those that are there, and the one that will be."""
    found = [file.path for file in fetched.files if is_signature(file.path) and is_bundle(read(file.location))]
    own = place.parent.resolve() / place.name
    inside = [own.relative_to(fetched.root).as_posix()] if own.is_relative_to(fetched.root) else []
    return sorted({*found, *inside})


def _require_signable(file: FetchedFile, root: Path) -> None:
    wrong = fault(file.path)
    if wrong:
        raise SigningError(f"{file.path!a}: no verifier would take this name: it {wrong}", hint="Rename it.")
    linked = [path for path in sorted(with_folders(file.path)) if (root / path).is_symlink()]
    if linked and not hub_blobs(root):
        raise _link(linked[0])


def _link(path: str) -> SigningError:
    return SigningError(
        f"{path}: is a link, and a signature speaks of files only",
        hint="Put the file itself in its place, or leave the link out with --ignore.",
    )


def _require_replaceable(place: Path) -> None:
    there = is_there(place)
    if there and place.is_dir():
        raise SigningError(f"{place} is a folder", hint="--bundle names a file.")
    if not os.access(place.parent, os.W_OK):
        raise SigningError(f"{place} cannot be written", hint="Name another file with --bundle.")
    if there and place.is_file() and not is_bundle(read(place)):
        raise SigningError(f"{place} is there already, and is no signature", hint="Name another file with --bundle.")


def _written(made: Made, place: Path, fetched: Fetched, files: Sequence[FetchedFile], method: Method) -> Signed:
    write_whole(place, made.bundle)
    signed = {file.path for file in files if method is Method.FILES or file.size}
    return Signed(
        bundle=place,
        signer=made.signer,
        files=tuple(sorted(signed)),
        left_out=tuple(file.path for file in fetched.files if file.path not in signed and not is_signature(file.path)),
    )
