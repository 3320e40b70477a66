"""PyTorch's zip checkpoints, and zip archives in general.

A checkpoint is ``<prefix>/data.pkl`` with one entry ``<prefix>/data/<key>`` per storage. Rules:

1. Every pickle in the archive is judged, whatever it is called. One that the loader does not expect is a finding.
2. Every entry lies under one prefix, and ``data.pkl`` is there once.
3. Storages are located, not read: their digest is the file's, and their CRC is checked when they are converted.

Source: torch/serialization.py and caffe2/serialize/inline_container.cc (PyTorch 2.13).
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from aiverify.finding import Unexamined
from aiverify.formats.archives import ArchiveError, ChecksumError, Entry, Listing, read_member, read_zip
from aiverify.formats.arrays import NamedArray, as_checkpoint
from aiverify.formats.checkpoint import Checkpoint, Inflated, StorageRange
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.numpy import examine_npy, read_array_header
from aiverify.formats.pickle import examine_streams
from aiverify.rules import finding

_MAX_PICKLE = 1 << 30
_MAX_RECORD = 1 << 10
_HEAD = 16
_RECORDS = frozenset(("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"))


def examine_zip(file: BinaryIO, size: int, path: str, options: ScanOptions) -> Examination:
    """Examine the archive in ``file`` of ``size`` bytes as whatever its entries make it."""
    examination = Examination(format=Format.ZIP)
    try:
        listing = read_zip(file, size)
    except ArchiveError as error:
        examination.unexamined.append(Unexamined(file=path, reason=f"not a readable zip archive: {error}"))
        return examination
    for oddity in listing.oddities:
        text = f"{oddity.member}: {oddity.text}" if oddity.member else oddity.text
        examination.findings.append(finding(oddity.rule, text, file=path, member=oddity.member, offset=oddity.offset))
    _Archive(file, path, options, examination, listing).run()
    return examination


class _Archive:
    def __init__(
        self, file: BinaryIO, path: str, options: ScanOptions, examination: Examination, listing: Listing
    ) -> None:
        self.file = file
        self.path = path
        self.options = options
        self.examination = examination
        self.entries = [entry for entry in listing.entries if not entry.name.endswith("/")]
        self.prefix = _prefix(self.entries)

    def run(self) -> None:
        names = {entry.name for entry in self.entries}
        if any(name.casefold().endswith("data.pkl") for name in names):
            self._letter_case()
        if self.prefix is not None and f"{self.prefix}/data.pkl" in names:
            self.examination.format = Format.TORCH_ZIP
            self._checkpoint(names)
        elif self.entries and all(entry.name.endswith(".npy") for entry in self.entries):
            self.examination.format = Format.NPZ
            arrays = [self._array(entry) for entry in self.entries]
            known = [array for array in arrays if array is not None]
            if len(known) == len(arrays):
                self.examination.checkpoint = as_checkpoint(known)
        else:
            for entry in self.entries:
                self._other(entry)

    # PyTorch

    def _letter_case(self) -> None:
        """Names that are equal but for letter case, which the reader inside PyTorch ignores."""
        seen: dict[str, str] = {}
        for entry in self.entries:
            other = seen.setdefault(entry.name.casefold(), entry.name)
            if other != entry.name:
                text = f"{entry.name} and {other} are one name to PyTorch"
                self.examination.findings.append(
                    finding("AIV402", text, file=self.path, member=entry.name, offset=entry.header)
                )

    def _checkpoint(self, names: set[str]) -> None:
        main = f"{self.prefix}/data.pkl"
        if self._is_program(names):
            self._unexamined(None, "TorchScript code is recognised but not examined yet")
        for entry in self.entries:
            if entry.name == main:
                self._state(entry)
            elif not self._is_record(entry) and (not self._is_storage(entry) or _is_pickle_name(entry)):
                self._extra(entry)

    def _is_program(self, names: set[str]) -> bool:
        return f"{self.prefix}/constants.pkl" in names or any(name.startswith(f"{self.prefix}/code/") for name in names)

    def _is_storage(self, entry: Entry) -> bool:
        return entry.name.startswith(f"{self.prefix}/data/")

    def _is_record(self, entry: Entry) -> bool:
        return entry.name.removeprefix(f"{self.prefix}/") in _RECORDS and entry.size <= _MAX_RECORD

    def _state(self, entry: Entry) -> None:
        data = self._content(entry)
        if data is None:
            return
        graphs = list(
            examine_streams(data, 0, self.examination, self.path, self.options, member=entry.name, storages=True)
        )
        order = self._byteorder()
        if len(graphs) == 1 and graphs[0].failure is None and order is not None:
            self.examination.checkpoint = Checkpoint(
                graph=graphs[0],
                storages=self._storages(),
                byteorder="big" if order == "big" else "little",
                stream_sha256=hashlib.sha256(data).hexdigest(),
            )

    def _byteorder(self) -> str | None:
        for entry in self.entries:
            if entry.name == f"{self.prefix}/byteorder":
                order = self._content(entry)
                if order not in (b"little", b"big"):
                    self._unexamined(entry, "the byte order is neither little nor big")
                    return None
                return order.decode()
        return "little"

    def _storages(self) -> dict[str, StorageRange | str]:
        start = f"{self.prefix}/data/"
        return {entry.name.removeprefix(start): _range(entry) for entry in self.entries if self._is_storage(entry)}

    def _extra(self, entry: Entry) -> None:
        """An entry that a plain checkpoint does not have: code of TorchScript, or something hidden."""
        if self._looks_like_pickle(entry):
            data = self._content(entry)
            if data is None:
                return
            expected = entry.name == f"{self.prefix}/constants.pkl"
            if not expected:
                text = f"{entry.name} is a pickle that the loader does not expect"
                self.examination.findings.append(
                    finding("AIV313", text, file=self.path, member=entry.name, offset=entry.start)
                )
            for _ in examine_streams(data, 0, self.examination, self.path, self.options, member=entry.name):
                pass
        else:
            self._unexamined(entry, "not an entry of a plain checkpoint")

    # Other archives

    def _array(self, entry: Entry) -> NamedArray | None:
        """Examine one array; ``None`` if it could not be read as one."""
        data = self._content(entry)
        if data is None:
            return None
        inner = examine_npy(data, self.path, self.options, member=entry.name)
        self.examination.findings += inner.findings
        self.examination.unexamined += inner.unexamined
        held = _range(entry)
        if inner.unexamined or isinstance(held, str):
            return None
        return NamedArray(entry.name.removesuffix(".npy"), read_array_header(data), held)

    def _other(self, entry: Entry) -> None:
        if self._looks_like_pickle(entry):
            data = self._content(entry)
            if data is not None:
                for _ in examine_streams(data, 0, self.examination, self.path, self.options, member=entry.name):
                    pass
        else:
            self._unexamined(entry, "members of a general archive are not examined yet")

    # Access

    def _looks_like_pickle(self, entry: Entry) -> bool:
        if _is_pickle_name(entry):
            return True
        if not entry.stored:
            return False
        self.file.seek(entry.start)
        head = self.file.read(min(_HEAD, entry.compressed))
        return len(head) > 2 and head[0] == 0x80 and head[1] <= 5

    def _content(self, entry: Entry) -> bytes | None:
        """The member's bytes, or ``None`` after saying why not. With a wrong CRC the bytes are judged all the same."""
        try:
            return read_member(self.file, entry, limit=_MAX_PICKLE)
        except ChecksumError as error:
            self.examination.findings.append(
                finding("AIV406", str(error), file=self.path, member=entry.name, offset=entry.start)
            )
            return error.data
        except FormatError as error:
            self._unexamined(entry, str(error))
            return None

    def _unexamined(self, entry: Entry | None, reason: str) -> None:
        member = entry.name if entry else None
        self.examination.unexamined.append(Unexamined(file=self.path, member=member, reason=reason))


def _range(entry: Entry) -> StorageRange | str:
    """Where the bytes of a storage lie, or why they cannot be used."""
    if entry.stored:
        return StorageRange(entry.start, entry.size, entry.crc32)
    if entry.deflated:
        return StorageRange(entry.start, entry.compressed, inflated=Inflated(entry.size, entry.crc32))
    return f"the entry is compressed by method {entry.method}"


def _is_pickle_name(entry: Entry) -> bool:
    return entry.name.lower().endswith((".pkl", ".pickle", ".joblib"))


def _prefix(entries: list[Entry]) -> str | None:
    """The folder that all entries share; torch takes it from the first one."""
    if not entries:
        return None
    prefix = entries[0].name.partition("/")[0]
    return prefix if all(entry.name.startswith(f"{prefix}/") for entry in entries) else None
