"""The output folder: where twins may be written, and whether there is room for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from aiverify.convert.plan import ConversionError
from aiverify.errors import in_words

_CACHED_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--.+")
_SPARE = 1 << 20


def check_folder(output: Path, artifact_root: Path | None, hub_cache: Path | None) -> None:
    """Refuse a folder whose content somebody else vouches for."""
    try:
        reason = _why_not(output.resolve(), artifact_root, hub_cache)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise ConversionError(f"{output} cannot be used: {in_words(error)}") from error
    if reason:
        raise ConversionError(f"{output} {reason}", hint="Choose a folder of its own.")


def check_room(output: Path, needed: int) -> None:
    """Whether there is room for all of it, before any of it is written."""
    place = next((folder for folder in (output, *output.absolute().parents) if folder.is_dir()), None)
    if place is not None and needed:
        check_space(place, needed)


def check_space(folder: Path, needed: int) -> None:
    """Raise ConversionError unless ``needed`` bytes, and a little more, are free where ``folder`` lies."""
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise ConversionError(f"the folder {folder} cannot be used: {error.strerror}") from error
    free = status.f_bavail * status.f_frsize
    if free < needed + _SPARE:
        raise ConversionError(
            f"{needed + _SPARE} bytes are needed in {folder}, but only {free} are free",
            hint="Free some space, or choose another folder.",
        )


def _why_not(output: Path, artifact_root: Path | None, hub_cache: Path | None) -> str | None:
    lineage = (output, *output.parents)
    if artifact_root is not None and artifact_root.resolve() in lineage:
        return "lies inside the artifact"
    if any(cache in lineage for cache in _hub_caches(hub_cache)):
        return "lies inside the Hub cache"
    for folder in lineage:
        marks = (folder.parent / "CACHEDIR.TAG", folder / "snapshots", folder / "blobs")
        if _CACHED_REPOSITORY.fullmatch(folder.name) and any(mark.exists() for mark in marks):
            return "lies inside a Hub cache"
    return "is not a folder" if output.exists() and not output.is_dir() else None


def _hub_caches(given: Path | None) -> Iterator[Path]:
    """Where the Hub client keeps its cache, by its own rules (``huggingface_hub.constants``) and ``given``."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    hub = Path(os.environ.get("HF_HOME") or home) / "hub"
    for cache in (given, os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE"), hub):
        if cache:
            yield Path(os.path.expanduser(cache)).resolve()  # noqa: PTH111 - there may be no home
