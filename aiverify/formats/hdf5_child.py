"""The child process that opens HDF5: looks at one file, the one on its standard input, and describes it as JSON.

The HDF5 library is C and meets hostile bytes here, under limits on memory, time, files and processes. Links that lead
out of the file are named, not followed; no dataset is read.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

MAX_OBJECTS = 200_000
MAX_TEXT = 16 << 20
_ATTRIBUTES = ("model_config", "training_config", "keras_version", "backend")
#: Filters that the library has built in; 32000 (lzf) comes with h5py.
_BUILT_IN = frozenset((1, 2, 3, 4, 5, 6, 32000))


def main(seconds: int, memory: int) -> None:
    """Describe the file on standard input. The process may take ``seconds`` of processor time and ``memory`` bytes."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # how HDF5 is told to load no filter from a library
    import h5py

    answers = os.fdopen(os.dup(1), "w")
    _close_doors(seconds, memory)
    try:
        with h5py.File("/dev/fd/0", "r", locking=False) as file:
            answer = _describe(h5py, file)
    except Exception as error:  # noqa: BLE001 - whatever h5py raises on hostile bytes is the answer
        answer = {"error": f"{type(error).__name__}: {error}"[:300]}
    answers.write(json.dumps(answer))
    answers.flush()
    os._exit(0)  # closing objects of a broken file may crash, too; there is nothing left to say


def _close_doors(seconds: int, memory: int) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(limit, (value, value))
    sys.setrecursionlimit(500)


def _describe(h5py: Any, file: Any) -> dict[str, object]:
    described: dict[str, Any] = {"attributes": {}, "outside": [], "filters": [], "objects": 0}
    root = h5py.h5o.get_info(file["/"].id)
    seen = {(root.fileno, root.addr)}
    pending = [("/", file)]
    while pending:
        name, group = pending.pop()
        _attributes(name, group, described)
        for key in group:
            described["objects"] += 1
            if described["objects"] > MAX_OBJECTS:
                return {"error": f"more than {MAX_OBJECTS} objects"}
            path = f"{name.rstrip('/')}/{key}"
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                described["outside"].append([path, "a link", str(link.filename)])
            elif isinstance(link, h5py.HardLink):
                inner = group[key]
                info = h5py.h5o.get_info(inner.id)
                if (info.fileno, info.addr) in seen:
                    continue
                seen.add((info.fileno, info.addr))
                if isinstance(inner, h5py.Group):
                    pending.append((path, inner))
                elif isinstance(inner, h5py.Dataset):
                    _dataset(path, inner, described)
    return described


def _attributes(name: str, group: Any, described: dict[str, Any]) -> None:
    for key in _ATTRIBUTES:
        if key in group.attrs:
            value = group.attrs[key]
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            described["attributes"][f"{name.rstrip('/')}@{key}"] = text[:MAX_TEXT]


def _dataset(path: str, dataset: Any, described: dict[str, Any]) -> None:
    properties = dataset.id.get_create_plist()
    for index in range(properties.get_external_count()):
        filename = properties.get_external(index)[0]
        described["outside"].append([path, "external storage", os.fsdecode(filename)])
    if dataset.is_virtual:
        for source in dataset.virtual_sources():
            if source.file_name != ".":
                described["outside"].append([path, "a virtual dataset", str(source.file_name)])
    for index in range(properties.get_nfilters()):
        number = properties.get_filter(index)[0]
        if number not in _BUILT_IN:
            described["filters"].append([path, int(number)])
