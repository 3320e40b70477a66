"""What real loaders ask for: reads [loader, path] lines from stdin, answers each with the names that were looked up.

Names of NumPy and joblib that hold data are given to the loader; for every other name it gets a class that does
nothing. Nothing of a file is ever run. Only ever started as a child process.
"""

import contextlib
import io
import json
import pickle
import resource
import sys
import warnings
from pathlib import Path

ASKED: list[tuple[str, str]] = []
REAL = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
    ("copy_reg", "_reconstructor"),
    ("copyreg", "_reconstructor"),
    ("__builtin__", "object"),
    ("builtins", "object"),
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "FloatStorage"),
}


class Inert:
    """Stands for whatever a name means."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def recording(base):
    """``base`` with a record of the names that it looks up."""

    def find_class(self, module, name):
        ASKED.append((module, name))
        return base.find_class(self, module, name) if (module, name) in REAL else Inert

    return type("Recording", (base,), {"find_class": find_class})


def main() -> None:
    import joblib.numpy_pickle as joblib_pickle
    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    joblib_pickle.NumpyUnpickler = recording(joblib_pickle.NumpyUnpickler)
    plain = recording(pickle.Unpickler)

    def load(file, **options):
        return plain(file, **options).load()

    numpy_format = sys.modules.get("numpy.lib._format_impl") or sys.modules["numpy.lib.format"]
    numpy_format.pickle = type("Pickle", (), {"load": staticmethod(load)})
    module = type("Module", (), {"Unpickler": plain, "load": staticmethod(load), "__name__": "recording"})

    def arrays(path):
        with np.load(path, allow_pickle=True) as archive:
            for name in archive.files:
                archive[name]

    loaders = {
        "joblib": joblib_pickle.load,
        "pickle": lambda path: load(io.BytesIO(Path(path).read_bytes())),
        "numpy": lambda path: np.load(path, allow_pickle=True),
        "numpy archive": arrays,
        "torch": lambda path: torch.load(path, weights_only=False, pickle_module=module),
    }
    for line in sys.stdin:
        loader, path = json.loads(line)
        ASKED.clear()
        outcome = "loaded"
        try:
            with contextlib.redirect_stdout(sys.stderr):
                value = loaders[loader](path)
            outcome = repr(getattr(value, "shape", "loaded"))
        except BaseException as error:  # noqa: BLE001 - any refusal is an answer
            outcome = f"error: {type(error).__name__}"
        print(json.dumps([ASKED, outcome]), flush=True)


if __name__ == "__main__":
    main()
