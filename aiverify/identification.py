"""Which files an artifact consists of, and what is known of them by their digests and by the name of the repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aiverify.artifact import ArtifactFile, Fetched, SourceKind
from aiverify.digests.hashing import Digest, compare
from aiverify.finding import Finding
from aiverify.formats.interface import Format
from aiverify.policy import Policy
from aiverify.variants import Member, classes


def files_of(formats: Mapping[str, Format], digests: Sequence[Digest], *, selected: bool) -> tuple[ArtifactFile, ...]:
    """The files as a report lists them. ``selected`` tells that the user chose them."""
    kinds = classes([Member(path, kind) for path, kind in formats.items()], selected=selected)
    return tuple(
        ArtifactFile(
            path=digest.path,
            size=digest.size,
            sha256=digest.sha256,
            format=formats[digest.path],
            file_class=kinds[digest.path],
        )
        for digest in digests
    )


def said_of(
    fetched: Fetched, digests: Sequence[Digest], files: Sequence[ArtifactFile], policy: Policy
) -> Iterator[Finding]:
    """What speaks against the bytes, whatever is in them: the source, names that resemble others, feeds."""
    yield from compare(fetched.files, digests, stated=fetched.kind is SourceKind.HUB)
    if fetched.repo is not None and policy.known_repositories:
        from aiverify.sources.identity import lookalikes  # most policies name none

        yield from lookalikes(fetched.repo, policy.known_repositories)
    if policy.known_bad:
        from aiverify.known_bad import listed

        yield from listed(policy.known_bad, fetched.repo, fetched.revision, files)
