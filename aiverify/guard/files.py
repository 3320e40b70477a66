"""Which opens the guard looks at: those of files that are called like models.

A name counts, and so does what a link leads to. A file of another name is not looked at when it is opened; the wrappers
of the loaders look at every name.
"""

from __future__ import annotations

import os

SUFFIXES = (
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".safetensors"),
    *(".h5", ".hdf5", ".keras", ".mar", ".nemo", ".skops", ".pt2", ".th", ".t7", ".p"),
)


def model_file(path: object) -> str | None:
    """The path that an open names if that is called like a model, by its own name or by that of what it leads to."""
    if not isinstance(path, str):
        try:
            path = os.fsdecode(path)  # type: ignore[arg-type]  # whatever an open is given
        except TypeError:
            return None  # a descriptor, which somebody opened before
    if path.lower().endswith(SUFFIXES):
        return path
    try:
        os.readlink(path)  # noqa: PTH115 - asked at every open of the process
    except (OSError, ValueError):
        return None
    return path if os.path.realpath(path).lower().endswith(SUFFIXES) else None
