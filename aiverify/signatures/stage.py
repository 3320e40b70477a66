"""The authenticate stage: who vouches for the bytes of an artifact?

Rules:

- The signers who are named must have signed, as many of them as was asked for, and each file: everything else, also a
  signature that this version cannot check, is critical.
- Where nobody is named, a signature is still checked as far as it can be, and never counts as verified.
- The files are compared with the manifest whatever the signature is worth, but only one that verifies covers files.
  Once enough of the expected signers have signed, only their manifests count.
- A broken signature of the artifact is a finding. A file that the user named and that cannot be used is an error.
- No state from one call to the next, and no network but for a TUF repository that the user names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiverify.artifact import ArtifactFile
from aiverify.rules import finding
from aiverify.signatures import presented
from aiverify.signatures.bundle import parse_bundle
from aiverify.signatures.comparison import Measured, Scope, compare, to_measure
from aiverify.signatures.contents import measure
from aiverify.signatures.interface import Authentication, MalformedError, SignatureError, UnsupportedError
from aiverify.signatures.manifest import Manifest, parse_manifest
from aiverify.signatures.opinions import Opinion, combined
from aiverify.signatures.presented import Presented
from aiverify.signatures.resources import Resource
from aiverify.signatures.standing import Checker
from aiverify.signatures.trust import Instance, Trust, TrustSource
from aiverify.signers import Expectation, any_of

Measure = Callable[[Path, Mapping[str, Resource]], Measured]


def authenticate(
    *,
    files: Sequence[ArtifactFile],
    root: Path,
    left_out: Sequence[str] = (),
    bundles: Sequence[Path] = (),
    signers: Sequence[Expectation] = (),
    required: bool = False,
    trusted_root: TrustSource | None = None,
    alone: bool = False,
    measured_by: Measure = measure,
) -> Authentication:
    """Check the signatures of an artifact and compare its files with what was signed.

    ``files`` lie under ``root`` and carry their digests. ``left_out`` are paths that the selection excluded; one that
    ends in ``/`` stands for a whole folder. ``bundles`` name the signatures; without them, they are looked for
    (``presented.py``). If there are ``signers``, one of these expectations must be met; ``required`` without signers
    accepts nothing, because anybody can sign. ``trusted_root`` replaces the root of the public Sigstore instance.
    ``alone``: the artifact is one file, whatever else was signed with it. ``measured_by`` gives digests beside SHA-256.

    Raises SignatureError when a bundle, key, authority or trusted root that the user named cannot be used.
    """
    trust = Trust(trusted_root if trusted_root is not None else Instance.PRODUCTION)
    if trusted_root is not None and not isinstance(trusted_root, Instance):
        trust.verifier()  # what the user named must be usable, even where no signature needs it
    expected = any_of(signers)
    run = _Run(Checker(expected, trust), files, root, left_out, alone, measured_by)
    found = presented.named(bundles, files, root) if bundles else presented.found(files, root, alone=alone)
    signatures = frozenset(one.path for one in found if one.path is not None)
    opinions = [run.opinion(one, signatures) for one in found]
    return combined(opinions, expected, left_out, required=required)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the signatures of one artifact are checked with."""

    checker: Checker
    files: Sequence[ArtifactFile]
    root: Path
    left_out: Sequence[str]
    alone: bool
    measured_by: Measure
    measured: dict[tuple[object, ...], Sequence[str] | None] = field(default_factory=dict)

    def opinion(self, one: Presented, signatures: frozenset[str]) -> Opinion:
        """What one signature comes to. ``signatures`` are the paths of all of them."""
        notes = []
        if one.changed:
            notes.append(finding("AIV103", "changed while it was being verified", file=one.path))
        try:
            bundle = parse_bundle(one.raw)
        except MalformedError as error:
            if one.named:
                raise SignatureError(f"the bundle {one.place} cannot be read: {error}") from error
            notes.append(finding("AIV203", f"the signature cannot be read: {error}", file=one.path))
            return Opinion(path=one.path, kind="none", notes=tuple(notes), broken=str(error))
        manifest, fault = _manifest(bundle.envelope.payload)
        legacy = manifest is not None and manifest.legacy
        standing = self.checker.standing(bundle, one.path, legacy=legacy)
        if manifest is not None:
            scope = Scope(signatures=signatures, left_out=self.left_out, alone=self.alone, base=self._base(one))
            comparison = compare(manifest, self.files, scope, self._measured(manifest, scope))
            return Opinion(
                path=one.path, kind=bundle.kind, standing=standing, comparison=comparison, notes=tuple(notes)
            )
        if isinstance(fault, UnsupportedError):
            unread = self.checker.unchecked(f"its manifest cannot be read: {fault}", one.path)
            return Opinion(path=one.path, kind=bundle.kind, standing=standing, unread=unread, notes=tuple(notes))
        message = f"the signature is not one of a model: {fault}"
        notes.append(finding("AIV203", message, file=one.path))
        return Opinion(path=one.path, kind=bundle.kind, standing=standing, broken=message, notes=tuple(notes))

    def _measured(self, manifest: Manifest, scope: Scope) -> Measured:
        """The digests that a manifest needs. What an earlier one of this run needed as well is not taken again."""
        wanted = to_measure(manifest, self.files, scope)
        keys = {
            path: (path, one.algorithm, *((part.start, part.end) for part in one.parts)) for path, one in wanted.items()
        }
        new = {path: one for path, one in wanted.items() if keys[path] not in self.measured}
        taken = self.measured_by(self.root, new)
        self.measured.update({keys[path]: digests for path, digests in taken.items()})
        return {path: self.measured[key] for path, key in keys.items()}

    def _base(self, one: Presented) -> str | None:
        """The folder of a file that is verified alone, below that of the signature, if it lies there."""
        if not self.alone:
            return ""
        folder, signed = self.root.resolve(), one.place.parent.resolve()
        if not folder.is_relative_to(signed):
            return None
        return "" if folder == signed else f"{folder.relative_to(signed).as_posix()}/"


def _manifest(payload: bytes) -> tuple[Manifest | None, SignatureError | None]:
    try:
        return parse_manifest(payload), None
    except (MalformedError, UnsupportedError) as error:
        return None, error
