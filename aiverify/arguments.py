"""The arguments that the functions of ``aiverify.api`` share, and what a run makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from aiverify.configuration import named_policy, require_outside
from aiverify.errors import UsageError, in_words
from aiverify.files import read_pem
from aiverify.options import Options
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule
from aiverify.sources.interface import HubOptions, Selection

if TYPE_CHECKING:
    from aiverify.signatures.trust import TrustSource


class Trusting(TypedDict, total=False):
    """Who must have signed an artifact, and how the Hub is asked for it.

    ``cache_dir`` is the Hub client's cache, ``token`` what the Hub is shown; ``offline`` sends no request.
    ``cert_identity`` and ``cert_oidc_issuer`` go together and name the expected keyless signer, ``key`` is the PEM file
    of an expected public key, ``ca`` that of the authorities for an expected certificate, whose ``ca_subject`` may be
    pinned. ``bundle`` names one signature or several, ``trusted_root`` the Sigstore instance, where that is not the
    public one.
    """

    cache_dir: Path | None
    token: str | None
    offline: bool
    cert_identity: str | None
    cert_oidc_issuer: str | None
    key: Path | None
    ca: Path | None
    ca_subject: str | None
    bundle: Path | Sequence[Path] | None
    trusted_root: TrustSource | None


class Shared(Trusting, total=False):
    """As ``Trusting``, and what is meant: the files at ``revision``, of which ``include`` and ``exclude`` choose.

    ``policy`` is a Policy, or the path of a policy file, which must not lie inside the target; without it the default
    policy holds: finding configuration files is the command line's business.
    """

    policy: Policy | Path | None
    revision: str | None
    include: Sequence[str]
    exclude: Sequence[str]


def options_for(
    target: str,
    *,
    local_dir: Path | None = None,
    lean: bool = False,
    locked: Path | None = None,
    **shared: Unpack[Shared],
) -> Options:
    """The options of a run on ``target``. Raises UsageError, and TypeError for an argument that nobody knows.

    ``local_dir`` is where the Hub client downloads to, ``lean`` leaves out what no loader would read, ``locked`` is the
    lockfile that pins the target.
    """
    hub = _hub(shared, revision=shared.get("revision"), local_dir=local_dir)
    include, exclude = tuple(shared.get("include", ())), tuple(shared.get("exclude", ()))
    policy = shared.get("policy")
    if isinstance(policy, Path):
        policy = named_policy(policy, target, (hub.cache_dir, local_dir))
    options = _trusting(shared, policy or DEFAULT_POLICY, hub, Selection(include=include, exclude=exclude, lean=lean))
    if locked is None:
        return options
    from aiverify.lock.pinning import pinned

    require_outside(locked, [target], "lockfile", [hub.cache_dir, local_dir])
    pin = pinned(locked, target, hub, include=include, exclude=exclude, all_files=not lean)
    return replace(options, selection=pin.selection, source=pin.source, locked=pin.artifact)


def options_of(policy: Policy, **trusting: Unpack[Trusting]) -> Options:
    """The options of runs whose targets, and the files that are meant of them, are known later."""
    return _trusting(trusting, policy, _hub(trusting), Selection())


def _hub(trusting: Trusting, *, revision: str | None = None, local_dir: Path | None = None) -> HubOptions:
    return HubOptions(
        revision=revision,
        cache_dir=trusting.get("cache_dir"),
        local_dir=local_dir,
        token=trusting.get("token"),
        offline=trusting.get("offline", False),
    )


def _trusting(trusting: Trusting, policy: Policy, hub: HubOptions, selection: Selection) -> Options:
    unknown = sorted(trusting.keys() - Shared.__annotations__.keys())
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    bundle = trusting.get("bundle") or ()
    return Options(
        policy=_expecting(
            policy,
            identity=trusting.get("cert_identity"),
            issuer=trusting.get("cert_oidc_issuer"),
            key=trusting.get("key"),
            ca=trusting.get("ca"),
            subject=trusting.get("ca_subject"),
        ),
        selection=selection,
        hub=hub,
        bundles=(bundle,) if isinstance(bundle, Path) else tuple(bundle),
        trusted_root=trusting.get("trusted_root"),
    )


def _expecting(
    policy: Policy,
    *,
    identity: str | None,
    issuer: str | None,
    key: Path | None,
    ca: Path | None,
    subject: str | None,
) -> Policy:
    """``policy`` with the signer that the arguments name. An empty one, as of an unset variable, is an error."""
    named = identity is not None or issuer is not None
    if not (named or key is not None or ca is not None or subject is not None):
        return policy
    from aiverify.signers import CertificateSigner, KeylessSigner, KeySigner

    if key is not None and named:
        raise UsageError(
            "a key and an identity cannot both be expected", hint="Give --key or --cert-identity, not both."
        )
    if ca is not None and (key is not None or named):
        raise UsageError(
            "a certificate cannot be expected beside a key or an identity",
            hint="Give one of --ca, --key and --cert-identity; the policy can ask for several signers.",
        )
    if subject is not None and ca is None:
        raise UsageError("a subject is pinned, but no authority is named", hint="Give --ca, too.")
    if key is not None:
        signer = KeySigner(pem(key, "public key", "--key"), str(key))
        return policy.with_signer(SignerRule(expected=signer), "--key")
    if ca is not None:
        authority = CertificateSigner(pem(ca, "certificates", "--ca"), subject, str(ca))
        return policy.with_signer(SignerRule(expected=authority), "--ca")
    if not (identity and issuer):
        raise UsageError(
            "an identity and an issuer are needed together",
            hint="Give both --cert-identity and --cert-oidc-issuer: anybody can have an identity at some issuer.",
        )
    return policy.with_signer(SignerRule(expected=KeylessSigner(identity, issuer)), "--cert-identity")


def pem(path: Path, what: str, option: str) -> bytes:
    """The file of keys or certificates that ``option`` names. Raises UsageError."""
    try:
        return read_pem(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: cannot read the {what}: {in_words(error)}", hint=f"{option} takes a PEM file."
        ) from error
