"""Builds checkpoints as PyTorch before 0.1.10 wrote them: tar archives of pickles that torch still reads."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Mapping

import pickle_builder as b

from aiverify.formats.dtypes import STORAGES

_KINDS = {f"torch.{dtype.torch}": name.removesuffix("Storage") for name, dtype in STORAGES.items()}
SYSTEM = pickle.dumps({"little_endian": True, "protocol_version": 1000}, 2)


def tar(parts: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT, **facts: object) -> bytes:
    """An archive of ``parts``; ``facts`` are set on every member."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def storage_of(key: int, kind: str, raw: bytes, width: int) -> bytes:
    """One storage: its pickle, its number of elements and its bytes."""
    described = b.stream(b.tup(b.number(key), b.text("cpu"), b.named(f"torch.{kind}Storage")), 2)
    return described + struct.pack("<q", len(raw) // width) + raw


def storages_of(*storages: bytes, views: bytes = b"].") -> bytes:
    return b.stream(b.number(len(storages)), 2) + b"".join(storages) + views


def views_of(*views: tuple[int, int, int, int]) -> bytes:
    """The list of views: number, number of the storage, offset and length in elements."""
    return b.stream(b.lst(*(b.tup(*map(b.number, view)) for view in views)), 2)


def tensor_of(key: int, storage: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    described = b.stream(b.tup(b.number(key), b.number(storage), b.named("torch.FloatTensor")), 2)
    geometry = (*size, *stride, offset)
    return described + struct.pack("<i4x", len(size)) + struct.pack(f"<{len(geometry)}q", *geometry)


def tensors_of(*tensors: bytes) -> bytes:
    return b.stream(b.number(len(tensors)), 2) + b"".join(tensors)


def old_save(value: object) -> bytes:
    """What ``torch.save`` of those days made of ``value``."""
    import torch

    tensors: dict[int, torch.Tensor] = {}
    stored: dict[int, tuple[str, bytes, int]] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: object) -> str | None:
            if not isinstance(item, torch.Tensor):
                return None
            tensors[id(item)] = item
            return str(id(item))

    state = io.BytesIO()
    Pickler(state, 2).dump(value)
    described = []
    for key, tensor in tensors.items():
        raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
        place = tensor.untyped_storage().data_ptr() or key + 1
        stored[place] = (_KINDS[str(tensor.dtype)], bytes(raw.tolist()), tensor.element_size())
        described.append(tensor_of(key, place, tuple(tensor.shape), tensor.stride(), tensor.storage_offset()))
    made = [storage_of(place, kind, raw, width) for place, (kind, raw, width) in stored.items()]
    return tar(
        {
            "sys_info": SYSTEM,
            "pickle": state.getvalue(),
            "tensors": tensors_of(*described),
            "storages": storages_of(*made),
        }
    )
