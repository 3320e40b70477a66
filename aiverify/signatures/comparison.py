"""Does an artifact hold what a manifest lists, nothing less and nothing more?

Digests are compared, never taken: the digest stage has hashed the files already. Git's housekeeping files at the top
level are outside of every OMS signature, and so is the signature itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.finding import Finding, Severity
from aiverify.rules import finding
from aiverify.signatures.manifest import SINGLE_FILE, Manifest, Resource

HOUSEKEEPING = frozenset({".git", ".gitattributes", ".github", ".gitignore"})
SIGNATURE_SUFFIXES = (".sig", ".sigstore.json")

_EXECUTED = frozenset({FileClass.WEIGHTS, FileClass.CODE})
_LOADED = _EXECUTED | {FileClass.CONFIG}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paths whose bytes are as signed, in the order of the files, and what else there is to say."""

    covers: tuple[str, ...]
    findings: tuple[Finding, ...]


def compare(
    manifest: Manifest, files: Sequence[ArtifactFile], *, signature_path: str | None, left_out: Collection[str]
) -> Comparison:
    """Compare the files of an artifact with a manifest.

    ``signature_path`` is the signature's own path, if it lies in the artifact. ``left_out`` are the paths that the
    user's selection excluded; one that ends in ``/`` stands for a whole folder.
    """
    signed_files = [file for file in files if file.path != signature_path]
    expected = _expected(manifest, signed_files)
    covers: list[str] = []
    findings: list[Finding] = []
    for file in signed_files:
        resource = expected.pop(file.path, None)
        if resource is None:
            findings.append(_unsigned(file, manifest))
        elif resource.digest == file.sha256:
            covers.append(file.path)
        else:
            findings.append(_changed(file, resource))
    selected_away = frozenset(left_out)
    findings.extend(_absent(path, left_out=_is_among(path, selected_away)) for path in sorted(expected))
    return Comparison(tuple(covers), tuple(findings))


def _expected(manifest: Manifest, files: Sequence[ArtifactFile]) -> dict[str, Resource]:
    """The resources by the paths they stand for: ``.`` is the only file that is not a signature."""
    models = [file.path for file in files if not file.path.endswith(SIGNATURE_SUFFIXES)]
    if SINGLE_FILE in manifest.resources and len(models) == 1:
        return {models[0]: manifest.resources[SINGLE_FILE]}
    return dict(manifest.resources)


def _unsigned(file: ArtifactFile, manifest: Manifest) -> Finding:
    if file.path.split("/", 1)[0] in HOUSEKEEPING:
        return _ignored(file, "git housekeeping, which no model signature covers", _EXECUTED)
    if not manifest.ignore_paths.isdisjoint(_with_folders(file.path)):
        return _ignored(file, "the signer recorded it as ignored", _LOADED)
    return finding(
        "AIV207",
        "The file is not in the signed manifest: it was added after signing, or the signer did not vouch for it.",
        file=file.path,
        severity=Severity.LOW if _harmless(file) else None,
    )


def _ignored(file: ArtifactFile, reason: str, dangerous: Collection[FileClass]) -> Finding:
    """An ignore list must not hide from the reader what a loader would use."""
    if file.file_class not in dangerous:
        return finding("AIV208", f"The signature leaves the file out: {reason}.", file=file.path)
    message = f"The signature leaves out a file of class {file.file_class}: {reason}. Nobody vouches for it."
    return finding("AIV208", message, file=file.path, severity=Severity.MEDIUM)


def _harmless(file: ArtifactFile) -> bool:
    return file.file_class is FileClass.INERT or (
        file.path.endswith(SIGNATURE_SUFFIXES) and file.file_class is FileClass.CONFIG
    )


def _changed(file: ArtifactFile, resource: Resource) -> Finding:
    return finding(
        "AIV205",
        f"The file has SHA-256 {file.sha256[:12]}…, but {resource.digest[:12]}… was signed.",
        file=file.path,
        evidence={"signed": resource.digest, "actual": file.sha256},
    )


def _absent(path: str, *, left_out: bool) -> Finding:
    if path == SINGLE_FILE:
        return finding("AIV206", "The signature is about a single file, and the artifact is not a single file.")
    if left_out:
        return finding("AIV211", "The signed manifest names the file, and the selection left it out.", file=path)
    return finding("AIV206", "The signed manifest names the file, and it is not there.", file=path)


def _is_among(path: str, left_out: frozenset[str]) -> bool:
    return path in left_out or any(f"{folder}/" in left_out for folder in _with_folders(path))


def _with_folders(path: str) -> set[str]:
    """The path and every folder above it."""
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
