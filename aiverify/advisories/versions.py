"""Versions of Python packages, in their order (PEP 440): enough of it to tell what a range of an advisory holds."""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"\s*v?(?:(?P<epoch>\d{1,9})!)?(?P<release>\d{1,18}(?:\.\d{1,18}){0,20})"
    r"(?:[-_.]?(?P<stage>a|alpha|b|beta|c|rc|pre|preview)[-_.]?(?P<number>\d{0,18}))?"
    r"(?P<post>(?:-(?P<bare>\d{1,18}))|(?:[-_.]?(?:post|rev|r)[-_.]?(?P<posted>\d{0,18})))?"
    r"(?:[-_.]?dev[-_.]?(?P<dev>\d{0,18}))?(?:\+[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*)?\s*",
    re.IGNORECASE,
)
_STAGES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_FINAL = 3

Key = tuple[int, tuple[int, ...], int, int, int, int]


def key(version: str) -> Key:
    """What orders ``version`` among others; a local part (``+cpu``) counts for nothing. Raises ValueError."""
    match = _VERSION.fullmatch(version) if len(version) < 200 else None
    if match is None:
        raise ValueError(f"not a version: {version[:50]!r}")
    release = [int(part) for part in match["release"].split(".")]
    while len(release) > 1 and not release[-1]:
        release.pop()
    stage = _STAGES[match["stage"].lower()] if match["stage"] else _FINAL
    dev = int(match["dev"] or 0) if match["dev"] is not None else None
    post = int(match["bare"] or match["posted"] or 0) if match["post"] else -1
    if stage == _FINAL and dev is not None and post < 0:
        stage = -1  # a development version comes before every other one of its release
    return (
        int(match["epoch"] or 0),
        tuple(release),
        stage,
        int(match["number"] or 0),
        post,
        dev if dev is not None else 1 << 62,
    )
