"""Keras' own archives (``.keras``): a zip with the configuration of a model as JSON, and its weights as HDF5.

Every entry is a file of its own, and examined as one: the configuration as JSON is (``config``). A custom object may
keep anything in ``assets``.

Source: keras 3.15, ``saving/saving_lib.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights."


def is_keras(names: Sequence[str]) -> bool:
    """Whether entries of these names are what Keras writes."""
    return _CONFIG in names and (_METADATA in names or any(name.startswith(_WEIGHTS) for name in names))
