"""Loads files with the loaders that people use, to prove that an attack works.

``Loading`` keeps one warm child, which forks for each file: nothing is ever loaded in the process of the tests, and one
attack does not disturb the next. What counts is what can be seen from outside: the marker that the payload makes, or
the death of the process that loads (killed, out of memory, out of time).
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import copyreg
import gzip
import io
import json
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from pathlib import Path

_MEMORY = 12 << 30  # of address space; the libraries map several
_PATIENCE = 30.0
_DEATH = 0.8  # seconds after which a load that should be over is stuck
_MOMENT = 0.1  # seconds until a thread that was started counts as one
_LINGER = 5.0  # seconds that a process may need that a payload started and did not wait for


class Loading:
    """A warm child, with the ``libraries`` imported or without. ``prove`` loads one file in it."""

    def __init__(self, *, libraries: bool) -> None:
        self.libraries = libraries
        self.child: subprocess.Popen[str] | None = None

    def prove(self, *, file: str, loader: str, marker: str, proof: str) -> str:
        """What became of the load: ``ran`` if the proof came about, otherwise why not."""
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, __file__, str(int(self.libraries))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.child.stdin.write(json.dumps([file, loader, marker, proof]) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def close(self) -> None:
        if self.child is not None:
            self.child.stdin.close()
            self.child.stdout.close()
            self.child.wait()


def _raw(name: str) -> bytes:
    return Path(name).read_bytes()


def _all_streams(name: str) -> None:
    with Path(name).open("rb") as file:
        for _ in range(200):
            pickle.load(file)


class _WithIds(pickle.Unpickler):
    def persistent_load(self, pid):
        return str(pid)


def _with_ids(name: str) -> None:
    with Path(name).open("rb") as file:
        _WithIds(file).load()


def _beside(name: str) -> None:
    sys.path.insert(0, str(Path(name).parent))
    pickle.loads(_raw(name))


def _torch(source: object) -> object:
    import torch

    return torch.load(source, weights_only=False)


def _numpy(source: object) -> object:
    import numpy as np

    return np.load(source, allow_pickle=True)


def _every_array(name: str) -> None:
    with _numpy(name) as arrays:
        for key in arrays.files:
            arrays[key]


def _two_arrays(name: str) -> None:
    with Path(name).open("rb") as file:
        _numpy(file)
        _numpy(file)


def _joblib(name: str) -> None:
    import joblib

    joblib.load(name)


def _pandas(name: str) -> None:
    import pandas as pd

    pd.read_pickle(name)


def _dill(name: str) -> None:
    import dill

    with Path(name).open("rb") as file:
        dill.load(file)


def _member(name: str, member: str) -> io.BytesIO:
    with zipfile.ZipFile(name) as archive:
        return io.BytesIO(archive.read(member))


def _gzip(name: str) -> None:
    with gzip.open(name) as file:
        pickle.load(file)


def _tar_in_zip(name: str) -> None:
    with tarfile.open(fileobj=_member(name, "inner.tar")) as archive:
        pickle.load(archive.extractfile("model.pkl"))


def _nemo(name: str) -> None:
    with tarfile.open(name) as archive:
        weights = archive.extractfile("./model_weights.ckpt").read()
    _torch(io.BytesIO(weights))


_LOADERS = {
    "pickle": lambda name: pickle.loads(_raw(name)),
    "pickle in Python": lambda name: pickle._loads(_raw(name)),
    "pickle in memory": lambda name: pickle.load(io.BytesIO(_raw(name))),
    "pickle, every stream": _all_streams,
    "pickle with persistent ids": _with_ids,
    "pickle beside its module": _beside,
    "pickle, then transformed": lambda name: pickle.loads(_raw(name)).transform(os.environ["MARKER"]),
    "torch": _torch,
    "torch in memory": lambda name: _torch(io.BytesIO(_raw(name))),
    "torch, then called": lambda name: _torch(name)(None),
    "torch, then backwards": lambda name: _torch(name).sum().backward(),
    "torch in gzip": lambda name: _torch(io.BytesIO(gzip.decompress(_raw(name)))),
    "torch in zip": lambda name: _torch(_member(name, "m.pt")),
    "numpy": _numpy,
    "numpy archive": _every_array,
    "numpy, twice": _two_arrays,
    "numpy in gzip": lambda name: _numpy(io.BytesIO(gzip.decompress(_raw(name)))),
    "joblib": _joblib,
    "pandas": _pandas,
    "dill": _dill,
    "gzip": _gzip,
    "gzip in gzip": lambda name: pickle.loads(gzip.decompress(gzip.decompress(_raw(name)))),
    "nemo": _nemo,
    "mar": lambda name: _torch(_member(name, "m.pt")),
    "zip in zip": lambda name: pickle.loads(zipfile.ZipFile(_member(name, "inner.zip")).read("model.pkl")),
    "tar in zip": _tar_in_zip,
}


def _load(file: str, loader: str, marker: str, answer: int) -> None:
    """In a process of its own: load, and do what an interpreter does when it ends."""
    os.setsid()
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    os.chdir(Path(marker).parent)
    os.environ["MARKER"] = marker
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _LOADERS[loader](file)
    except BaseException as error:  # noqa: BLE001 - most payloads end in an error, after they have run
        os.write(answer, f"{type(error).__name__}: {error}"[:300].encode("utf-8", "replace"))
    _end_of_the_process(marker)
    os._exit(0)


def _end_of_the_process(marker: str) -> None:
    """What an interpreter does, and threads get a moment."""
    started = time.monotonic()
    while not os.path.lexists(marker) and time.monotonic() - started < (_LINGER if _thread._count() else _MOMENT):
        time.sleep(0.01)
    atexit._run_exitfuncs()


def _prove(file: str, loader: str, marker: str, proof: str) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _load(file, loader, marker, writing)
    os.close(writing)
    # The pipe is closed when the process is gone, and every process that inherited it.
    deadline = time.monotonic() + (_DEATH if proof == "dies" else _PATIENCE)
    said, stuck = b"", False
    while True:
        left = deadline - time.monotonic()
        ready = left > 0 and select.select([reading], [], [], left)[0]
        if not ready:
            stuck = True
            break
        part = os.read(reading, 1000)
        if not part:
            break
        said += part
    os.close(reading)
    with contextlib.suppress(OSError):
        if stuck:
            os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if proof == "dies":
        dead = stuck or os.WIFSIGNALED(status) or said.startswith(b"MemoryError")
        return "ran" if dead else f"it lives: {said.decode()}"
    deadline = time.monotonic() + (0 if os.path.lexists(marker) else _LINGER)
    while not os.path.lexists(marker) and time.monotonic() < deadline and not said.startswith(b"Unpickling"):
        time.sleep(0.02)
    return "ran" if os.path.lexists(marker) else f"no marker: {said.decode()}"


def _serve() -> None:
    warnings.simplefilter("ignore")
    if int(sys.argv[1]):
        import joblib  # noqa: F401 - warm, for everything that forks from here
        import pandas  # noqa: F401
        import sklearn.datasets
        import sklearn.preprocessing  # noqa: F401
        import torch  # noqa: F401
    copyreg.add_extension("os", "mkdir", 0x70)
    copyreg.add_extension("posix", "mkdir", 0x7071)
    copyreg.add_extension("os", "makedirs", 0x707172)
    for line in sys.stdin:
        print(json.dumps(_prove(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
