"""The Python face of the main job. The command line is a thin shell on these functions.

Imports that cost time (sigstore, huggingface_hub, fickling) happen only when a call needs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.configuration import named_policy
from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule

if TYPE_CHECKING:
    from aiverify.progress import Progress
    from aiverify.report import Report


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
    bundle: Path | None = None,
    trusted_root: Path | None = None,
    convert_to: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Fetch, digest, authenticate, scan, convert and judge ``target``.

    ``target`` is ``org/name[@revision]``, ``hf://org/name[@revision]``, a folder or a file. ``policy`` is a Policy, or
    the path of a policy file, which must not lie inside ``target``; without it the default policy holds (finding
    configuration files is the command line's business). ``cert_identity`` and ``cert_oidc_issuer`` go together and name
    the expected keyless signer, ``key`` is the PEM file of an expected public key. ``convert_to`` is the folder for
    safetensors twins; without it, nothing is written.

    Returns the report, whatever the verdict. Raises AiverifyError when the run could not be done at all.
    """
    from aiverify.pipeline import Options, run
    from aiverify.sources.interface import HubOptions, Selection

    return run(
        str(target),
        Options(
            policy=_expecting(_policy(policy, str(target), cache_dir, local_dir), cert_identity, cert_oidc_issuer, key),
            selection=Selection(include=tuple(include), exclude=tuple(exclude)),
            hub=HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline),
            bundle=bundle,
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
    bundle: Path | None = None,
    trusted_root: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify ``target`` and write safetensors twins of its PyTorch checkpoints, with receipts, into ``output``.

    As ``verify`` with ``convert_to``, except that a target without checkpoints is an error. Of a blocked target nothing
    is written unless ``salvage``; the verdict stays ``block`` then, and the receipts say so. ``digests=False`` leaves
    out the checksums of the archive and the digests of the twins, which is faster and proves less. ``with_config``
    copies configuration and inert files beside the twins. A run that was stopped is completed by calling it again.
    """
    from aiverify.pipeline import Conversions, Options, run
    from aiverify.sources.interface import HubOptions, Selection

    return run(
        str(target),
        Options(
            policy=_expecting(_policy(policy, str(target), cache_dir, local_dir), cert_identity, cert_oidc_issuer, key),
            selection=Selection(include=tuple(include), exclude=tuple(exclude)),
            hub=HubOptions(revision=revision, cache_dir=cache_dir, local_dir=local_dir, token=token, offline=offline),
            bundle=bundle,
            trusted_root=trusted_root,
            convert_to=output,
            conversion=Conversions(required=True, salvage=salvage, digests=digests, with_config=with_config),
        ),
        progress,
    )


def scan(
    path: str | Path,
    *,
    policy: Policy | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Examine the files under ``path`` statically: no network, no signatures, no conversion."""
    from aiverify.pipeline import Options, run
    from aiverify.sources.interface import Selection, SourceError

    if not os.path.lexists(path):
        raise SourceError(
            f"{path}: no such file or folder", hint="scan reads local files only; verify also knows the Hub."
        )
    options = Options(
        policy=_policy(policy, str(path)),
        selection=Selection(include=tuple(include), exclude=tuple(exclude)),
        authenticate=False,
        convert=False,
    )
    return run(str(Path(path).absolute()), options, progress)


def _policy(policy: Policy | Path | None, target: str, *downloads: Path | None) -> Policy:
    return named_policy(policy, target, downloads) if isinstance(policy, Path) else policy or DEFAULT_POLICY


def _expecting(policy: Policy, identity: str | None, issuer: str | None, key: Path | None) -> Policy:
    """``policy`` with the signer that the arguments name. An empty one, as of an unset variable, is an error."""
    named = identity is not None or issuer is not None
    if key is not None and named:
        raise UsageError(
            "a key and an identity cannot both be expected", hint="Give --key or --cert-identity, not both."
        )
    if key is not None:
        try:
            pem = key.read_text("ascii")
        except (OSError, ValueError) as error:
            raise UsageError(f"{key}: cannot read the public key", hint="--key takes a PEM file.") from error
        return policy.with_signer(SignerRule(key=pem, key_name=str(key)), "--key")
    if named:
        if not (identity and issuer):
            raise UsageError(
                "an identity and an issuer are needed together",
                hint="Give both --cert-identity and --cert-oidc-issuer: anybody can have an identity at some issuer.",
            )
        return policy.with_signer(SignerRule(identity=identity, issuer=issuer), "--cert-identity")
    return policy
