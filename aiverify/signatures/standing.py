"""What is one signature worth, before the files are compared with what it is about?

Rules:

- A signature that was expected and cannot be checked counts as one that fails.
- A signature that verifies says whose it is, and which of the expected signers it meets; whether these are enough is
  for the algebra (``signers.py``).
- Nothing that a bundle says about itself decides anything; it is only quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from aiverify.finding import Finding, Severity
from aiverify.rules import finding
from aiverify.signatures.bundle import Bundle, BundleKind
from aiverify.signatures.interface import InvalidSignatureError
from aiverify.signatures.trust import Trust
from aiverify.signers import CertificateSigner, Expectation, KeylessSigner, KeySigner, Proof, Signer, signers_in

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from aiverify.signatures.certificate import Authority, Leaf


@dataclass(frozen=True, slots=True)
class Standing:
    """The outcome for one signature, and the proof if it verifies.

    ``findings`` are what to say about it. ``surplus`` is what to say instead where the expected signers have signed,
    and this is one signature more. ``root`` names the trusted root that it was checked under, and how old that is.
    """

    outcome: str
    detail: str
    signer: str | None = None
    proof: Proof | None = None
    findings: tuple[Finding, ...] = ()
    surplus: tuple[Finding, ...] = ()
    root: str | None = None

    @property
    def expected(self) -> bool:
        """Whether it is by one of the expected signers."""
        return self.proof is not None and bool(self.proof.meets)


class Checker:
    """Checks signatures against what a user expects. Raises SignatureError for a key or authority that is none."""

    def __init__(self, expected: Expectation | None, trust: Trust) -> None:
        self._expected = expected
        self._trust = trust
        signers = dict.fromkeys(signers_in(expected)) if expected is not None else {}
        self._keyless = [signer for signer in signers if isinstance(signer, KeylessSigner)]
        self._keys: Mapping[KeySigner, EllipticCurvePublicKey] = {}
        self._authorities: list[Authority] = []
        self._load(signers)

    def _load(self, signers: Mapping[Signer, None]) -> None:
        keys = [signer for signer in signers if isinstance(signer, KeySigner)]
        certificates = [signer for signer in signers if isinstance(signer, CertificateSigner)]
        if keys:
            from aiverify.signatures.key import load_public_key

            self._keys = {signer: load_public_key(signer) for signer in keys}
        if certificates:
            from aiverify.signatures.certificate import load_authority

            self._authorities = [load_authority(signer) for signer in certificates]

    def standing(self, bundle: Bundle, path: str | None, *, legacy: bool) -> Standing:
        """What a signature is worth that lies at ``path`` in the artifact, if it does.

        ``legacy``: its manifest has the format before v1.0. Raises SignatureError when the trusted root is unusable.
        """
        match bundle.kind:
            case BundleKind.KEYLESS:
                standing = replace(self._of_keyless(bundle, path), root=f"{self._trust.name}, {self._trust.age}")
            case BundleKind.KEY if self._keys:
                standing = self._of_key(bundle, path, legacy=legacy)
            case BundleKind.KEY:
                hint = f" (it says: {shown(bundle.hint)})" if bundle.hint else ""
                standing = self.unchecked(f"it was made with a key{hint}, and no public key was given", path)
            case BundleKind.CERTIFICATE:
                standing = self._of_certificate(bundle, path, legacy=legacy)
        if legacy and standing.proof is not None:
            return replace(standing, detail=f"{standing.detail}; in the format before version 1.0 of model signing")
        return standing

    def unchecked(self, reason: str, path: str | None) -> Standing:
        """A signature that nothing can be said about. It cannot be by a signer who is expected."""
        message = f"the signature was not checked: {reason}"
        mentioned = finding("AIV210", message, file=path)
        if self._expected is None:
            return Standing("unchecked", message, findings=(mentioned,))
        message = f"the signature could not be checked, and one by {self._expected} is expected: {reason}"
        grave = finding("AIV210", message, file=path, severity=Severity.CRITICAL)
        return Standing("failed", message, findings=(grave,), surplus=(mentioned,))

    def _of_keyless(self, bundle: Bundle, path: str | None) -> Standing:
        from aiverify.signatures import keyless

        try:
            identity = keyless.verify(bundle, self._trust)
        except InvalidSignatureError as error:
            return _failed("AIV203", f"the signature is not valid: {shown(str(error))}", path)
        signer = shown(str(identity))
        evidence = {"identity": identity.identity, "issuer": identity.issuer}
        meets = frozenset(expected for expected in self._keyless if expected.is_met_by(identity))
        proof = Proof(f"identity {identity}", meets)
        detail = f"signed by {signer}"
        if meets:
            return Standing("verified", detail, signer, proof)
        if self._expected is not None:
            message = f"signed by {signer}, but one by {self._expected} is expected"
            claims = {"source_repository": identity.source_repository, "source_ref": identity.source_ref}
            said = {name: value for name, value in {**claims, "workflow": identity.workflow}.items() if value}
            return _somebody_else(message, signer, proof, path, {**evidence, **said})
        flags = f"--cert-identity {_quoted(identity.identity)} --cert-oidc-issuer {_quoted(identity.issuer)}"
        message = f"signed by {signer}, but nobody said whom to expect; if that is the publisher, say so: {flags}"
        found = finding("AIV209", message, file=path, evidence=evidence)
        return Standing("unpinned", f"{detail}; nobody said whom to expect", signer, proof, (found,))

    def _of_key(self, bundle: Bundle, path: str | None, *, legacy: bool) -> Standing:
        from aiverify.signatures.key import fingerprint, is_hint_of

        fitting = {signer: key for signer, key in self._keys.items() if _signed_with(key, bundle, legacy=legacy)}
        if fitting:
            signer, key = next(iter(fitting.items()))
            named = f"{signer} (SHA-256 {fingerprint(key)})"
            return Standing("verified", f"signed with {named}", named, Proof(fingerprint(key), frozenset(fitting)))
        claimed = [signer for signer, key in self._keys.items() if is_hint_of(bundle.hint, key)]
        hint = f"; it says that its key is {shown(bundle.hint)}" if bundle.hint else ""
        if claimed:
            hint = f"; it says that it was made with {claimed[0]}, so it was changed"
        message = f"the signature was not made with {self._expected}, or was changed{hint}"
        surplus = finding("AIV210", f"the signature was made with none of the given keys{hint}", file=path)
        return replace(_failed("AIV203", message, path), surplus=() if claimed else (surplus,))

    def _of_certificate(self, bundle: Bundle, path: str | None, *, legacy: bool) -> Standing:
        from aiverify.signatures import certificate

        try:
            leaf = certificate.load_leaf(bundle)
            if not _signed_with(leaf.key, bundle, legacy=legacy):
                raise InvalidSignatureError("it was not made with its certificate's key, or was changed")
        except InvalidSignatureError as error:
            return _failed("AIV203", f"the signature is not valid: {shown(str(error))}", path)
        subject = shown(leaf.subject)
        if not self._authorities:
            return self.unchecked(f"it was made with a certificate for {subject}, and no authority was given", path)
        return self._under_authorities(bundle, leaf, subject, path)

    def _under_authorities(self, bundle: Bundle, leaf: Leaf, subject: str, path: str | None) -> Standing:
        from aiverify.signatures.certificate import certificate_fingerprint, is_pinned, verify_chain
        from aiverify.signatures.key import fingerprint

        times = self._times(bundle)
        under, reasons = [], []
        for authority in self._authorities:
            try:
                verify_chain(bundle, leaf, authority, times)
                under.append(authority)
            except InvalidSignatureError as error:
                reasons.append(shown(str(error)))
        if not under:
            return _failed("AIV203", f"the signature is not valid: {'; '.join(dict.fromkeys(reasons))}", path)
        signer = f"{subject} (certificate SHA-256 {certificate_fingerprint(leaf.certificate)})"
        meets = frozenset(authority.signer for authority in under if is_pinned(leaf, authority))
        proof = Proof(fingerprint(leaf.key), meets, also=f"subject {leaf.subject}" if leaf.subject else "")
        if not meets:
            message = f"signed by {signer}, but one by {self._expected} is expected"
            return _somebody_else(message, signer, proof, path, {"subject": leaf.subject})
        when = f"on {times[0]:%Y-%m-%d}, as a timestamp proves" if times else "at a time that nobody vouches for"
        return Standing("verified", f"signed by {signer} {when}", signer, proof)

    def _times(self, bundle: Bundle) -> tuple[datetime, ...]:
        if not bundle.timestamps:
            return ()
        from aiverify.signatures.timestamps import proven_times

        return proven_times(bundle.timestamps, bundle.envelope.signature, self._trust.root())


def _signed_with(key: EllipticCurvePublicKey, bundle: Bundle, *, legacy: bool) -> bool:
    from aiverify.signatures.key import verify

    for old in (False, True) if legacy else (False,):
        try:
            verify(key, bundle.envelope, legacy=old)
        except InvalidSignatureError:
            continue
        return True
    return False


def _failed(rule: str, message: str, path: str | None) -> Standing:
    found = finding(rule, message, file=path)
    return Standing("failed", message, findings=(found,), surplus=(found,))


def _somebody_else(message: str, signer: str, proof: Proof, path: str | None, evidence: dict[str, str]) -> Standing:
    """A valid signature by nobody who was expected. Beside enough that were, it does no harm."""
    found = finding("AIV204", message, file=path, evidence=evidence)
    also = f"signed by {signer} as well, whom nobody expects"
    mentioned = finding("AIV209", also, file=path, evidence=evidence, severity=Severity.INFO)
    return Standing("failed", message, signer, proof, (found,), (mentioned,))


def _quoted(text: str) -> str:
    return shlex.quote(shown(text))


def shown(text: str) -> str:
    """Text out of a bundle, without what would move a terminal's cursor."""
    return text if text.isprintable() else ascii(text)
