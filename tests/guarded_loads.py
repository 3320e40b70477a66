"""One guarded process, run as a child: it is given a folder of files and says what became of every way to load them.

The payloads are live: each would write a marker into the folder. What is printed is one JSON object: for each case
``loaded``, ``refused`` or the name of another exception.

ACTIVATION says how the guard comes in: ``protect`` or a scope, before or after the libraries are imported, or
``outside``: whoever started this process has seen to it.

Usage: guarded_loads.py before|after|scope-before|scope-after|outside FOLDER STORE
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

activation, folder, store = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

import aiverify  # noqa: E402

scope = contextlib.ExitStack()
if activation == "before":
    aiverify.protect(store=store)
elif activation == "scope-before":
    scope.enter_context(aiverify.guard(store=store))

import pickle  # noqa: E402
from pickle import Unpickler, load, loads  # noqa: E402

import cloudpickle  # noqa: E402
import dill  # noqa: E402
import joblib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
import torch.distributed.checkpoint as dcp  # noqa: E402
from guarded_swaps import SWAPS, put  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load as load_bytes  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import load as early_torch_load  # noqa: E402
from torch.export.pt2_archive._package import load_pt2  # noqa: E402
from torch.package import PackageImporter  # noqa: E402

early_joblib_load, early_numpy_load = joblib.load, np.load
held = {"torch": torch.load, "joblib": joblib.load, "numpy": np.load}  # where nobody finds it to bind it anew
NAMED = ("evil-inst.dat", "evil-old.dat", "evil-dotted.dat", "evil-alias.dat")
results: dict[str, str] = {}


class Polite(pickle.Unpickler):
    """An unpickler with rules of its own, which asks CPython for the rest."""

    def find_class(self, module: str, name: str) -> object:
        return super().find_class(module, name)


def case(name: str, load_it: Callable[[], object]) -> None:
    try:
        load_it()
        results[name] = "loaded"
    except aiverify.LoadRefused:
        results[name] = "refused"
    except BaseException as error:  # noqa: BLE001 - what is asked is which
        results[name] = f"{type(error).__name__}: {error}"[:300]


def read(name: str) -> bytes:
    """The bytes of a file, without opening one that is called like a model."""
    return (folder / name if name.endswith(".dat") else folder / "copies" / f"{name}.bytes").read_bytes()


def evil_stream() -> bytes:
    return bytes.fromhex((folder / "evil.hex").read_text())


def attacks() -> None:
    for name in ("evil.pt", "evil-legacy.pt", "evil-renamed.dat"):
        place = folder / name
        for whole in (False, True):
            case(
                f"torch.load {name} {whole}", lambda place=place, whole=whole: torch.load(place, weights_only=not whole)
            )
        case(f"torch.load early {name}", lambda place=place: early_torch_load(place, weights_only=False))
        case(f"torch.load file {name}", lambda place=place: torch.load(place.open("rb"), weights_only=False))
    case("torch.load bytes", lambda: torch.load(io.BytesIO(read("evil.pt")), weights_only=False))
    case("torch.load dill", lambda: torch.load(folder / "evil.pt", weights_only=False, pickle_module=dill))
    case("torch.load mmap", lambda: torch.load(folder / "evil.pt", weights_only=False, mmap=True))
    case("torch.jit.load", lambda: torch.jit.load(folder / "evil.pt"))
    for name in ("evil.joblib", "evil-compressed.joblib", "evil-joblib.dat"):
        case(f"joblib.load {name}", lambda name=name: joblib.load(folder / name))
        case(f"joblib.load early {name}", lambda name=name: early_joblib_load(folder / name))
        case(f"joblib.load mmap {name}", lambda name=name: joblib.load(folder / name, mmap_mode="r"))
        case(f"joblib.load bytes {name}", lambda name=name: joblib.load(io.BytesIO(read(name))))
    for name in ("evil.npy", "evil.npz", "evil-npy.dat"):
        case(f"np.load {name}", lambda name=name: list(np.load(folder / name, allow_pickle=True)))
        case(f"np.load early {name}", lambda name=name: list(early_numpy_load(folder / name, allow_pickle=True)))
        case(f"np.load bytes {name}", lambda name=name: list(np.load(io.BytesIO(read(name)), allow_pickle=True)))
    case("np.load items of evil.npz", lambda: np.load(folder / "evil.npz", allow_pickle=True)["a"])
    for name in ("evil.pkl", "evil-link.dat", "evil-pkl.dat", *NAMED):
        place = folder / name
        case(f"pickle.load {name}", lambda place=place: pickle.load(place.open("rb")))
        case(f"load {name}", lambda place=place: load(place.open("rb")))
        case(f"Unpickler {name}", lambda place=place: Unpickler(place.open("rb")).load())
        case(f"pickle._Unpickler {name}", lambda place=place: pickle._Unpickler(place.open("rb")).load())
        case(f"pickle._load {name}", lambda place=place: pickle._load(place.open("rb")))
        case(f"dill.load {name}", lambda place=place: dill.load(place.open("rb")))
        case(f"Unpickler of one's own {name}", lambda place=place: Polite(place.open("rb")).load())
        case(f"pd.read_pickle {name}", lambda place=place: pd.read_pickle(place))
        case(f"cloudpickle.load {name}", lambda place=place: cloudpickle.load(place.open("rb")))
    for name in ("evil.pt", "evil-renamed.dat"):
        case(f"held torch.load {name}", lambda name=name: held["torch"](folder / name, weights_only=False))
    for name in ("evil.joblib", "evil-joblib.dat"):
        case(f"held joblib.load {name}", lambda name=name: held["joblib"](folder / name))
    for name in ("evil.npy", "evil-npy.dat"):
        case(f"held np.load {name}", lambda name=name: held["numpy"](folder / name, allow_pickle=True))
    for loading in (loads, pickle._loads, dill.loads, cloudpickle.loads):
        case(f"{loading.__module__}.{loading.__name__} of bytes", lambda loading=loading: loading(evil_stream()))
    case("pickle.load detour.sav", lambda: pickle.load((folder / "detour.sav").open("rb")))
    case("pd.read_pickle detour.pkl.gz", lambda: pd.read_pickle(folder / "detour.pkl.gz"))
    for name in ("evil.pt2", "evil.pt2.dat"):
        case(f"torch.export.load {name}", lambda name=name: torch.export.load(folder / name))
        case(f"torch.export.load of a file, {name}", lambda name=name: torch.export.load((folder / name).open("rb")))
        case(f"load_pt2 {name}", lambda name=name: load_pt2(str(folder / name)))
        case(f"aoti_load_package {name}", lambda name=name: torch._inductor.aoti_load_package(str(folder / name)))
    for name in ("evil-package.pt", "evil-package.pt.dat"):
        case(f"PackageImporter {name}", lambda name=name: PackageImporter(folder / name).import_module("evil"))
        case(
            f"PackageImporter of a file, {name}",
            lambda name=name: PackageImporter((folder / name).open("rb")).import_module("evil"),
        )
    reader = torch._C.PyTorchFileReader(str(folder / "evil-package.pt"))
    case("PackageImporter of a reader", lambda: PackageImporter(reader).import_module("evil"))
    case("the index of a distributed checkpoint", dcp.FileSystemReader(folder / "distributed").read_metadata)
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
        case(f"EXT of a dangerous name, in Python, {turn}", lambda: pickle._loads(dangerous))
        case(f"EXT of a dangerous name, dill, {turn}", lambda: dill.loads(dangerous))
    (folder / "ext.joblib").write_bytes(harmless)
    case("EXT in a joblib file after that", lambda: joblib.load(folder / "ext.joblib"))


LOADERS: dict[str, Callable[[Path], object]] = {
    "pt": lambda place: torch.load(place, weights_only=False),
    "joblib": joblib.load,
    "npy": lambda place: np.load(place, allow_pickle=True),
}


def swaps() -> None:
    """A file that was verified is exchanged. What is loaded then is verified anew, or refused."""
    for kind, loader in LOADERS.items():
        for how in SWAPS:
            place = folder / f"{kind} swapped {how}.{kind}"
            if how == "of a linked folder":
                place = folder / f"{kind} linked" / f"model.{kind}"
            put(folder, kind, how, place, "good")
            case(f"before a swap {how}: {kind}", lambda place=place, loader=loader: loader(place))
            put(folder, kind, how, place, "evil")
            case(f"after a swap {how}: {kind}", lambda place=place, loader=loader: loader(place))


def swaps_during_loads() -> None:
    """The file is exchanged while it is loaded, once at a known moment and then over and over."""
    place, evil = folder / "swapped meanwhile.pt", folder / "copies" / "evil.pt.bytes"
    expected = torch.load(folder / "good.pt")
    for mmap in (False, True):
        shutil.copyfile(folder / "good.pt", place)

        def exchanging(storage: object, location: str) -> object:
            shutil.copyfile(evil, folder / "other")
            (folder / "other").replace(place)
            return storage

        def loaded(mmap: bool = mmap, exchanging: Callable[..., object] = exchanging) -> None:
            found = torch.load(place, map_location=exchanging, mmap=mmap)
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())

        case(f"a swap while it is loaded, mmap {mmap}", loaded)

    stop = threading.Event()

    def swapping() -> None:
        turn = 0
        while not stop.is_set():
            os.link((evil, folder / "good.pt")[turn % 2], folder / "next")
            (folder / "next").replace(place)
            turn += 1

    def all_or_nothing() -> None:
        for _ in range(20):
            with contextlib.suppress(aiverify.LoadRefused):
                assert torch.load(place, weights_only=False).keys() == expected.keys()

    thread = threading.Thread(target=swapping)
    thread.start()
    case("a file that is exchanged all the time", all_or_nothing)
    stop.set()
    thread.join()


def elsewhere() -> None:
    """In other threads, tasks and forked processes. The refusal arrives where the result is awaited."""

    async def gathered(name: str) -> None:
        await asyncio.gather(*(asyncio.to_thread(joblib.load, folder / name) for _ in range(3)))

    for name in ("good.joblib", "evil.joblib"):
        case(f"asyncio {name}", lambda name=name: asyncio.run(gathered(name)))
        with ThreadPoolExecutor(2) as threads:
            loading = threads.submit(joblib.load, folder / name)
            case(f"a pool of threads {name}", loading.result)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as processes:
            loading = processes.submit(joblib.load, folder / name)
            case(f"a pool of processes {name}", loading.result)


def while_another_loads() -> None:
    """Another thread unpickles while this one is inside the load of an artifact."""
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(20)
        case("loads while another thread loads", lambda: loads(evil_stream()))
        case("joblib.load while another thread loads", lambda: joblib.load(folder / "evil.joblib"))
        case("joblib.load good while another thread loads", lambda: joblib.load(folder / "good.joblib"))
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

    for what, target in (("a load", folder / "good.pt"), ("a load of a stream", (folder / "good.pt").open("rb"))):

        def reading(storage: object, location: str, what: str = what) -> object:
            case(f"a foreign pickle inside {what}", lambda: loads(pickle.dumps(Path("x"))))
            return storage

        case(f"{what} that reads another pickle", lambda target=target: torch.load(target, map_location=reading))


def distributed() -> None:
    """Write a distributed checkpoint, and load it."""
    state = {"a": torch.arange(4.0), "of": [{"step": 3}, torch.ones(2, dtype=torch.int8)]}
    dcp.save(state, checkpoint_id=folder / "distributed good", no_dist=True)
    found = {"a": torch.zeros(4), "of": [{"step": 0}, torch.zeros(2, dtype=torch.int8)]}
    dcp.load(found, checkpoint_id=folder / "distributed good", no_dist=True)
    assert str(found) == str(state)


def benign() -> None:
    case("torch.load good", lambda: torch.load(folder / "good.pt"))
    case("torch.load early good", lambda: early_torch_load(folder / "good.pt"))
    case("joblib.load good", lambda: joblib.load(folder / "good.joblib"))
    case("joblib.load compressed", lambda: joblib.load(folder / "good-compressed.joblib"))
    case("a distributed checkpoint", distributed)
    case("a package", lambda: PackageImporter(folder / "good-package.pt").load_pickle("settings", "s.pkl"))
    case(
        "a package of a file",
        lambda: PackageImporter((folder / "good-package.pt").open("rb")).load_pickle("settings", "s.pkl"),
    )
    case("np.load good", lambda: np.load(folder / "good.npy"))
    case("np.load objects", lambda: np.load(folder / "objects.npy", allow_pickle=True))
    case("safetensors good", lambda: load_file(folder / "good.safetensors"))
    case("safetensors bytes", lambda: load_bytes((folder / "good.safetensors").read_bytes()))
    case("pickle good", lambda: pickle.load((folder / "good.pkl").open("rb")))
    case("bytes that are called like a model", lambda: (folder / "data.bin").read_bytes())
    case("own functions", lambda: loads(pickle.dumps([json.dumps, print, getattr, Path("a"), threading.Thread.start])))
    case("pd.read_pickle good", lambda: pd.read_pickle(folder / "good.pkl"))
    case("no such file", lambda: torch.load(folder / "nothing.pt"))


def main() -> None:
    parts = (attacks, extensions, swaps, swaps_during_loads, while_another_loads, nested, elsewhere, benign)
    for part in parts:
        part()
    print(json.dumps(results))
    sys.stdout.flush()


if activation == "scope-after":
    scope.enter_context(aiverify.guard(store=store))
elif activation in ("before", "after"):
    aiverify.protect(store=store)  # the second time, where it was there before
with scope:
    main()
