"""PyTorch's checkpoints from before version 0.1.10: a tar archive of four members, each of them made of pickles.

Layout: ``sys_info`` and ``pickle`` are one pickle each. ``storages`` is a pickled number, then for each storage a
pickle (key, device, type), its number of elements as 64-bit integer and its raw bytes, then a pickled list of views.
``tensors`` is a pickled number, then for each tensor a pickle (key, storage, type) and its geometry. Rules:

1. Every pickle is judged, in place and without unpacking anything to disk.
2. An archive is read only if every reader reads it alike: regular members with plain headers, each name once, nothing
   behind the end. Everything else is unexamined.
3. A tensor stands in the object as a persistent id, the number that it has in ``tensors``. It becomes the call that
   would rebuild it (``described.stand_in``), so that the rules for checkpoints hold. Views become ranges of the
   storage that they are views of; a view or tensor that reaches beyond it is not as the loader reads it.

Source: torch/serialization.py, ``legacy_load`` (PyTorch 2.13); POSIX.1-1988 (ustar).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiverify.finding import Unexamined
from aiverify.formats.checkpoint import Checkpoint, StorageRange
from aiverify.formats.described import described_tensor, stand_in
from aiverify.formats.dtypes import STORAGES, Dtype
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.pickle import examine_stream
from aiverify.pickles.graph import Call, Global, Graph, Persistent, Value
from aiverify.pickles.growth import note_growth
from aiverify.pickles.machine import Buffer, interpret

_BLOCK = 512
_MEMBERS: Mapping[str, None] = dict.fromkeys(("sys_info", "storages", "tensors", "pickle"))
_MAX_MEMBERS = 16
_MAX_ENTRIES = 10_000
_MAX_DIMENSIONS = 64
_COUNT = struct.Struct("<q")
_DIMENSIONS = struct.Struct("<i4x")


def examine_tar(data: Buffer, path: str, options: ScanOptions) -> Examination:
    """Examine a whole tar archive in ``data``. One that is no checkpoint is said to be unexamined."""
    examination = Examination(format=Format.TAR)
    try:
        members = dict(_members(data))
        if members.keys() != _MEMBERS.keys():
            raise FormatError("a tar archive that is no PyTorch checkpoint: recognised, but not examined yet")
        examination.format = Format.TORCH_TAR
        contents = _Contents()
        with memoryview(data) as view:
            for name in _MEMBERS:
                start, length = members[name]
                part = view[start : start + length]
                _Member(part, name, examination, path, options, contents, start).examine()
        examination.checkpoint = contents.checkpoint()
    except FormatError as error:
        examination.unexamined.append(Unexamined(file=path, reason=str(error)))
    return examination


def _members(data: Buffer) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, and offset and length of the content, of each member."""
    offset, names = 0, set[str]()
    while any(header := bytes(data[offset : offset + _BLOCK])):
        name, length = _header(header)
        start = offset + _BLOCK
        if name in names or len(names) >= _MAX_MEMBERS:
            raise FormatError("a tar archive with a name that stands twice, or with too many members")
        if length > len(data) - start:
            raise FormatError("a tar archive that ends inside a member")
        names.add(name)
        yield name, (start, length)
        offset = start + -(-length // _BLOCK) * _BLOCK
    position = offset
    while position < len(data):
        if any(data[position : position + (1 << 20)]):
            raise FormatError("bytes follow the end of the tar archive")
        position += 1 << 20


def _header(header: bytes) -> tuple[str, int]:
    """Name and size that the header of a regular member states."""
    if len(header) < _BLOCK:
        raise FormatError("a tar archive that ends inside a header")
    checksum, size, kind = _octal(header[148:156]), _octal(header[124:136]), header[156:157]
    if checksum != sum(header[:148]) + 8 * 32 + sum(header[156:]):
        raise FormatError("a tar archive with a wrong checksum")
    name, _, rest = header[:100].partition(b"\0")
    if kind not in (b"0", b"\0") or any(rest) or any(header[345:500]) or not name.isascii():
        raise FormatError("a tar archive with members that are no regular files with short names")
    return name.decode("ascii"), size


def _octal(field: bytes) -> int:
    digits = field.rstrip(b" \0").lstrip(b" ")
    if not digits or digits.strip(b"01234567"):
        raise FormatError("a tar archive with a number that is not octal")
    return int(digits, 8)


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage, or a view of one: ``numel`` elements, from element ``offset`` of the storage ``root`` on."""

    root: int
    offset: int
    numel: int
    dtype: Dtype


@dataclass(slots=True)
class _Contents:
    """What the members hold, by the numbers that stand for it."""

    graph: Graph = field(default_factory=lambda: Graph(0))
    digest: str = ""
    ranges: dict[str, StorageRange | str] = field(default_factory=dict)
    storages: dict[int, _Storage] = field(default_factory=dict)
    tensors: dict[int, Call] = field(default_factory=dict)
    described: Graph = field(default_factory=lambda: Graph(0))

    def add_storage(self, key: Value, storage: _Storage, name: str) -> None:
        if type(key) is not int or key in self.storages:
            raise FormatError(f"{name}: a storage without a number, or with that of another one")
        self.storages[key] = storage

    def add_view(self, view: Value) -> None:
        parts = view if isinstance(view, tuple) and len(view) == 4 else ()
        numbers = [part for part in parts if type(part) is int]
        if len(numbers) != 4 or numbers[1] not in self.storages:
            raise FormatError("storages: a view of a storage that is not described as torch describes one")
        key, root, offset, numel = numbers
        base = self.storages[root]
        if offset < 0 or numel < 0 or offset + numel > base.numel:
            raise FormatError("storages: a view that reaches beyond its storage")
        self.add_storage(key, _Storage(base.root, base.offset + offset, numel, base.dtype), "storages")

    def add_tensor(self, parts: Value, geometry: Sequence[int]) -> None:
        key, held = parts[:2] if isinstance(parts, tuple) and len(parts) == 3 else (None, None)
        storage = self.storages.get(held) if type(held) is int else None
        if type(key) is not int or storage is None or key in self.tensors or key in self.storages:
            raise FormatError("tensors: a tensor without a number or a storage of its own")
        count = len(geometry) // 2
        size, stride, offset = geometry[:count], geometry[count:-1], geometry[-1]
        reach = sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if all(size) else -1
        if min(geometry) < 0 or offset + reach >= storage.numel:
            raise FormatError("tensors: a tensor that reaches beyond its storage")
        root = self.storages[storage.root]
        self.tensors[key] = described_tensor(
            self.described,
            str(storage.root),
            storage.dtype,
            root.numel * storage.dtype.size,
            offset=storage.offset + offset,
            size=size,
            stride=stride,
        )

    def checkpoint(self) -> Checkpoint:
        """The object of the last member, in which tensors stand where persistent ids stood."""
        left: list[Persistent] = []
        for node in self.graph.persistents:
            if isinstance(node.pid, tuple):
                node.pid = ("module", *node.pid)  # as later versions write the class of a module
                left.append(node)
                continue
            tensor = self.tensors.get(_key(node.pid))
            if tensor is None:
                left.append(node)
            else:
                node.pid = stand_in(tensor)
        self.graph.persistents = [*left, *self.described.persistents]
        return Checkpoint(graph=self.graph, storages=self.ranges, byteorder="little", stream_sha256=self.digest)


def _key(pid: Value) -> int:
    """The number that a persistent id is, or is the text of; -1 for anything else."""
    if isinstance(pid, str) and pid.isascii() and pid.isdigit() and len(pid) < 20:
        return int(pid)
    return pid if type(pid) is int else -1


@dataclass(slots=True)
class _Member:
    """One member, read from front to back."""

    data: memoryview
    name: str
    examination: Examination
    path: str
    options: ScanOptions
    contents: _Contents
    start: int
    position: int = 0

    def examine(self) -> None:
        if self.name == "storages":
            self._storages()
        elif self.name == "tensors":
            self._tensors()
        else:
            graph = self._pickle()
            if self.name == "pickle":
                self.contents.graph = graph
                self.contents.digest = hashlib.sha256(self.data[: self.position]).hexdigest()
        if self.position != len(self.data):
            raise FormatError(f"{self.name}: bytes follow its last part")

    def _storages(self) -> None:
        for _ in range(self._number()):
            parts = self._pickle().root
            key, _, kind = parts if isinstance(parts, tuple) and len(parts) == 3 else (None, None, None)
            dtype = _dtype(kind)
            (count,) = _COUNT.unpack(self._raw(_COUNT.size))
            if dtype is None or count < 0:
                raise FormatError("storages: a storage of an unknown type, or of a negative size")
            offset = self.start + self.position
            self._raw(count * dtype.size)
            number = key if type(key) is int else -1
            self.contents.add_storage(key, _Storage(number, 0, count, dtype), self.name)
            self.contents.ranges[str(number)] = StorageRange(offset, count * dtype.size)
        views = self._pickle().root
        if not isinstance(views, list):
            raise FormatError("storages: the views of storages are not a list")
        for view in views:
            self.contents.add_view(view)

    def _tensors(self) -> None:
        for _ in range(self._number()):
            parts = self._pickle().root
            (dimensions,) = _DIMENSIONS.unpack(self._raw(_DIMENSIONS.size))
            if not 0 <= dimensions <= _MAX_DIMENSIONS:
                raise FormatError(f"tensors: a tensor of {dimensions} dimensions")
            geometry = self._raw(8 * (2 * dimensions + 1))
            self.contents.add_tensor(parts, struct.unpack(f"<{2 * dimensions + 1}q", geometry))

    def _number(self) -> int:
        number = self._pickle().root
        if type(number) is not int or not 0 <= number <= _MAX_ENTRIES:
            raise FormatError(f"{self.name}: it does not begin with a number from 0 to {_MAX_ENTRIES}")
        return number

    def _pickle(self) -> Graph:
        graph = interpret(self.data, self.position)
        examine_stream(self.data, graph, self.examination, self.path, self.options, member=self.name)
        if graph.failure is not None:
            raise FormatError(f"{self.name}: what stands behind a broken pickle was not looked at")
        note_growth(self.data, graph)
        self.position = graph.end
        return graph

    def _raw(self, length: int) -> memoryview:
        if length > len(self.data) - self.position:
            raise FormatError(f"{self.name}: it ends inside a tensor or storage")
        self.position += length
        return self.data[self.position - length : self.position]


def _dtype(kind: Value) -> Dtype | None:
    """The element type of a storage type."""
    if not isinstance(kind, Global) or kind.module != "torch":
        return None
    return STORAGES.get(kind.name)
