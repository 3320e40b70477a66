"""The authenticate stage: who vouches for the bytes of an artifact?

Rules:

- A signer who is named must have signed: everything else, also a signature that this version cannot check, is critical.
- Where nobody is named, a signature is still checked as far as it can be, and never counts as verified.
- The files are compared with the manifest whatever the signature is worth, but only one that verifies covers files.
- A broken signature of the artifact is a finding. A file that the user named and that cannot be used is an error.
- No network, and no state from one call to the next.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import ArtifactFile
from aiverify.finding import Finding, Severity
from aiverify.report import SignatureResult
from aiverify.rules import finding
from aiverify.signatures import trust
from aiverify.signatures.bundle import MAX_BUNDLE_BYTES, Bundle, BundleKind, parse_bundle
from aiverify.signatures.comparison import SIGNATURE_SUFFIXES, compare
from aiverify.signatures.interface import (
    Authentication,
    InvalidSignatureError,
    KeylessSigner,
    KeySigner,
    MalformedError,
    SignatureError,
    Signer,
    UnsupportedError,
)
from aiverify.signatures.manifest import parse_manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE_NAME = "model.sig"


@dataclass(frozen=True, slots=True)
class _Expectation:
    """Whom the user named, with the keys loaded."""

    signers: tuple[Signer, ...]
    keys: tuple[tuple[KeySigner, EllipticCurvePublicKey], ...]
    trusted_root: Path | None

    @property
    def keyless(self) -> tuple[KeylessSigner, ...]:
        return tuple(signer for signer in self.signers if isinstance(signer, KeylessSigner))

    def __str__(self) -> str:
        return " or ".join(map(str, self.signers))


@dataclass(frozen=True, slots=True)
class _Presented:
    """A signature as it was found: its bytes, and its path if it is one of the artifact's files."""

    raw: bytes
    path: str | None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a signature is worth before its manifest is compared."""

    outcome: str
    detail: str
    signer: str | None = None
    findings: tuple[Finding, ...] = ()


def authenticate(
    *,
    files: Sequence[ArtifactFile],
    root: Path,
    left_out: Sequence[str] = (),
    bundle: Path | None = None,
    signers: Sequence[Signer] = (),
    required: bool = False,
    trusted_root: Path | None = None,
) -> Authentication:
    """Check the signature of an artifact and compare its files with what was signed.

    ``files`` lie under ``root`` and carry their digests. ``left_out`` are paths that the selection excluded; one that
    ends in ``/`` stands for a whole folder. ``bundle`` names the signature; without it, that is ``model.sig`` at the
    top of the artifact, or ``NAME.sig`` beside a single file NAME. If there are ``signers``, one of them must have
    signed; ``required`` without signers accepts nothing, because anybody can sign. ``trusted_root`` replaces the
    embedded root of the public Sigstore instance.

    Raises SignatureError when a bundle, key or trusted root that the user named cannot be used.
    """
    expectation = _expectation(signers, trusted_root)
    presented = _named(bundle, files, root) if bundle is not None else _found(files, root)
    if presented is None:
        return _absent(expectation, left_out, required=required)
    findings: list[Finding] = []
    if presented.changed:
        findings.append(finding("AIV103", "The signature changed while it was being verified.", file=presented.path))
    try:
        parsed = parse_bundle(presented.raw)
    except MalformedError as error:
        if bundle is not None:
            raise SignatureError(f"the bundle {bundle} cannot be read: {error}") from error
        findings.append(finding("AIV203", f"The signature cannot be read: {error}.", file=presented.path))
        return Authentication((SignatureResult(kind="none", outcome="failed", detail=str(error)),), tuple(findings))
    standing = _standing(parsed, expectation, presented.path)
    findings.extend(standing.findings)
    if required and standing.outcome in ("unpinned", "unchecked"):
        message = "A signature is required, but nobody says by whom: name the signer that must have signed."
        findings.append(finding("AIV202", message, file=presented.path))
    result, about_files = _compared(parsed, standing, expectation, presented.path, files, left_out)
    return Authentication((result,), (*findings, *about_files))


def _expectation(signers: Sequence[Signer], trusted_root: Path | None) -> _Expectation:
    keys = [signer for signer in signers if isinstance(signer, KeySigner)]
    if trusted_root is not None:
        trust.check_readable(trusted_root)
    if not keys:
        return _Expectation(tuple(signers), (), trusted_root)
    from aiverify.signatures.key import load_public_key

    return _Expectation(tuple(signers), tuple((key, load_public_key(key)) for key in keys), trusted_root)


def _named(bundle: Path, files: Sequence[ArtifactFile], root: Path) -> _Presented:
    raw = _read(bundle)
    place = bundle.parent.resolve() / bundle.name
    inside = place.relative_to(root.resolve()).as_posix() if place.is_relative_to(root.resolve()) else None
    return _Presented(raw, inside if any(file.path == inside for file in files) else None)


def _found(files: Sequence[ArtifactFile], root: Path) -> _Presented | None:
    by_path = {file.path: file for file in files}
    models = [path for path in by_path if not path.endswith(SIGNATURE_SUFFIXES)]
    names = [SIGNATURE_NAME, *(f"{path}.sig" for path in models if len(models) == 1)]
    file = next((by_path[name] for name in names if name in by_path), None)
    if file is None:
        return None
    raw = _read(root / file.path)
    changed = len(raw) <= MAX_BUNDLE_BYTES and hashlib.sha256(raw).hexdigest() != file.sha256
    return _Presented(raw, file.path, changed)


def _read(path: Path) -> bytes:
    """The file, or of a file that is too large enough to tell that it is."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BUNDLE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SignatureError(f"the signature {path} cannot be read: {error}") from error


def _absent(expectation: _Expectation, left_out: Sequence[str], *, required: bool) -> Authentication:
    where = f": the selection left {SIGNATURE_NAME} out" if SIGNATURE_NAME in left_out else ""
    if expectation.signers:
        found = finding("AIV202", f"No signature was found{where}. One by {expectation} is expected.")
    elif required:
        found = finding("AIV202", f"No signature was found{where}. One is required.")
    else:
        found = finding("AIV201", f"No signature was found beside the files{where}.")
    return Authentication((SignatureResult(kind="none", outcome="absent", detail=found.message),), (found,))


def _standing(bundle: Bundle, expectation: _Expectation, path: str | None) -> _Standing:
    match bundle.kind:
        case BundleKind.KEYLESS:
            return _keyless_standing(bundle, expectation, path)
        case BundleKind.KEY if expectation.keys:
            return _key_standing(bundle, expectation, path)
        case BundleKind.KEY:
            hint = f" (it says: {_shown(bundle.hint)})" if bundle.hint else ""
            return _unchecked(f"It was made with a key{hint}, and no public key was given.", expectation, path)
        case BundleKind.CERTIFICATE:
            return _unchecked("This version does not read signatures with a certificate chain.", expectation, path)


def _keyless_standing(bundle: Bundle, expectation: _Expectation, path: str | None) -> _Standing:
    from aiverify.signatures import keyless

    try:
        check = keyless.verify(bundle, expectation.keyless, expectation.trusted_root)
    except InvalidSignatureError as error:
        return _failed("AIV203", f"The signature is not valid: {_shown(str(error))}.", path)
    signer = _shown(str(check.signer))
    evidence = {"identity": check.signer.identity, "issuer": check.signer.issuer}
    if check.expected:
        return _Standing("verified", f"signed by {signer}", signer)
    if expectation.signers:
        message = f"Signed by {signer}, but one by {expectation} is expected."
        return _failed("AIV204", message, path, signer, evidence)
    flags = f"--cert-identity {_quoted(check.signer.identity)} --cert-oidc-issuer {_quoted(check.signer.issuer)}"
    message = f"Signed by {signer}, but nobody said whom to expect. If that is the publisher, say so: {flags}"
    detail = f"signed by {signer}; nobody said whom to expect"
    return _Standing("unpinned", detail, signer, (finding("AIV209", message, file=path, evidence=evidence),))


def _key_standing(bundle: Bundle, expectation: _Expectation, path: str | None) -> _Standing:
    from aiverify.signatures.key import fingerprint, verify

    for signer, key in expectation.keys:
        try:
            verify(key, bundle.envelope)
        except InvalidSignatureError:
            continue
        named = f"{signer} (SHA-256 {fingerprint(key)})"
        return _Standing("verified", f"signed with {named}", named)
    hint = f" It says that its key is {_shown(bundle.hint)}." if bundle.hint else ""
    return _failed("AIV203", f"The signature was not made with {expectation}, or was changed.{hint}", path)


def _unchecked(reason: str, expectation: _Expectation, path: str | None) -> _Standing:
    """A signature that nothing can be said about. It cannot be by a signer who is expected."""
    if not expectation.signers:
        message = f"The signature was not checked. {reason}"
        return _Standing("unchecked", message, findings=(finding("AIV210", message, file=path),))
    message = f"The signature could not be checked, and one by {expectation} is expected. {reason}"
    return _Standing("failed", message, findings=(finding("AIV210", message, file=path, severity=Severity.CRITICAL),))


def _failed(
    rule: str, message: str, path: str | None, signer: str | None = None, evidence: dict[str, str] | None = None
) -> _Standing:
    return _Standing("failed", message, signer, (finding(rule, message, file=path, evidence=evidence),))


def _compared(
    bundle: Bundle,
    standing: _Standing,
    expectation: _Expectation,
    path: str | None,
    files: Sequence[ArtifactFile],
    left_out: Sequence[str],
) -> tuple[SignatureResult, tuple[Finding, ...]]:
    """The final result, and what the comparison of the files with the manifest says."""
    kind = bundle.kind.value
    try:
        manifest = parse_manifest(bundle.envelope.payload)
    except MalformedError as error:
        message = f"The signature is not one of a model: {error}."
        failed = SignatureResult(kind=kind, outcome="failed", detail=message, signer=standing.signer)
        return failed, (finding("AIV203", message, file=path),)
    except UnsupportedError as error:
        unread = _unchecked(f"Its manifest cannot be read: {error}.", expectation, path)
        outcome = "failed" if standing.outcome == "failed" else unread.outcome
        return SignatureResult(
            kind=kind, outcome=outcome, detail=unread.detail, signer=standing.signer
        ), unread.findings
    comparison = compare(manifest, files, signature_path=path, left_out=left_out)
    vouched = standing.outcome in ("verified", "unpinned")
    broken = sum(item.rule == "AIV205" for item in comparison.findings)
    result = SignatureResult(
        kind=kind,
        outcome="failed" if broken else standing.outcome,
        detail=f"{standing.detail} But {broken} of the signed files changed." if broken else standing.detail,
        signer=standing.signer,
        covers=comparison.covers if vouched else (),
    )
    return result, comparison.findings


def _quoted(text: str) -> str:
    return shlex.quote(_shown(text))


def _shown(text: str) -> str:
    """Text out of a bundle, without what would move a terminal's cursor."""
    return text if text.isprintable() else ascii(text)
