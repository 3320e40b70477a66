"""PyTorch's checkpoints from before version 0.1.10: a tar archive of four members, each of them made of pickles.

Layout: ``sys_info`` and ``pickle`` are one pickle each. ``storages`` is a pickled number, then for each storage a
pickle (key, device, type), its number of elements as 64-bit integer and its raw bytes, then a pickled list of views.
``tensors`` is a pickled number, then for each tensor a pickle (key, storage, type) and its geometry. Rules:

1. Every pickle is judged, in place and without unpacking anything to disk.
2. An archive is read only if every reader reads it alike: regular members with plain headers, each name once, nothing
   behind the end. Everything else is unexamined.
3. Such checkpoints are not converted: they hold objects for which the loader itself supplies tensors.

Source: torch/serialization.py, ``legacy_load`` (PyTorch 2.13); POSIX.1-1988 (ustar).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from aiverify.finding import Unexamined
from aiverify.formats.dtypes import STORAGES
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.pickle import examine_stream
from aiverify.pickles.graph import Global, Graph, Value
from aiverify.pickles.machine import Buffer, interpret

_BLOCK = 512
_MEMBERS = frozenset({"pickle", "storages", "sys_info", "tensors"})
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
        if members.keys() != _MEMBERS:
            raise FormatError("a tar archive that is no PyTorch checkpoint: recognised, but not examined yet")
        with memoryview(data) as view:
            for name, (start, length) in sorted(members.items()):
                _Member(view[start : start + length], name, examination, path, options).examine()
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


@dataclass(slots=True)
class _Member:
    """One member, read from front to back."""

    data: memoryview
    name: str
    examination: Examination
    path: str
    options: ScanOptions
    position: int = 0

    def examine(self) -> None:
        if self.name == "storages":
            self._storages()
        elif self.name == "tensors":
            self._tensors()
        else:
            self._pickle()
        if self.position != len(self.data):
            raise FormatError(f"{self.name}: bytes follow its last part")

    def _storages(self) -> None:
        for _ in range(self._number()):
            parts = self._pickle().root
            kind = parts[2] if isinstance(parts, tuple) and len(parts) == 3 else None
            width = _width(kind)
            (count,) = _COUNT.unpack(self._raw(_COUNT.size))
            if width is None or count < 0:
                raise FormatError("storages: a storage of an unknown type, or of a negative size")
            self._raw(count * width)
        self._pickle()

    def _tensors(self) -> None:
        for _ in range(self._number()):
            self._pickle()
            (dimensions,) = _DIMENSIONS.unpack(self._raw(_DIMENSIONS.size))
            if not 0 <= dimensions <= _MAX_DIMENSIONS:
                raise FormatError(f"tensors: a tensor of {dimensions} dimensions")
            self._raw(8 * (2 * dimensions + 1))

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
        self.position = graph.end
        return graph

    def _raw(self, length: int) -> memoryview:
        if length > len(self.data) - self.position:
            raise FormatError(f"{self.name}: it ends inside a tensor or storage")
        self.position += length
        return self.data[self.position - length : self.position]


def _width(kind: Value) -> int | None:
    """Bytes per element of a storage type."""
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in STORAGES:
        return None
    return STORAGES[kind.name].size
