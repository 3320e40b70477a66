"""Findings that need several files of an artifact, once each of them was examined on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiverify.advisories.loaders import vulnerable
from aiverify.advisories.snapshot import known
from aiverify.artifact import Fetched
from aiverify.digests.hashing import Digest
from aiverify.finding import Finding
from aiverify.formats.interface import Examination
from aiverify.repository.base_model import Fetch, compared_with_base
from aiverify.repository.code import reached
from aiverify.repository.instructions import instructions
from aiverify.repository.native import not_needed
from aiverify.repository.secrets import secrets
from aiverify.repository.shadowing import shadowing
from aiverify.repository.shards import check_shards
from aiverify.repository.subject import Part, Repository


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
    findings = reached(repository, findings)
    formats = {path: examination.format.value for path, examination in examinations.items()}
    return [
        *findings,
        *not_needed(repository, findings),
        *shadowing(repository, named),
        *check_shards(repository, pickled, misplaced),
        *instructions(repository),
        *(compared_with_base(repository, fetch) if fetch is not None else ()),
        *secrets(repository),
        *vulnerable(formats, known().advisories, names_code=any(item.rule == "AIV501" for item in findings)),
    ]


def _repository(fetched: Fetched, digests: Sequence[Digest], examinations: Mapping[str, Examination]) -> Repository:
    parts = {
        item.path: Part(
            path=item.path,
            location=item.location,
            size=item.size,
            format=examinations[item.path].format,
            tensors=examinations[item.path].tensors,
        )
        for item in digests
    }
    return Repository(parts=parts, name=fetched.repo, left_out=fetched.left_out)


def _named(findings: Sequence[Finding]) -> set[str]:
    """The top-level modules of names that pickles ask for and that are not trusted; trusted ones loaders import."""
    names = (item.evidence.get("global") for item in findings if item.rule.startswith("AIV3"))
    return {name.partition(".")[0] for name in names if isinstance(name, str)}
