"""Which files of a judged run go into a sealed snapshot.

The rules:

1. Only what the verdict is about: the files of its variant, the twin instead of its checkpoint, and the configuration,
   texts and code beside them. No file of another variant or framework, and no training state.
2. No file that was not examined, unless the policy accepts that by name, and none that something speaks against.
3. Twins, their receipts and their index have the names under which loaders look for them. The index of checkpoints that
   are not there goes with them. So does a signature over files that are not all there: it could not be verified again.
4. Where parts of a model lie in folders of their own, twins of checkpoints that have no safetensors beside them go in,
   too, if that variant passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from aiverify.artifact import Fetched, FileClass
from aiverify.convert.index import is_index, twin_index_path
from aiverify.policy import Policy
from aiverify.report import Outcome, Report
from aiverify.store.interface import Member, StoreError
from aiverify.variants import PYTORCH, TWIN
from aiverify.verdict import effect


def members(report: Report, fetched: Fetched, policy: Policy, made: Path) -> list[Member]:
    """The files to seal, sorted by path. ``made`` is the folder with what the run itself wrote.

    Raises StoreError when the variant of the verdict has no weights that may be sealed.
    """
    variant = next((item for item in report.variants if item.name == report.verdict.variant), None)
    if variant is None:
        raise StoreError(f"{report.target}: there is nothing to seal")
    twins = {member.path: member for member in _made(made)} if _twins_pass(report) else {}
    replaced = {item.source for item in report.conversions if item.output in twins}
    doubtful = _doubtful(report, policy.for_repository(fetched.repo))
    places = {file.path: file.location for file in fetched.files}
    left_out = [path for path in variant.files if path in replaced or path in doubtful]
    chosen: dict[str, Member] = {}
    for file in report.artifact.files:
        if file.path in variant.files and file.path not in left_out and file.sha256 is not None:
            member = Member(path=file.path, location=places[file.path], size=file.size, sha256=file.sha256)
            chosen[file.path] = member
    whole = len(chosen) == len(report.artifact.files)
    for path in [path for path in chosen if _is_idle(path, variant.name, twins) or not (whole or _keeps_sense(path))]:
        del chosen[path]
    weights = {file.path for file in report.artifact.files if file.file_class is FileClass.WEIGHTS}
    if not twins and not weights.intersection(chosen):
        raise StoreError(f"{report.target}: of the variant {variant.name} no weights are left to seal")
    return sorted((chosen | twins).values(), key=lambda member: member.path)


def _made(folder: Path) -> Iterator[Member]:
    """What the run itself wrote."""
    for place in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if place.is_file() and not place.is_symlink():
            path = place.relative_to(folder).as_posix()
            yield Member(path=path, location=place, size=place.stat().st_size, sha256=None)


def _twins_pass(report: Report) -> bool:
    """Whether the verdict is about the twins, or these are of parts beside it and pass, too."""
    outcomes = {variant.name: variant.outcome for variant in report.variants}
    return report.verdict.variant != PYTORCH and outcomes.get(TWIN) is Outcome.PASS


def _doubtful(report: Report, policy: Policy) -> set[str | None]:
    said = {item.file for item in report.findings if effect(item, policy) is not Outcome.PASS}
    gaps = {item.file for item in report.unexamined}
    accepted = {path for path in gaps if any(fnmatchcase(path, pattern) for pattern in policy.accept_unexamined)}
    return said | (gaps - accepted)


def _is_idle(path: str, variant: str, twins: dict[str, Member]) -> bool:
    """Whether a file is the index of checkpoints that are not sealed."""
    of_checkpoints = is_index(path) and ".safetensors.index" not in path
    return of_checkpoints and (variant != PYTORCH or twin_index_path(path) in twins)


def _keeps_sense(path: str) -> bool:
    """Whether a file says something even if others are not there."""
    return not path.endswith(".sig")
