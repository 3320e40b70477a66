"""Files to load under the guard: attacks whose payload leaves a marker, and what people really load."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import joblib
import numpy as np
import torch
import torch.package
from pickle_builder import named, stack_named, stream, text, tup
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression


class Payload:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.marker}'",)


def call(name: bytes, command: str) -> bytes:
    return name + tup(text(command)) + b"R"


def attacks(folder: Path) -> None:
    """Every file leaves a marker of its own."""

    def evil(name: str) -> Payload:
        return Payload(folder / f"marker of {name}")

    torch.save({"a": torch.ones(2), "x": evil("evil.pt")}, folder / "evil.pt")
    torch.save({"x": evil("legacy")}, folder / "evil-legacy.pt", _use_new_zipfile_serialization=False)
    shutil.copyfile(folder / "evil.pt", folder / "evil-renamed.dat")
    joblib.dump({"x": evil("joblib")}, folder / "evil.joblib")
    joblib.dump({"x": evil("compressed joblib")}, folder / "evil-compressed.joblib", compress=3)
    shutil.copyfile(folder / "evil.joblib", folder / "evil-joblib.dat")
    objects = np.array([evil("npy")], dtype=object)
    np.save(folder / "evil.npy", objects, allow_pickle=True)
    np.savez(folder / "evil.npz", a=objects)
    shutil.copyfile(folder / "evil.npy", folder / "evil-npy.dat")
    command = f"touch '{folder / 'marker of pickle'}'"
    plain = pickle.dumps(evil("pickle"))
    hidden = f"__import__('os').system({command!r})"
    getattr_of_a_module = stack_named("builtins.getattr") + tup(stack_named("tempfile._os"), text("system")) + b"R"
    streams = {
        "evil.pkl": plain,
        "evil-pkl.dat": plain,
        "evil-inst.dat": b"(S" + repr(command).encode() + b"\nios\nsystem\n.",
        "evil-old.dat": stream(call(named("__builtin__.eval"), hidden), 2),
        "evil-dotted.dat": stream(call(text("tempfile") + text("_os.system") + b"\x93", command)),
        "evil-alias.dat": stream(call(getattr_of_a_module, command)),
        "evil.safetensors": plain,
    }
    for name, content in streams.items():
        (folder / name).write_bytes(content)
    detour = getattr_of_a_path(folder / "marker of a detour")
    (folder / "detour.sav").write_bytes(detour)
    with gzip.open(folder / "detour.pkl.gz", "wb") as packed:
        packed.write(detour)
    packages(folder, detour)
    (folder / "distributed").mkdir()
    (folder / "distributed" / ".metadata").write_bytes(detour)
    (folder / "evil-link.dat").symlink_to(folder / "evil.pkl")
    (folder / "evil.hex").write_text(plain.hex())
    (folder / "copies").mkdir()
    for kind in ("evil.pt", "evil.joblib", "evil-compressed.joblib", "evil.npy", "evil.npz"):
        shutil.copyfile(folder / kind, folder / "copies" / f"{kind}.bytes")


def getattr_of_a_path(marker: Path) -> bytes:
    """A stream that makes a file, and names nothing that is dangerous to everybody."""
    path = named("pathlib.PosixPath") + tup(text(str(marker))) + b"R"
    return stream(named("builtins.getattr") + tup(path, text("touch")) + b"R)R")


def packages(folder: Path, detour: bytes) -> None:
    """A package whose module leaves a marker when it is imported, and an exported program with an evil constant."""
    with torch.package.PackageExporter(folder / "evil-package.pt") as exporter:
        exporter.save_source_string("evil", f"open({str(folder / 'marker of a package')!r}, 'w').close()")
    members = {"archive_format": b"pt2", "archive_version": b"0", "data/constants/opaque_obj_0": detour}
    with zipfile.ZipFile(folder / "evil.pt2", "w") as archive:
        for name, content in members.items():
            archive.writestr(f"evil/{name}", content)
    for name in ("evil-package.pt", "evil.pt2"):
        shutil.copyfile(folder / name, folder / f"{name}.dat")


def benign(folder: Path) -> None:
    """What passes the default policy."""
    torch.save(torch.nn.Linear(3, 2).state_dict(), folder / "good.pt")
    estimator = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    joblib.dump(estimator, folder / "good.joblib")
    joblib.dump(estimator, folder / "good-compressed.joblib", compress=3)
    with torch.package.PackageExporter(folder / "good-package.pt") as exporter:
        exporter.save_pickle("settings", "s.pkl", {"a": 1})
    np.save(folder / "good.npy", np.arange(6.0))
    np.save(folder / "objects.npy", np.array([{"a": 1}, [2]], dtype=object), allow_pickle=True)
    save_file({"a": torch.arange(4.0)}, folder / "good.safetensors")
    (folder / "good.pkl").write_bytes(pickle.dumps({"a": [1, 2.5, "x"]}))
    (folder / "data.bin").write_bytes(bytes(range(256)) * 8)
