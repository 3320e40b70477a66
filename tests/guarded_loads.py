"""One guarded process, run as a child: it is given a folder of files and says what became of every way to load them.

The payloads are live: each would write a marker into the folder. What is printed is one JSON object: for each case
``loaded``, ``refused`` or the name of another exception.

Usage: guarded_loads.py before|after|scope FOLDER STORE
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

activation, folder, store = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

import aiverify  # noqa: E402

if activation == "before":
    aiverify.protect(store=store)

import pickle  # noqa: E402
from pickle import Unpickler, load, loads  # noqa: E402

import dill  # noqa: E402
import joblib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load as load_bytes  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import load as early_torch_load  # noqa: E402

early_joblib_load, early_numpy_load = joblib.load, np.load
held = {"torch": torch.load, "joblib": joblib.load, "numpy": np.load}  # where nobody finds it to bind it anew
NAMED = ("evil-inst.dat", "evil-old.dat", "evil-dotted.dat", "evil-alias.dat")
results: dict[str, str] = {}


def case(name: str, load_it: Callable[[], object]) -> None:
    try:
        load_it()
        results[name] = "loaded"
    except aiverify.LoadRefused:
        results[name] = "refused"
    except BaseException as error:  # noqa: BLE001 - what is asked is which
        results[name] = f"{type(error).__name__}: {error}"[:300]


def attacks() -> None:
    for name in ("evil.pt", "evil-legacy.pt", "evil-renamed.dat"):
        place = folder / name
        for whole in (False, True):
            case(
                f"torch.load {name} {whole}", lambda place=place, whole=whole: torch.load(place, weights_only=not whole)
            )
        case(f"torch.load early {name}", lambda place=place: early_torch_load(place, weights_only=False))
        case(f"torch.load file {name}", lambda place=place: torch.load(place.open("rb"), weights_only=False))
    zipped = (folder / "evil.pt.bytes").read_bytes()
    case("torch.load bytes", lambda: torch.load(io.BytesIO(zipped), weights_only=False))
    case("torch.load dill", lambda: torch.load(folder / "evil.pt", weights_only=False, pickle_module=dill))
    case("torch.load mmap", lambda: torch.load(folder / "evil.pt", weights_only=False, mmap=True))
    for name in ("evil.joblib", "evil-compressed.joblib", "evil-joblib.dat"):
        case(f"joblib.load {name}", lambda name=name: joblib.load(folder / name))
        case(f"joblib.load early {name}", lambda name=name: early_joblib_load(folder / name))
    for name in ("evil.npy", "evil.npz", "evil-npy.dat"):
        case(f"np.load {name}", lambda name=name: list(np.load(folder / name, allow_pickle=True)))
        case(f"np.load early {name}", lambda name=name: list(early_numpy_load(folder / name, allow_pickle=True)))
    case("np.load items of evil.npz", lambda: np.load(folder / "evil.npz", allow_pickle=True)["a"])
    for name in ("evil.pkl", "evil-link.dat", "evil-pkl.dat", *NAMED):
        place = folder / name
        case(f"pickle.load {name}", lambda place=place: pickle.load(place.open("rb")))
        case(f"load {name}", lambda place=place: load(place.open("rb")))
        case(f"Unpickler {name}", lambda place=place: Unpickler(place.open("rb")).load())
        case(f"pickle._Unpickler {name}", lambda place=place: pickle._Unpickler(place.open("rb")).load())
        case(f"pickle._load {name}", lambda place=place: pickle._load(place.open("rb")))
        case(f"dill.load {name}", lambda place=place: dill.load(place.open("rb")))
    for name in ("evil.pt", "evil-renamed.dat"):
        case(f"held torch.load {name}", lambda name=name: held["torch"](folder / name, weights_only=False))
    for name in ("evil.joblib", "evil-joblib.dat"):
        case(f"held joblib.load {name}", lambda name=name: held["joblib"](folder / name))
    for name in ("evil.npy", "evil-npy.dat"):
        case(f"held np.load {name}", lambda name=name: held["numpy"](folder / name, allow_pickle=True))
    stream = bytes.fromhex((folder / "evil.hex").read_text())
    case("loads", lambda: loads(stream))
    case("pickle._loads", lambda: pickle._loads(stream))
    case("safe_open of a pickle", lambda: safe_open(folder / "evil.safetensors", "pt"))
    case("load_file of a pickle", lambda: load_file(folder / "evil.safetensors"))


def extensions() -> None:
    """The second use of an extension code makes no event in CPython's unpickler."""
    import copyreg

    copyreg.add_extension("os", "getpid", 240)
    copyreg.add_extension("os", "system", 241)
    harmless, dangerous = b"\x80\x02\x82\xf0.", b"\x80\x02\x82\xf1."
    for turn in ("first", "second"):
        case(f"EXT of a harmless name, {turn}", lambda: loads(harmless))
        case(f"EXT of a dangerous name, {turn}", lambda: loads(dangerous))
    (folder / "ext.joblib").write_bytes(harmless)
    case("EXT in a joblib file after that", lambda: joblib.load(folder / "ext.joblib"))


def swaps() -> None:
    """A file that was verified is exchanged. What is loaded then is verified anew, or refused."""
    for how in ("rename", "in place", "link"):
        good, evil, place = folder / "good.pt", folder / "evil.pt.bytes", folder / f"swapped {how}.pt"
        if how == "link":
            place.symlink_to(good)
        else:
            shutil.copyfile(good, place)
        case(f"before the swap: {how}", lambda place=place: torch.load(place, weights_only=False))
        state = place.stat()
        if how == "rename":
            other = folder / "other"
            shutil.copyfile(evil, other)
            other.replace(place)
        elif how == "in place":
            place.write_bytes(evil.read_bytes())
            os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
        else:
            place.unlink()
            place.symlink_to(evil)
        case(f"after the swap: {how}", lambda place=place: torch.load(place, weights_only=False))


def while_another_loads() -> None:
    """Another thread unpickles while this one is inside the load of an artifact."""
    inside, done = threading.Event(), threading.Event()
    stream = bytes.fromhex((folder / "evil.hex").read_text())

    def other() -> None:
        inside.wait(20)
        case("loads while another thread loads", lambda: loads(stream))
        case("own results while another thread loads", lambda: loads(pickle.dumps(io.BytesIO(b"mine"))))
        done.set()

    def waiting(storage: object, location: str) -> object:
        inside.set()
        done.wait(20)
        return storage

    thread = threading.Thread(target=other)
    thread.start()
    case("the load itself", lambda: torch.load(folder / "good.pt", map_location=waiting))
    thread.join()


def nested() -> None:
    """A pickle that is read while an artifact is loaded in the same thread names what the artifact does not."""

    def reading(storage: object, location: str) -> object:
        case("a foreign pickle inside a load", lambda: loads(pickle.dumps(Path("x"))))
        return storage

    case("a load that reads another pickle", lambda: torch.load(folder / "good.pt", map_location=reading))


def benign() -> None:
    case("torch.load good", lambda: torch.load(folder / "good.pt"))
    case("torch.load early good", lambda: early_torch_load(folder / "good.pt"))
    case("joblib.load good", lambda: joblib.load(folder / "good.joblib"))
    case("joblib.load compressed", lambda: joblib.load(folder / "good-compressed.joblib"))
    case("np.load good", lambda: np.load(folder / "good.npy"))
    case("np.load objects", lambda: np.load(folder / "objects.npy", allow_pickle=True))
    case("safetensors good", lambda: load_file(folder / "good.safetensors"))
    case("safetensors bytes", lambda: load_bytes((folder / "good.safetensors").read_bytes()))
    case("pickle good", lambda: pickle.load((folder / "good.pkl").open("rb")))
    case("bytes that are called like a model", lambda: (folder / "data.bin").read_bytes())
    case("own functions", lambda: loads(pickle.dumps([json.dumps, print, getattr, Path("a"), threading.Thread.start])))
    case("no such file", lambda: torch.load(folder / "nothing.pt"))


def main() -> None:
    for part in (attacks, extensions, swaps, while_another_loads, nested, benign):
        part()
    print(json.dumps(results))
    sys.stdout.flush()


if activation == "scope":
    with aiverify.guard(store=store):
        main()
else:
    aiverify.protect(store=store)
    main()
