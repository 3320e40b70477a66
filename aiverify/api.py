"""The Python face of the main job. The command line is a thin shell on these functions.

Imports that cost time (sigstore, huggingface_hub, fickling) happen only when a call needs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aiverify.configuration import named_policy, require_outside
from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule
from aiverify.signers import CertificateSigner, KeylessSigner, KeySigner

if TYPE_CHECKING:
    from aiverify.attestations.stage import Attestations
    from aiverify.audits import Auditor
    from aiverify.digests.interface import Memory
    from aiverify.progress import Progress
    from aiverify.report import Report
    from aiverify.signatures.trust import TrustSource
    from aiverify.signers import Expectation


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
    locked: Path | None = None,
    all_files: bool = False,
    attestations: Attestations | None = None,
    attestor: Expectation | None = None,
    no_cache: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Fetch, digest, authenticate, scan, convert and judge ``target``.

    ``target`` is ``org/name[@revision]``, ``hf://org/name[@revision]``, a folder or a file. ``policy`` is a Policy, or
    the path of a policy file, which must not lie inside ``target``; without it the default policy holds (finding
    configuration files is the command line's business). ``cert_identity`` and ``cert_oidc_issuer`` go together and name
    the expected keyless signer, ``key`` is the PEM file of an expected public key, ``ca`` that of the authorities for
    an expected certificate, whose ``ca_subject`` may be pinned. ``bundle`` names one signature or several.
    ``convert_to`` is the folder for safetensors twins; without it, nothing is written. ``locked`` is a lockfile: the
    artifact must be the one that it names, to the byte, and is fetched at that commit; it must not lie inside
    ``target``. Of a repository with safetensors, the same weights as pickles and those of other frameworks are left
    out, unless ``all_files``, ``include`` or ``convert_to`` says otherwise.
    With ``attestations``, nothing is scanned: the verdict is taken over from them, if they are by ``attestor`` (or by
    those whom the policy names) and hold for these files.
    Digests of large files are remembered in the store of the user and taken from it, unless ``no_cache``.

    Returns the report, whatever the verdict. Raises AiverifyError when the run could not be done at all.
    """
    if attestations is not None and (convert_to is not None or locked is not None):
        raise UsageError(
            "a verdict that is taken over cannot be combined with --convert-to or --locked",
            hint="Both look at the files: leave out --accept-attestation.",
        )
    from aiverify.pipeline import Options, run
    from aiverify.sources.interface import HubOptions, Selection

    hub = HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline)
    all_files = all_files or convert_to is not None
    pin = None
    if locked is not None:
        from aiverify.lock.pinning import pinned

        require_outside(locked, [str(target)], "lockfile", [cache_dir, local_dir])
        pin = pinned(locked, str(target), hub, include=include, exclude=exclude, all_files=all_files)
    selection = Selection(include=tuple(include), exclude=tuple(exclude), lean=not all_files)
    return run(
        str(target),
        Options(
            attestations=attestations,
            policy=_expecting(
                _attested_by(_policy(policy, str(target), cache_dir, local_dir), attestor),
                identity=cert_identity,
                issuer=cert_oidc_issuer,
                key=key,
                ca=ca,
                subject=ca_subject,
            ),
            selection=selection if pin is None else pin.selection,
            hub=hub,
            bundles=_bundles(bundle),
            trusted_root=trusted_root,
            convert_to=convert_to,
            source=None if pin is None else pin.source,
            locked=None if pin is None else pin.artifact,
            memory=_memory(no_cache, progress),
        ),
        progress,
    )


def ensure(
    target: str | Path,
    *,
    policy: Policy | Path | None = None,
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    cache_dir: Path | None = None,
    token: str | None = None,
    offline: bool = False,
    cert_identity: str | None = None,
    cert_oidc_issuer: str | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    ca_subject: str | None = None,
    bundle: Path | Sequence[Path] | None = None,
    trusted_root: TrustSource | None = None,
    locked: Path | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The sealed copy of ``target``, verified and converted: what to load instead of it.

    That is a folder with the files that a load takes, with safetensors twins in the place of checkpoints. Where
    ``target`` is a single file, it is the sealed file, or its twin. ``store`` is the folder of the store; without it
    ``AIVERIFY_STORE``, or ``aiverify`` in the user's cache folder. What passed before comes from the store at once: a
    commit without a request, a branch with one for its commit, a folder after a look at its files. All other arguments
    are those of ``verify``.

    Raises LoadRefused when the verdict is not ``pass``, and AiverifyError when the run could not be done at all.
    """
    from aiverify.ensuring import ensure as ensured
    from aiverify.pipeline import Options
    from aiverify.sources.interface import HubOptions, Selection
    from aiverify.store.store import Store

    hub = HubOptions(revision=revision, cache_dir=cache_dir, token=token, offline=offline)
    pin = None
    if locked is not None:
        from aiverify.lock.pinning import pinned

        require_outside(locked, [str(target)], "lockfile", [cache_dir])
        pin = pinned(locked, str(target), hub, include=include, exclude=exclude)
    selection = Selection(include=tuple(include), exclude=tuple(exclude), lean=True)
    options = Options(
        policy=_expecting(
            _policy(policy, str(target), cache_dir),
            identity=cert_identity,
            issuer=cert_oidc_issuer,
            key=key,
            ca=ca,
            subject=ca_subject,
        ),
        selection=selection if pin is None else pin.selection,
        hub=hub,
        bundles=_bundles(bundle),
        trusted_root=trusted_root,
        source=None if pin is None else pin.source,
        locked=None if pin is None else pin.artifact,
    )
    with Store(store) as opened:
        return ensured(str(target), options, opened, progress)


def auditor(
    *,
    policy: Policy | None = None,
    quick: bool = False,
    fix: bool = False,
    twins: Path | None = None,
    cache_dir: Path | None = None,
    token: str | None = None,
    offline: bool = False,
    cert_identity: str | None = None,
    cert_oidc_issuer: str | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    ca_subject: str | None = None,
    bundle: Path | Sequence[Path] | None = None,
    trusted_root: TrustSource | None = None,
) -> Auditor:
    """What checks the entries of a lockfile (``aiverify.lock.lockfile``), one by one, with its method ``report``.

    ``quick`` asks only the Hub. ``fix`` looks for what may take the place of an entry. ``twins`` is the folder of the
    twins. The other arguments are those of ``verify``.
    """
    from aiverify.audits import Auditor
    from aiverify.pipeline import Options
    from aiverify.sources.interface import HubOptions

    options = Options(
        policy=_expecting(
            policy or DEFAULT_POLICY,
            identity=cert_identity,
            issuer=cert_oidc_issuer,
            key=key,
            ca=ca,
            subject=ca_subject,
        ),
        hub=HubOptions(cache_dir=cache_dir, token=token, offline=offline),
        bundles=_bundles(bundle),
        trusted_root=trusted_root,
    )
    return Auditor(options, twins=twins, quick=quick, fix=fix)


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
    no_cache: bool = False,
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
            memory=_memory(no_cache, progress),
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
    no_cache: bool = False,
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
        memory=_memory(no_cache, progress),
    )
    return run(target, options, progress)


def _policy(policy: Policy | Path | None, target: str, *downloads: Path | None) -> Policy:
    return named_policy(policy, target, downloads) if isinstance(policy, Path) else policy or DEFAULT_POLICY


def _attested_by(policy: Policy, attestor: Expectation | None) -> Policy:
    return policy if attestor is None else policy.with_attestor(SignerRule(expected=attestor), "--attestor")


def _memory(no_cache: bool, progress: Progress | None) -> Memory | None:
    """The digests of earlier runs, unless they are not wanted."""
    if no_cache:
        return None
    from aiverify.store.remembering import DigestCache

    return DigestCache(said=progress.detail) if progress is not None else DigestCache()


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
