"""Does an artifact hold what a manifest lists, nothing less and nothing more?

Digests are compared, never taken: the digest stage has hashed the files already, and what a manifest needs beside
SHA-256 is handed in. Git's housekeeping files at the top level are outside of OMS signatures, unless the manifest shows
that the signer counted them, and so are the signatures themselves. Every path, signed or there, gets one state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aiverify.artifact import ArtifactFile, FileClass
from aiverify.finding import Finding, Severity
from aiverify.report import FileState
from aiverify.rules import finding
from aiverify.signatures.manifest import SINGLE_FILE, Manifest
from aiverify.signatures.names import with_folders
from aiverify.signatures.resources import Resource

HOUSEKEEPING = frozenset({".git", ".gitattributes", ".github", ".gitignore"})
SIGNATURE_SUFFIXES = (".sig", ".sigstore.json")

_EXECUTED = frozenset({FileClass.WEIGHTS, FileClass.CODE})
_LOADED = _EXECUTED | {FileClass.CONFIG}
# Plain texts that tokenizers of transformers read.
_TOKENIZERS = frozenset({"bpe.codes", "dict.txt", "merges.txt", "vocab.txt"})
_TOKENIZER_SUFFIXES = (".bpe", ".spm", ".tiktoken", ".tokenizer", ".vocab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a comparison is about, besides the files.

    ``signatures`` are the paths of signatures in the artifact. ``left_out`` are the paths that the user's selection
    excluded; one that ends in ``/`` stands for a whole folder. ``alone``: the artifact is one file on purpose, whatever
    else was signed with it. ``base`` is the folder of that file below the one that was signed, and ends in ``/``;
    ``None`` where nothing tells, because the signature lies elsewhere: then the one signed file of that name is meant.
    """

    signatures: frozenset[str] = frozenset()
    left_out: Collection[str] = ()
    alone: bool = False
    base: str | None = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The state of each path, and what there is to say about it; paths stand in the order of the files."""

    states: Mapping[str, FileState]
    findings: Mapping[str, Finding] = field(default_factory=dict)

    @property
    def covers(self) -> tuple[str, ...]:
        """The paths whose bytes are as signed."""
        return tuple(path for path, state in self.states.items() if state is FileState.MATCHING)

    @property
    def partial(self) -> bool:
        """Whether there are signed files that were not compared."""
        return FileState.NOT_COMPARED in self.states.values()

    def count(self, state: FileState) -> int:
        """How many paths are in ``state``."""
        return sum(one is state for one in self.states.values())


Measured = Mapping[str, Sequence[str] | None]
"""By path, the digests (hex) of the parts that a resource has; ``None`` where the bytes are not at hand."""


def compare(manifest: Manifest, files: Sequence[ArtifactFile], scope: Scope, measured: Measured) -> Comparison:
    """Compare the files of an artifact with a manifest.

    ``measured`` has an entry for each path that ``to_measure`` names.
    """
    expected = expected_files(manifest, files, scope)
    housekeeping_counts = any(path.split("/", 1)[0] in HOUSEKEEPING for path in expected)
    states: dict[str, FileState] = {}
    findings: dict[str, Finding] = {}

    def note(path: str, state: FileState, said: Finding | None = None) -> None:
        states[path] = state
        if said is not None:
            findings[path] = said

    for file in files:
        if file.path in scope.signatures:
            continue
        resource = expected.pop(file.path, None)
        if resource is None:
            note(file.path, *_extra(file, manifest, housekeeping_counts=housekeeping_counts))
        else:
            note(file.path, *_compared(file, resource, measured))
    for path in sorted(expected):
        note(path, *_absent(path, scope))
    if ".git/" in scope.left_out and ".git" not in states:
        note(".git/", FileState.IGNORED, _git_folder())
    return Comparison(states, findings)


def expected_files(manifest: Manifest, files: Sequence[ArtifactFile], scope: Scope) -> dict[str, Resource]:
    """The resources by the paths that they stand for: ``.`` is the only file that is not a signature."""
    models = [file.path for file in files if not file.path.endswith(SIGNATURE_SUFFIXES)]
    if SINGLE_FILE in manifest.resources and len(models) == 1:
        return {models[0]: manifest.resources[SINGLE_FILE]}
    resources = dict(manifest.resources)
    if scope.alone and len(models) == 1:
        alone = resources.pop(_signed_path(models[0], scope.base, resources), None)
        if alone is not None:
            resources[models[0]] = alone  # whatever else was signed under its bare name
    return resources


def _signed_path(name: str, base: str | None, signed: Collection[str]) -> str:
    """The path under which a file that is verified alone was signed."""
    if base is not None or name in signed:
        return f"{base or ''}{name}"
    namesakes = [path for path in signed if path.endswith(f"/{name}")]
    return namesakes[0] if len(namesakes) == 1 else name


def to_measure(manifest: Manifest, files: Sequence[ArtifactFile], scope: Scope) -> dict[str, Resource]:
    """The resources, by path, for which the SHA-256 of the file is not enough."""
    expected = expected_files(manifest, files, scope)
    return {
        file.path: resource
        for file in files
        if (resource := expected.get(file.path)) is not None
        and resource.sha256 is None
        and resource.size in (None, file.size)
    }


def _compared(file: ArtifactFile, resource: Resource, measured: Measured) -> tuple[FileState, Finding | None]:
    signed = resource.sha256
    if file.sha256 is None:
        said = finding("AIV211", "is named in the signed manifest, and no digest of it was taken", file=file.path)
        return FileState.NOT_COMPARED, said
    if signed is not None:
        if signed == file.sha256:
            return FileState.MATCHING, None
        return FileState.MISMATCHING, _changed(file, signed, file.sha256, "SHA-256")
    if resource.size not in (None, file.size):
        message = f"has {file.size} bytes, but {resource.size} were signed"
        evidence = {"signed_size": resource.size, "actual_size": file.size}
        return FileState.MISMATCHING, finding("AIV205", message, file=file.path, evidence=evidence)
    actual = measured[file.path]
    if actual is None:
        return FileState.NOT_COMPARED, None
    for part, digest in zip(resource.parts, actual, strict=True):
        if part.digest != digest:
            where = "" if part.end is None else f" of bytes {part.start} to {part.end}"
            return FileState.MISMATCHING, _changed(file, part.digest, digest, f"{resource.algorithm}{where}")
    return FileState.MATCHING, None


def _changed(file: ArtifactFile, signed: str, actual: str, kind: str) -> Finding:
    return finding(
        "AIV205",
        f"has {kind} {actual[:12]}…, but {signed[:12]}… was signed",
        file=file.path,
        evidence={"signed": signed, "actual": actual},
    )


def _extra(file: ArtifactFile, manifest: Manifest, *, housekeeping_counts: bool) -> tuple[FileState, Finding]:
    if not housekeeping_counts and file.path.split("/", 1)[0] in HOUSEKEEPING:
        return FileState.IGNORED, _ignored(file, "git housekeeping, which no model signature covers", _EXECUTED)
    if not manifest.ignore_paths.isdisjoint(with_folders(file.path)):
        return FileState.IGNORED, _ignored(file, "the signer recorded it as ignored", _LOADED)
    if manifest.method == "shards" and file.size == 0:
        return FileState.UNSIGNED, _empty(file)
    message = "is not in the signed manifest: it was added after signing, or the signer did not vouch for it"
    severity = Severity.LOW if _harmless(file) else None
    return FileState.UNSIGNED, finding("AIV207", message, file=file.path, severity=severity)


def _empty(file: ArtifactFile) -> Finding:
    """Shards cannot list an empty file (section 6.3.2), so that an honest signer leaves it out, and a thief adds it."""
    message = "is empty, and a signature over shards cannot list empty files: it may have been added"
    severity = Severity.MEDIUM if _role(file) in _LOADED else Severity.LOW
    return finding("AIV207", message, file=file.path, severity=severity)


def _ignored(file: ArtifactFile, reason: str, dangerous: Collection[FileClass]) -> Finding:
    """An ignore list must not hide from the reader what a loader would use."""
    if _role(file) not in dangerous:
        return finding("AIV208", f"is left out of the signature: {reason}", file=file.path)
    message = f"is of class {_role(file)} and left out of the signature: {reason}; nobody vouches for it"
    return finding("AIV208", message, file=file.path, severity=Severity.MEDIUM)


def _git_folder() -> Finding:
    message = "is outside of every model signature, and was not examined: its hooks run when git is used"
    return finding("AIV208", message, file=".git/")


def _harmless(file: ArtifactFile) -> bool:
    return _role(file) is FileClass.INERT or (
        file.path.endswith(SIGNATURE_SUFFIXES) and file.file_class is FileClass.CONFIG
    )


def _role(file: ArtifactFile) -> FileClass:
    """What a loader takes the file for. By its name an import finds an empty module, and a tokenizer a plain text."""
    if file.path.endswith(".py"):
        return FileClass.CODE
    name = file.path.rpartition("/")[2]
    reads = name in _TOKENIZERS or name.endswith(_TOKENIZER_SUFFIXES)
    return FileClass.CONFIG if reads and file.file_class is FileClass.INERT else file.file_class


def _absent(path: str, scope: Scope) -> tuple[FileState, Finding]:
    if path == SINGLE_FILE:
        message = "the signature is about a single file, and the artifact is not a single file"
        return FileState.MISSING, finding("AIV206", message)
    if scope.alone or _is_among(path, frozenset(scope.left_out)):
        said = finding("AIV211", "is named in the signed manifest, and the selection left it out", file=path)
        return FileState.NOT_COMPARED, said
    return FileState.MISSING, finding("AIV206", "is named in the signed manifest, and is not there", file=path)


def _is_among(path: str, left_out: frozenset[str]) -> bool:
    return path in left_out or any(f"{folder}/" in left_out for folder in with_folders(path))
