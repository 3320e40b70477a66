"""Loads files with the loaders that people use, to prove that an attack works. Only ever started as a child process.

Arguments: one JSON list of [file, loader]. Every file is loaded in turn; errors are expected and ignored.
"""

import contextlib
import copyreg
import io
import json
import pickle
import sys
import warnings
from pathlib import Path


def load(path: str, loader: str) -> None:
    import joblib
    import numpy as np
    import torch

    def all_streams(name: str) -> None:
        with Path(name).open("rb") as file:
            for _ in range(5):
                pickle.load(file)

    def every_array(name: str) -> None:
        with np.load(name, allow_pickle=True) as archive:
            for key in archive.files:
                archive[key]

    def with_ids(name: str) -> None:
        class Unpickler(pickle.Unpickler):
            def persistent_load(self, pid):
                return str(pid)

        with Path(name).open("rb") as file:
            Unpickler(file).load()

    {
        "pickle": lambda name: pickle.loads(Path(name).read_bytes()),
        "pickle in Python": lambda name: pickle._loads(Path(name).read_bytes()),
        "pickle in memory": lambda name: pickle.load(io.BytesIO(Path(name).read_bytes())),
        "pickle, every stream": all_streams,
        "pickle with persistent ids": with_ids,
        "torch": lambda name: torch.load(name, weights_only=False),
        "torch in memory": lambda name: torch.load(io.BytesIO(Path(name).read_bytes()), weights_only=False),
        "numpy": lambda name: np.load(name, allow_pickle=True),
        "numpy archive": every_array,
        "joblib": joblib.load,
    }[loader](path)


def main() -> None:
    warnings.simplefilter("ignore")
    with contextlib.suppress(ValueError):
        copyreg.add_extension("os", "mkdir", 0x70)
    for path, loader in json.loads(sys.argv[1]):
        with contextlib.suppress(BaseException):
            load(path, loader)


if __name__ == "__main__":
    main()
