"""torch.load, torch.jit.load, torch.export.load, torch.package, torch.hub, the index of torch.distributed.checkpoint.

A checkpoint of tensors and plain values is rebuilt from its safetensors twin, without any unpickler (``redirect``). Any
other that is admitted is loaded from its sealed copy. Unless the caller asks for whole objects, only weights
are, whatever the version of PyTorch. Where the caller does ask, the policy has passed the pickle itself, and so the
environment variable that forbids it to others does not count here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

from aiverify.guard.deciding import Decider
from aiverify.guard.interface import Name
from aiverify.guard.loading import loading_only
from aiverify.guard.streams import admitted, is_path

_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_INDEX_CLASSES = (
    *("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties"),
    *("MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING"),
)
#: What ``torch.distributed.checkpoint`` writes into an index, beside types of tensors.
_INDEX = {
    *(("torch.distributed.checkpoint.metadata", name) for name in _INDEX_CLASSES),
    *(("torch.distributed.checkpoint.filesystem", name) for name in ("_StorageInfo", "_StoragePrefix")),
    *((module, "PosixPath") for module in ("pathlib", "pathlib._local")),
    *(("torch", "Size"), ("torch.serialization", "_get_layout"), ("collections", "OrderedDict")),
}


def load(gate: Decider, original: Callable[..., Any], f: Any, *arguments: Any, **named: Any) -> Any:
    """As ``torch.load``."""
    from aiverify.guard.rebuilding import rebuild, requested

    from_path = is_path(f)
    request = requested(arguments, named, from_path=from_path)
    other_pickle = named.get("pickle_module") is not None or len(arguments) > 1
    if named.get("weights_only") is None and not other_pickle:
        named["weights_only"] = True
    with admitted(gate, f, ".pt", request.suits if request is not None else None) as (admission, opened):
        if request is not None and admission.twin is not None:
            return rebuild(admission, opened, request)
        whole = named.get("weights_only") is False or other_pickle
        function = _unforced(original) if whole and isinstance(original, FunctionType) else original
        return function(opened, *arguments, **named)


def jit_load(gate: Decider, original: Callable[..., Any], f: Any, *arguments: Any, **named: Any) -> Any:
    """As ``torch.jit.load``."""
    with admitted(gate, f, ".pt") as (_, opened):
        return original(opened, *arguments, **named)


def export_load(gate: Decider, original: Callable[..., Any], f: Any, *arguments: Any, **named: Any) -> Any:
    """As ``torch.export.load``, and as what it calls, by which compiled programs are loaded, too."""
    with admitted(gate, f, ".pt2") as (_, opened):
        return original(opened, *arguments, **named)


def load_package(gate: Decider, original: Callable[..., Any], path: Any, *arguments: Any, **named: Any) -> Any:
    """As the function behind ``torch._inductor.aoti_load_package``."""
    return export_load(gate, original, path, *arguments, **named)


def import_package(
    gate: Decider, original: Callable[..., Any], importer: Any, file_or_buffer: Any, *arguments: Any, **named: Any
) -> Any:
    """As the making of a ``torch.package.PackageImporter``, which reads on from its file later, and runs what is in it.

    A reader that somebody made before gives no bytes to judge.
    """
    if not is_path(file_or_buffer) and not hasattr(file_or_buffer, "read"):
        raise gate.refuse("a package", "it is handed over as a reader of PyTorch: load it by its path")
    with admitted(gate, file_or_buffer, ".pt") as (admission, _):
        return original(importer, str(admission.sealed), *arguments, **named)


def read_metadata(_gate: Decider, original: Callable[..., Any], reader: Any, *arguments: Any, **named: Any) -> Any:
    """As the ``FileSystemReader`` of ``torch.distributed.checkpoint`` reads the index of a checkpoint, ``.metadata``.

    It is a pickle, and may ask for nothing but the classes of such an index. What lies beside it, ``torch.load`` loads.
    """
    with loading_only(str(getattr(reader, "path", "an index")), _of_an_index()):
        return original(reader, *arguments, **named)


def hub(_gate: Decider, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """As the functions of ``torch.hub`` that run the ``hubconf.py`` of a repository: what they fetched is its code."""
    import torch

    from aiverify.guard.audit import code_lies_in

    code_lies_in(torch.hub.get_dir())
    return original(*arguments, **named)


def _of_an_index() -> frozenset[Name]:
    import torch

    types = {("torch", name) for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
    return frozenset(types | _INDEX)


class _Unforced:
    """The module ``os`` with one variable of the environment unset."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def getenv(key: str, default: str | None = None) -> str | None:
        return default if key == _FORCED else os.getenv(key, default)


def _unforced(original: FunctionType) -> Callable[..., Any]:
    """``torch.load`` as if nobody had set the variable: unsetting it would be seen by other threads."""
    function = FunctionType(
        original.__code__, {**original.__globals__, "os": _Unforced()}, original.__name__, original.__defaults__
    )
    function.__kwdefaults__ = original.__kwdefaults__
    return function


PLACES = (
    ("torch.serialization", "load", load),
    ("torch", "load", load),
    ("torch.jit._serialization", "load", jit_load),
    ("torch.jit", "load", jit_load),
    ("torch.export", "load", export_load),
    ("torch.export.pt2_archive._package", "load_pt2", export_load),
    ("torch._inductor.package.package", "load_package", load_package),
    *(("torch.hub", name, hub) for name in ("load", "list", "help")),
    ("torch.package.package_importer", "PackageImporter.__init__", import_package),
    ("torch.distributed.checkpoint.filesystem", "FileSystemReader.read_metadata", read_metadata),
)
