"""Findings that need several files of an artifact, once each of them was examined on its own.

Most artifacts that are scanned are weights and little else: what judges code and texts is imported where there are any.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING

from aiverify.advisories.loaders import vulnerable
from aiverify.advisories.snapshot import known
from aiverify.artifact import Fetched
from aiverify.digests.hashing import Digest
from aiverify.finding import Finding
from aiverify.formats.interface import Examination, Format
from aiverify.repository.shadowing import shadowing
from aiverify.repository.subject import Part, Repository

if TYPE_CHECKING:
    from aiverify.repository.base_model import Fetch


def judged(
    fetched: Fetched, digests: Sequence[Digest], examinations: Mapping[str, Examination], fetch: Fetch | None = None
) -> list[Finding]:
    """The findings of all ``examinations``, by path, with what they mean together, and those of the whole.

    With ``fetch``, the model is compared with the one that it says it was made from.
    """
    repository = _repository(fetched, digests, examinations)
    findings = [item for examination in examinations.values() for item in examination.findings]
    named = _named(findings)
    pickled = {path for path, examination in examinations.items() if examination.checkpoint is not None}
    misplaced = {item.file for item in findings if item.rule == "AIV407" and item.file is not None}
    if _names_code(findings) or any(part.format is Format.PYTHON for part in repository.parts.values()):
        findings = _with_code(repository, findings)
    formats = {path: examination.format.value for path, examination in examinations.items()}
    return [
        *findings,
        *shadowing(repository, named),
        *(_in_texts(repository, pickled, misplaced) if repository.has_texts else ()),
        *(_beside_its_base(repository, fetch) if fetch is not None else ()),
        *vulnerable(formats, known().advisories, names_code=_names_code(findings)),
    ]


def _names_code(findings: Sequence[Finding]) -> bool:
    return any(item.rule == "AIV501" for item in findings)


def _with_code(repository: Repository, findings: Sequence[Finding]) -> list[Finding]:
    """``findings`` with what is known of the code that configurations name."""
    from aiverify.repository.code import reached
    from aiverify.repository.native import not_needed

    findings = reached(repository, findings)
    return [*findings, *not_needed(repository, findings)]


def _in_texts(repository: Repository, pickled: Collection[str], misplaced: Collection[str]) -> Iterator[Finding]:
    """What configurations and texts say, of other files too."""
    from aiverify.repository.instructions import instructions
    from aiverify.repository.secrets import secrets
    from aiverify.repository.shards import check_shards

    yield from check_shards(repository, pickled, misplaced)
    yield from instructions(repository)
    yield from secrets(repository)


def _beside_its_base(repository: Repository, fetch: Fetch) -> list[Finding]:
    from aiverify.repository.base_model import compared_with_base

    return compared_with_base(repository, fetch)


def _repository(fetched: Fetched, digests: Sequence[Digest], examinations: Mapping[str, Examination]) -> Repository:
    parts = {
        item.path: Part(
            path=item.path,
            location=item.location,
            size=item.size,
            format=examinations[item.path].format,
            tensors=examinations[item.path].tensors,
            state=None if _is_other(examinations[item.path]) else astuple(item.identity),
        )
        for item in digests
    }
    return Repository(parts=parts, name=fetched.repo, left_out=fetched.left_out)


def _is_other(examination: Examination) -> bool:
    """Whether it was said already that this is not the file that was meant."""
    return any(item.rule == "AIV103" for item in examination.findings)


def _named(findings: Sequence[Finding]) -> set[str]:
    """The top-level modules of names that pickles ask for and that are not trusted; trusted ones loaders import."""
    names = (item.evidence.get("global") for item in findings if item.rule.startswith("AIV3"))
    return {name.partition(".")[0] for name in names if isinstance(name, str)}
