"""Addresses that a report can name: of this project, of a repository on the Hub, and of files."""

from __future__ import annotations

from urllib.parse import quote

from aiverify.artifact import Artifact, SourceKind

HOME = "https://aiverify-weights.readthedocs.io/"


def page_on_hub(artifact: Artifact) -> str | None:
    """The page of the repository that ``artifact`` came from; ``None`` when it came from none."""
    if artifact.source is not SourceKind.HUB or not artifact.repo:
        return None
    return f"https://huggingface.co/{escaped(artifact.repo)}"


def escaped(path: str) -> str:
    """``path`` as the path of a URI. A name that is not Unicode keeps its bytes."""
    try:
        return quote(path, errors="surrogateescape")
    except UnicodeEncodeError:
        # A surrogate that stands for no byte: no file system gave this name.
        return quote(path, errors="surrogatepass")
