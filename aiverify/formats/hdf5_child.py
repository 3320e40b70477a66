"""The child process that opens HDF5: looks at one file, the one on its standard input, and describes it as JSON.

The HDF5 library is C and meets hostile bytes here, under limits (``confinement``). Links that lead
out of the file are named, not followed; no dataset is read.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

from aiverify.formats.embedded import PROBE, Search
from aiverify.pickles.confinement import allow, close_doors

MAX_OBJECTS = 200_000
MAX_TEXT = 16 << 20
LONGEST_ANSWER = 64 << 20
_ATTRIBUTES = ("model_config", "training_config", "keras_version", "backend")
#: What PyTables says of rows that it does not unpickle. Source: tables 3.11, ``vlarray.py`` and ``flavor.py``
_PLAIN_ROWS = {
    "PSEUDOATOM": ("vlstring", "vlunicode"),
    "FLAVOR": ("numpy", "python", "numarray", "numeric", "vlstring", "vlunicode"),
}
_LONGEST_FLAVOR = 100
#: Filters that the library has built in; 32000 (lzf) comes with h5py.
_BUILT_IN = frozenset((1, 2, 3, 4, 5, 6, 32000))


def main(seconds: int, memory: int) -> None:
    """Describe the file on standard input. The process may take ``seconds`` of processor time and ``memory`` bytes."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # how HDF5 is told to load no filter from a library
    import h5py

    answers = os.fdopen(os.dup(1), "w")
    allow(seconds)
    close_doors(memory)
    sys.setrecursionlimit(500)
    try:
        with open(0, "rb", buffering=0) as raw, h5py.File(raw, "r") as file:
            answer = _describe(h5py, file)
    except Exception as error:  # noqa: BLE001 - whatever h5py raises on hostile bytes is the answer
        answer = {"error": f"{type(error).__name__}: {error}"[:300]}
    text = json.dumps(answer)
    if len(text) > LONGEST_ANSWER:
        text = json.dumps({"error": f"a description of {len(text)} characters"})
    answers.write(text)
    answers.flush()
    os._exit(0)  # closing objects of a broken file may crash, too; there is nothing left to say


def _describe(h5py: Any, file: Any) -> dict[str, object]:
    described: dict[str, Any] = {
        "attributes": {},
        "outside": [],
        "filters": [],
        "unread": [],
        "programs": [],
        "pickled": [],
        "objects": 0,
    }
    search = Search()
    root = h5py.h5o.get_info(file["/"].id)
    seen = {(root.fileno, root.addr)}
    pending = [("/", file)]
    while pending:
        name, group = pending.pop()
        _attributes(name, group, described, search)
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
                    _attributes(path, inner, described, search)
                    _dataset(path, inner, described)
                    if _holds_objects(inner):
                        described["pickled"].append(path)
    return described


def _attributes(name: str, item: Any, described: dict[str, Any], search: Search) -> None:
    """Keep the attributes that a loader acts on; of the others, say which are programs: PyTables unpickles them."""
    for key in item.attrs:
        described["objects"] += 1
        kept = item.attrs.get_id(key)
        if math.prod(kept.shape or ()) * kept.dtype.itemsize > MAX_TEXT or described["objects"] > MAX_OBJECTS:
            described["unread"].append(f"{name}@{key}")
            continue
        value = item.attrs[key]
        raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else getattr(value, "tobytes", bytes)()
        raw = value if isinstance(value, bytes) else raw
        kind = search.program(raw[:PROBE])
        if kind is not None:
            described["programs"].append([f"{name}@{key}", kind])
        if key in _ATTRIBUTES:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            described["attributes"][f"{name.rstrip('/')}@{key}"] = text[:MAX_TEXT]
    if search.broke_off:
        described["unread"].append(f"{name}: its attributes take too long to tell from programs")


def _holds_objects(dataset: Any) -> bool:
    """Whether PyTables, and so pandas, takes the rows for pickles: it is told in an attribute."""
    for key, plain in _PLAIN_ROWS.items():
        if key in dataset.attrs:
            kept = dataset.attrs.get_id(key)
            value = dataset.attrs[key] if kept.shape == () and kept.dtype.itemsize <= _LONGEST_FLAVOR else None
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if not isinstance(text, str) or text.lower() not in plain:
                return True
    return False


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
