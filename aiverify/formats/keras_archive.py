"""Keras' own archives (``.keras``): a zip with the configuration of a model as JSON, and its weights as HDF5.

Every entry is a file of its own; what makes the archive a model is judged besides. A custom object may keep anything in
``assets``; such files are examined by their content like all others.

Source: keras 3.15, ``saving/saving_lib.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiverify.formats.keras import judge_configuration
from aiverify.formats.torch import Members

CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights."
_MAX_CONFIG = 64 << 20


def is_keras(names: Sequence[str]) -> bool:
    """Whether entries of these names are what Keras writes."""
    return CONFIG in names and (_METADATA in names or any(name.startswith(_WEIGHTS) for name in names))


def judge_archive(members: Members) -> None:
    """Judge the configuration of the model that ``members`` are."""
    for entry in members.entries:
        if entry.name != CONFIG:
            continue
        if entry.size > _MAX_CONFIG:
            members.unexamined(entry, f"a configuration of {entry.size} bytes")
            continue
        try:
            configuration = json.loads(members.content(entry) or b"")
        except (ValueError, RecursionError):
            members.unexamined(entry, "a configuration that is not valid JSON")
            continue
        members.examination.findings += judge_configuration(configuration, members.path, entry.name)
