"""Which versions of which distributions are installed beside aiverify. Nothing is imported."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """The versions of those of ``packages`` that are installed. The working directory is not asked.

    They stand in the names of folders (``NAME-VERSION.dist-info``); only where a distribution is of an older form,
    ``importlib.metadata``, which takes longer to import than all of this, is asked instead.
    """
    here = os.path.realpath(".")
    places = [place for place in sys.path if place and os.path.realpath(place) != here]
    wanted = {_normal(package): package for package in packages}
    versions: dict[str, str] = {}
    for place in places:
        for name, version, form in _distributions(place):
            package = wanted.get(name)
            if package is None or package in versions:
                continue
            stated = version if form == ".dist-info" else _stated_version(package, place)
            if stated:
                versions[package] = stated
    return versions


def _distributions(place: str) -> Iterator[tuple[str, str, str]]:
    """The distributions in a folder of modules: normal name, version, and form, which is the ending of its name."""
    try:
        entries = os.listdir(place)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return
    for entry in entries:
        stem, form = os.path.splitext(entry)  # noqa: PTH122
        if form in (".dist-info", ".egg-info", ".egg"):
            name, _, version = stem.partition("-")
            yield _normal(name), version, form


def _stated_version(package: str, place: str) -> str:
    from importlib import metadata

    found = next(iter(metadata.distributions(name=package, path=[place])), None)
    return (found.version if found is not None else None) or ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
