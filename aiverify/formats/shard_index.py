"""The index of a sharded checkpoint: where it says that the tensors are.

A loader opens every file that ``weight_map`` names. One outside of the folder, or in a hidden one, is not among the
files of the artifact, and so is not examined.
"""

from __future__ import annotations

from pathlib import PurePosixPath

MAX_REPORTED = 20
_LONGEST = 200


def misplaced(index: object) -> list[str]:
    """The places in ``index``, parsed JSON, that no shard may be named at; cut, and each once."""
    weights = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weights, dict):
        return []
    listed = (place for value in weights.values() for place in (value if isinstance(value, list) else [value]))
    places = dict.fromkeys(place for place in listed if isinstance(place, str))
    return [place[:_LONGEST] for place in places if not is_plain(place)][:MAX_REPORTED]


def is_plain(place: str) -> bool:
    """Whether ``place`` is a path of an artifact that is examined, on every system: nothing hidden, nothing outside."""
    path = PurePosixPath(place)
    hidden = any(part.startswith(".") for part in path.parts)
    foreign = any(mark in place for mark in "\\:\0")
    return bool(path.parts) and not (path.is_absolute() or hidden or foreign)
