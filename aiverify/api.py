"""The Python face of the main job. The command line is a thin shell on these functions.

Imports that cost time (sigstore, huggingface_hub, fickling) happen only when a call needs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aiverify.configuration import named_policy
from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule
from aiverify.signers import CertificateSigner, KeylessSigner, KeySigner

if TYPE_CHECKING:
    from aiverify.progress import Progress
    from aiverify.report import Report
    from aiverify.signatures.trust import TrustSource


def verify(
    target: str | Path,
    *,
    policy: Policy | Path | None = None,
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    cache_dir: Path | None = None,
    local_dir: Path | None = None,
    token: str | None = None,
    offline: bool = False,
    cert_identity: str | None = None,
    cert_oidc_issuer: str | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    ca_subject: str | None = None,
    bundle: Path | Sequence[Path] | None = None,
    trusted_root: TrustSource | None = None,
    convert_to: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Fetch, digest, authenticate, scan, convert and judge ``target``.

    ``target`` is ``org/name[@revision]``, ``hf://org/name[@revision]``, a folder or a file. ``policy`` is a Policy, or
    the path of a policy file, which must not lie inside ``target``; without it the default policy holds (finding
    configuration files is the command line's business). ``cert_identity`` and ``cert_oidc_issuer`` go together and name
    the expected keyless signer, ``key`` is the PEM file of an expected public key, ``ca`` that of the authorities for
    an expected certificate, whose ``ca_subject`` may be pinned. ``bundle`` names one signature or several.
    ``convert_to`` is the folder for safetensors twins; without it, nothing is written.

    Returns the report, whatever the verdict. Raises AiverifyError when the run could not be done at all.
    """
    from aiverify.pipeline import Options, run
    from aiverify.sources.interface import HubOptions, Selection

    return run(
        str(target),
        Options(
            policy=_expecting(
                _policy(policy, str(target), cache_dir, local_dir),
                identity=cert_identity,
                issuer=cert_oidc_issuer,
                key=key,
                ca=ca,
                subject=ca_subject,
            ),
            selection=Selection(include=tuple(include), exclude=tuple(exclude)),
            hub=HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline),
            bundles=_bundles(bundle),
            trusted_root=trusted_root,
            convert_to=convert_to,
        ),
        progress,
    )


def convert(
    target: str | Path,
    output: Path,
    *,
    salvage: bool = False,
    lower: bool = False,
    digests: bool = True,
    with_config: bool = False,
    policy: Policy | Path | None = None,
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    cache_dir: Path | None = None,
    local_dir: Path | None = None,
    token: str | None = None,
    offline: bool = False,
    cert_identity: str | None = None,
    cert_oidc_issuer: str | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    ca_subject: str | None = None,
    bundle: Path | Sequence[Path] | None = None,
    trusted_root: TrustSource | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify ``target`` and write safetensors twins of its checkpoints or arrays, with receipts, into ``output``.

    As ``verify`` with ``convert_to``, except that a target without checkpoints is an error. Of a blocked target nothing
    is written unless ``salvage``; the verdict stays ``block`` then, and the receipts say so. With ``salvage``, a
    checkpoint that cannot be converted does not stop the others. ``lower`` takes apart tensors that safetensors cannot
    hold (complex128, sparse, quantised…), without loss. ``digests=False`` leaves out the checksums of the archive and
    the digests of the twins, which is faster and proves less. ``with_config`` copies configuration and inert files
    beside the twins. A run that was stopped is completed by calling it again.
    """
    from aiverify.pipeline import Conversions, Options, run
    from aiverify.sources.interface import HubOptions, Selection

    return run(
        str(target),
        Options(
            policy=_expecting(
                _policy(policy, str(target), cache_dir, local_dir),
                identity=cert_identity,
                issuer=cert_oidc_issuer,
                key=key,
                ca=ca,
                subject=ca_subject,
            ),
            selection=Selection(include=tuple(include), exclude=tuple(exclude)),
            hub=HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline),
            bundles=_bundles(bundle),
            trusted_root=trusted_root,
            convert_to=output,
            conversion=Conversions(
                required=True, salvage=salvage, lower=lower, digests=digests, with_config=with_config
            ),
        ),
        progress,
    )


def scan(
    path: str | Path | BinaryIO,
    *,
    policy: Policy | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    engines: Sequence[str] = ("fickling",),
    digests: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Examine the files under ``path`` statically: no network, no signatures, no conversion.

    An open binary file is read to its end, as it comes through a pipe, and examined under the name ``<stdin>``.
    ``engines`` are the names of second engines, none for the machine alone. Without ``digests`` the files are not
    hashed, unless a waiver of the policy needs it: that is faster for large files, and the report does not pin them.
    """
    from aiverify.pipeline import Options, run
    from aiverify.sources.interface import Selection, SourceError

    source = None
    if isinstance(path, str | Path):
        if not os.path.lexists(path):
            raise SourceError(
                f"{path}: no such file or folder", hint="scan reads local files only; verify also knows the Hub."
            )
        target = str(Path(path).absolute())
    else:
        from aiverify.sources.stream import StreamSource

        target = "-"
        source = StreamSource(path, target)
    options = Options(
        policy=_policy(policy, target),
        selection=Selection(include=tuple(include), exclude=tuple(exclude)),
        authenticate=False,
        convert=False,
        engines=tuple(engines),
        digests=digests,
        source=source,
    )
    return run(target, options, progress)


def _policy(policy: Policy | Path | None, target: str, *downloads: Path | None) -> Policy:
    return named_policy(policy, target, downloads) if isinstance(policy, Path) else policy or DEFAULT_POLICY


def _bundles(bundle: Path | Sequence[Path] | None) -> tuple[Path, ...]:
    return () if bundle is None else (bundle,) if isinstance(bundle, Path) else tuple(bundle)


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
        signer = KeySigner(_pem(key, "public key", "--key"), str(key))
        return policy.with_signer(SignerRule(expected=signer), "--key")
    if ca is not None:
        authority = CertificateSigner(_pem(ca, "certificates", "--ca"), subject, str(ca))
        return policy.with_signer(SignerRule(expected=authority), "--ca")
    if named:
        if not (identity and issuer):
            raise UsageError(
                "an identity and an issuer are needed together",
                hint="Give both --cert-identity and --cert-oidc-issuer: anybody can have an identity at some issuer.",
            )
        return policy.with_signer(SignerRule(expected=KeylessSigner(identity, issuer)), "--cert-identity")
    return policy


def _pem(path: Path, what: str, option: str) -> bytes:
    try:
        return path.read_text("ascii").encode()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read the {what}", hint=f"{option} takes a PEM file.") from error
