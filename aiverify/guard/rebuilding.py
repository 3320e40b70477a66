"""Makes of a recipe and its twin what ``torch.load`` would have made of the checkpoint. Runs no pickle.

Rules it keeps:

1. Tensors and parameters are made by the functions of torch that a checkpoint names, with the same arguments, and
   storages are brought to their device by the function that ``torch.load`` uses. So the results are the same objects.
2. Where ``torch.load`` would do something else than that, nothing is rebuilt: ``Request.suits`` says so beforehand.
3. Without ``mmap`` the bytes are read: what is loaded does not hang on a file.
"""

from __future__ import annotations

import ctypes
import json
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from io import BufferedIOBase, RawIOBase
from pathlib import Path
from typing import Any, TypeAlias

from aiverify.guard.interface import Admission, Twin

torch: Any = import_module("torch")  # parts of it that have no types, and differ from version to version

_AT_ONCE = 1 << 30  # the system reads no more than 2 GB at once

File: TypeAlias = RawIOBase | BufferedIOBase
Read: TypeAlias = Callable[[int, int, int], Any]
"""A storage of the twin: its offset and length in bytes, and how its elements must be aligned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a call of ``torch.load`` asks for. ``mmap`` is what holds for it, ``from_path`` whether it names a file."""

    map_location: Any
    mmap: bool
    from_path: bool

    def suits(self, twin: Twin) -> bool:
        """Whether what is rebuilt of ``twin`` is just what ``torch.load`` would return, or leave behind."""
        if self.mmap and not (twin.zipped and self.from_path):
            return False  # torch refuses this
        if self._calls_back() and (not twin.zipped or twin.hollow):
            return False  # it would see storages that are still empty, or some of them several times
        return self.from_path or twin.end is not None

    def _calls_back(self) -> bool:
        return self.map_location is not None and not isinstance(self.map_location, str | bytes | dict | torch.device)


def requested(arguments: tuple[Any, ...], named: Mapping[str, Any], *, from_path: bool) -> Request | None:
    """What ``torch.load(f, *arguments, **named)`` asks for, ``None`` where only torch itself can do that."""
    if len(arguments) > 1 or not named.keys() <= {"map_location", "pickle_module", "weights_only", "mmap"}:
        return None
    if named.get("pickle_module") is not None or (arguments and "map_location" in named):
        return None
    map_location = arguments[0] if arguments else named.get("map_location")
    mmap = named.get("mmap")
    if mmap is None:
        mmap = _setting(torch, "utils.serialization.config.load.mmap")
    if _is_special(map_location, mapped=bool(mmap)):
        return None
    return Request(map_location=map_location, mmap=bool(mmap), from_path=from_path)


def _is_special(map_location: Any, *, mapped: bool) -> bool:
    """Whether torch was told to load in another way, or to load no bytes at all."""
    own = torch.serialization
    if not hasattr(own, "_get_restore_location") or not hasattr(torch, "UntypedStorage"):
        return True  # too old
    if str(map_location).startswith("meta"):
        return True
    if _setting(own, "_serialization_tls.skip_data") or _called(own, "get_default_load_endianness") is not None:
        return True
    fake = _setting(torch, "_guards.detect_fake_mode")
    if fake is not None and fake(None) is not None:
        return True
    return mapped and _called(own, "get_default_mmap_options") == getattr(own, "MAP_SHARED", 1)


def _setting(start: Any, path: str) -> Any:
    """An attribute by its path, ``None`` where this version of torch does not have it."""
    for name in path.split("."):
        start = getattr(start, name, None)
    return start


def _called(module: Any, name: str) -> Any:
    function = getattr(module, name, None)
    return function() if function is not None else None


def rebuild(admission: Admission, opened: str | File, request: Request) -> Any:
    """The checkpoint whose twin is admitted. ``opened`` is that twin: its path, or the file for a load from a stream.

    Raises what ``torch.load`` would: what a device or a function of the caller raises.
    """
    twin = admission.twin
    if twin is None:
        raise ValueError(f"{admission.file}: no twin was admitted")
    recipe = json.loads(twin.recipe.read_text("utf-8"))
    if request.mmap:
        return _made(recipe, _mapped(admission.sealed), request)
    with Path(opened).open("rb", buffering=0) if isinstance(opened, str) else nullcontext(opened) as file:
        made = _made(recipe, _reading(file), request)
        if twin.end is not None:
            file.seek(twin.end)  # as far as torch would have read in the checkpoint
        return made


def _made(recipe: Mapping[str, Any], read: Read, request: Request) -> Any:
    restore = torch.serialization._get_restore_location(request.map_location)
    storages = []
    for offset, length, dtype, location in recipe["storages"]:
        kind = getattr(torch, dtype)
        untyped = restore(read(offset, length, torch._utils._element_size(kind)), location)
        storages.append(torch.storage.TypedStorage(wrap_storage=untyped, dtype=kind, _internal=True))
    return _Kitchen(storages).made(recipe["nodes"], recipe["root"])


def _reading(file: File) -> Read:
    def read(offset: int, length: int, _: int) -> Any:
        storage = torch.UntypedStorage(length)
        if not length:
            return storage
        memory = memoryview((ctypes.c_char * length).from_address(storage.data_ptr()))
        file.seek(offset)
        while memory:
            count = file.readinto(memory[:_AT_ONCE])
            if not count:
                raise EOFError("the twin of the checkpoint ends early")
            memory = memory[count:]
        return storage

    return read


def _mapped(place: Path) -> Read:
    whole = torch.UntypedStorage.from_file(str(place), False, place.stat().st_size)

    def part(offset: int, length: int, alignment: int) -> Any:
        found = whole[offset : offset + length]
        return found if offset % alignment == 0 else found.clone()

    return part


class _Kitchen:
    """Makes the nodes of one recipe, one after the other."""

    def __init__(self, storages: Sequence[Any]) -> None:
        self._storages = storages
        self._objects: list[Any] = []

    def made(self, nodes: Sequence[Sequence[Any]], root: Any) -> Any:
        makers: Mapping[str, Callable[..., Any]] = {
            "dict": self._dict,
            "ordered": self._ordered,
            "list": lambda items: [self._value(item) for item in items],
            "tuple": lambda items: tuple(self._value(item) for item in items),
            "tensor": self._tensor,
            "parameter": self._parameter,
        }
        for kind, *parts in nodes:
            self._objects.append(makers[kind](*parts))
        return self._value(root)

    def _value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "at" in value:
            return self._objects[value["at"]]
        return struct.unpack(">d", bytes.fromhex(value["float"]))[0]

    def _dict(self, pairs: Sequence[Sequence[Any]]) -> dict[Any, Any]:
        return {self._value(key): self._value(value) for key, value in pairs}

    def _ordered(self, pairs: Sequence[Sequence[Any]], attributes: Sequence[Sequence[Any]]) -> OrderedDict[Any, Any]:
        made = OrderedDict((self._value(key), self._value(value)) for key, value in pairs)
        made.__dict__.update({name: self._value(value) for name, value in attributes})
        return made

    def _tensor(
        self,
        storage: int,
        offset: int,
        size: Sequence[int],
        stride: Sequence[int],
        requires_grad: bool,
        hooks: bool,
        dtype: str | None,
    ) -> Any:
        place = (self._storages[storage], offset, tuple(size), tuple(stride), requires_grad, _hooks(hooks))
        if dtype is None:
            return torch._utils._rebuild_tensor_v2(*place)
        return torch._utils._rebuild_tensor_v3(*place, getattr(torch, dtype))

    def _parameter(self, data: Any, requires_grad: bool, hooks: bool) -> Any:
        return torch._utils._rebuild_parameter(self._value(data), requires_grad, _hooks(hooks))


def _hooks(there: bool) -> OrderedDict[Any, Any] | None:
    """What torch finds where hooks would be."""
    return OrderedDict() if there else None
