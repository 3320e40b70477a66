"""The Python face of the main job. The command line is a thin shell on these functions.

``verify``, ``ensure`` and ``convert`` share the arguments of ``aiverify.arguments.Shared``: policy, revision, include,
exclude, cache_dir, token, offline, cert_identity, cert_oidc_issuer, key, ca, ca_subject, bundle and trusted_root.
Imports that cost time (sigstore, huggingface_hub, fickling) happen only when a call needs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack

from aiverify.arguments import Shared, Trusting, options_for, options_of
from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, SignerRule

if TYPE_CHECKING:
    from aiverify.attestations.stage import Attestations
    from aiverify.audits import Auditor
    from aiverify.digests.interface import Memory
    from aiverify.progress import Progress
    from aiverify.report import Report
    from aiverify.signers import Expectation
    from aiverify.sources.interface import Source


def verify(
    target: str | Path,
    *,
    local_dir: Path | None = None,
    convert_to: Path | None = None,
    locked: Path | None = None,
    all_files: bool = False,
    attestations: Attestations | None = None,
    attestor: Expectation | None = None,
    no_cache: bool = False,
    progress: Progress | None = None,
    **shared: Unpack[Shared],
) -> Report:
    """Fetch, digest, authenticate, scan, convert and judge ``target``.

    ``target`` is ``org/name[@revision]``, ``hf://org/name[@revision]``, a folder or a file. ``local_dir`` is a folder
    to download into. ``convert_to`` is the folder for safetensors twins; without it, nothing is written. ``locked`` is
    a lockfile: the artifact must be the one that it names, to the byte, and is fetched at that commit; it must not lie
    inside ``target``. Of a repository with safetensors, the same weights as pickles and those of other frameworks are
    left out, unless ``all_files``, ``include`` or ``convert_to`` says otherwise.
    With ``attestations``, nothing is scanned: the verdict is taken over from them, if they are by ``attestor`` (or by
    those whom the policy names) and hold for these files.
    Digests of large files are remembered in the store of the user and taken from it, unless ``no_cache``.
    The other arguments are those of ``aiverify.arguments.Shared``.

    Returns the report, whatever the verdict. Raises AiverifyError when the run could not be done at all.
    """
    if attestations is not None and (convert_to is not None or locked is not None):
        raise UsageError(
            "a verdict that is taken over cannot be combined with --convert-to or --locked",
            hint="Both look at the files: leave out --accept-attestation.",
        )
    from aiverify.pipeline import run

    lean = not all_files and convert_to is None
    options = options_for(str(target), local_dir=local_dir, lean=lean, locked=locked, **shared)
    if attestor is not None:
        options = replace(options, policy=options.policy.with_attestor(SignerRule(expected=attestor), "--attestor"))
    memory = _memory(no_cache, progress)
    return run(str(target), replace(options, attestations=attestations, convert_to=convert_to, memory=memory), progress)


def ensure(
    target: str | Path,
    *,
    locked: Path | None = None,
    store: Path | str | None = None,
    progress: Progress | None = None,
    **shared: Unpack[Shared],
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
    from aiverify.store.store import Store

    options = options_for(str(target), lean=True, locked=locked, **shared)
    with Store(None if store is None else Path(store)) as opened:
        return ensured(str(target), options, opened, progress)


def auditor(
    *,
    policy: Policy = DEFAULT_POLICY,
    quick: bool = False,
    fix: bool = False,
    twins: Path | None = None,
    **trusting: Unpack[Trusting],
) -> Auditor:
    """What checks the entries of a lockfile (``aiverify.lock.lockfile``), one by one, with its method ``report``.

    ``quick`` asks only the Hub. ``fix`` looks for what may take the place of an entry. ``twins`` is the folder of the
    twins. The other arguments are those of ``aiverify.arguments.Trusting``.
    """
    from aiverify.audits import Auditor

    return Auditor(options_of(policy, **trusting), twins=twins, quick=quick, fix=fix)


def convert(
    target: str | Path,
    output: Path,
    *,
    salvage: bool = False,
    lower: bool = False,
    digests: bool = True,
    with_config: bool = False,
    local_dir: Path | None = None,
    no_cache: bool = False,
    progress: Progress | None = None,
    **shared: Unpack[Shared],
) -> Report:
    """Verify ``target`` and write safetensors twins of its checkpoints or arrays, with receipts, into ``output``.

    As ``verify`` with ``convert_to``, except that a target without checkpoints is an error. Of a blocked target nothing
    is written unless ``salvage``; the verdict stays ``block`` then, and the receipts say so. With ``salvage``, a
    checkpoint that cannot be converted does not stop the others. ``lower`` takes apart tensors that safetensors cannot
    hold (complex128, sparse, quantised…), without loss. ``digests=False`` leaves out the checksums of the archive and
    the digests of the twins, which is faster and proves less. ``with_config`` copies configuration and inert files
    beside the twins. A run that was stopped is completed by calling it again.
    """
    from aiverify.options import Conversions
    from aiverify.pipeline import run

    conversion = Conversions(required=True, salvage=salvage, lower=lower, digests=digests, with_config=with_config)
    options = options_for(str(target), local_dir=local_dir, **shared)
    memory = _memory(no_cache, progress)
    return run(str(target), replace(options, convert_to=output, conversion=conversion, memory=memory), progress)


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
    from aiverify.pipeline import run
    from aiverify.sources.interface import SourceError

    source: Source
    if isinstance(path, str | Path):
        if not os.path.lexists(path):
            raise SourceError(
                f"{path}: no such file or folder", hint="scan reads local files only; verify also knows the Hub."
            )
        from aiverify.sources.target import open_path

        target = str(path)
        source = open_path(target)
    else:
        from aiverify.sources.stream import StreamSource

        target = "-"
        source = StreamSource(path, target)
    options = replace(
        options_for(target, policy=policy, include=include, exclude=exclude),
        authenticate=False,
        convert=False,
        engines=tuple(engines),
        digests=digests,
        source=source,
    )
    if options.hashed:
        options = replace(options, memory=_memory(no_cache, progress))
    return run(target, options, progress)


def _memory(no_cache: bool, progress: Progress | None) -> Memory | None:
    """The digests of earlier runs, unless they are not wanted."""
    if no_cache:
        return None
    from aiverify.store.remembering import DigestCache

    return DigestCache(said=progress.detail) if progress is not None else DigestCache()
