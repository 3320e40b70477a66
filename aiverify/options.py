"""How one run is done: what a caller may choose, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.artifact import Fetched
from aiverify.digests.interface import Copies, Memory
from aiverify.finding import Finding
from aiverify.policy import DEFAULT_POLICY, Policy
from aiverify.report import Report
from aiverify.sources.interface import HubOptions, Selection, Source

if TYPE_CHECKING:
    from aiverify.attestations.stage import Attestations
    from aiverify.lock.lockfile import LockedArtifact
    from aiverify.signatures.trust import TrustSource
    from aiverify.signers import Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversions:
    """How twins are made, where they are asked for.

    ``required``: an artifact without checkpoints is an error. ``salvage``: the tensors of a blocked artifact are taken,
    too, and those of the rest where a checkpoint cannot be converted; that changes nothing about its verdict.
    ``lower``: tensors that safetensors cannot hold are taken apart. ``digests``: take checksums and digests of the
    twins. ``with_config``: copy configuration and inert files beside them. ``preferred``: twins are for a load, so they
    are made only of checkpoints that no safetensors lie beside, and one that cannot be converted stays what it is.
    """

    required: bool = False
    salvage: bool = False
    lower: bool = False
    digests: bool = True
    with_config: bool = False
    preferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one run is done. ``authenticate`` and ``convert`` leave those stages out when false.

    ``bundles`` name signatures, ``trusted_root`` a Sigstore trusted root. ``convert_to`` is the folder for
    twins; without it conversion is planned and proved, but nothing is written. ``conversion`` says how twins are made.
    ``engines`` are the names of second engines. Without ``digests`` no file is hashed that need not be.
    ``source`` stands for the target where that is only a name. The artifact must be the one that is ``locked``.
    ``noticed`` is what is known of it beforehand. ``memory`` has digests that earlier runs took. ``seal`` is given the
    report on files that were examined, and where they lie; ``copies`` takes copies for it while they are hashed.
    From ``attestations`` the verdict is taken over, and nothing is examined.
    """

    policy: Policy = DEFAULT_POLICY
    selection: Selection = field(default_factory=Selection)
    hub: HubOptions = field(default_factory=HubOptions)
    bundles: tuple[Path, ...] = ()
    trusted_root: TrustSource | None = None
    convert_to: Path | None = None
    authenticate: bool = True
    convert: bool = True
    conversion: Conversions = Conversions()
    engines: tuple[str, ...] = ("fickling",)
    digests: bool = True
    source: Source | None = None
    locked: LockedArtifact | None = None
    noticed: tuple[Finding, ...] = ()
    memory: Memory | None = None
    copies: Copies | None = None
    seal: Callable[[Report, Fetched], None] | None = None
    attestations: Attestations | None = None

    @property
    def hashed(self) -> bool:
        """Whether digests of the files are needed: the policy may name files by theirs."""
        return self.digests or bool(self.policy.waivers or self.policy.known_bad)

    @property
    def wanted(self) -> Selection:
        """The files to fetch: a selection of files does not deselect their signature."""
        if not (self.selection.include and self.authenticate):
            return self.selection
        return replace(self.selection, include=(*self.selection.include, "model.sig", "model.*.sig"))

    def signers(self, repo: str | None) -> list[Expectation]:
        """Who must have signed the repository ``repo``; ``None`` for a folder or a file."""
        return [rule.expected for rule in self.policy.signers if rule.applies_to(repo)]
