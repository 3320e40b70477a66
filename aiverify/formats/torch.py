"""PyTorch's zip checkpoints.

A checkpoint is ``<prefix>/data.pkl`` with one entry ``<prefix>/data/<key>`` per storage. Rules:

1. Every pickle in the archive is judged, whatever it is called. One that the loader does not expect is a finding, and
   every other entry that a checkpoint does not have is examined as a file of its own.
2. Every entry lies under one prefix, and ``data.pkl`` is there once.
3. The code of TorchScript is judged as such; the classes that it defines may be named by the pickles beside it.
4. Storages are located, not read: their digest is the file's, and their CRC is checked when they are converted.

Source: torch/serialization.py and caffe2/serialize/inline_container.cc (PyTorch 2.13).
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from aiverify.finding import Finding
from aiverify.formats.archives import Entry
from aiverify.formats.checkpoint import Checkpoint, Inflated, StorageRange
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.formats.pickle import examine_streams
from aiverify.pickles.growth import note_growth

_MAX_RECORD = 1 << 10
_PROGRAM = ("constants", "traced_inputs", "bytecode")
_RECORDS = frozenset(("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"))
_PICKLES = frozenset((Format.PICKLE, Format.TORCH_LEGACY, Format.TORCH_ZIP))


class Members(Protocol):
    """What the reader of zip archives lends."""

    path: str
    options: ScanOptions
    examination: Examination
    nesting: Nesting
    entries: Sequence[Entry]

    def look(self, entry: Entry) -> Examination | None:
        """Examine ``entry`` as a file of its own."""

    def content(self, entry: Entry) -> bytes | None:
        """The bytes of ``entry``, or ``None`` after saying why not."""

    def unexamined(self, entry: Entry | None, reason: str) -> None:
        """Say that ``entry``, or the archive as a whole, was not looked at."""

    def found(self, rule: str, text: str, entry: Entry, offset: int | None = None) -> None:
        """Report something about ``entry``."""


def sizes(storages: Mapping[str, StorageRange | str]) -> Mapping[str, int]:
    """How many bytes each storage has; of one that cannot be used, nothing is known."""
    return {key: held.size if isinstance(held, StorageRange) else sys.maxsize for key, held in storages.items()}


def is_checkpoint(names: Sequence[str]) -> str | None:
    """The folder that all entries share if it makes them a checkpoint; torch takes it from the first one."""
    prefix = names[0].partition("/")[0] if names else ""
    shared = f"{prefix}/data.pkl" in names and all(name.startswith(f"{prefix}/") for name in names)
    return prefix if shared else None


def examine_checkpoint(members: Members, prefix: str) -> None:
    """Examine the checkpoint below ``prefix``."""
    _Reader(members, prefix).run()


class _Reader:
    def __init__(self, members: Members, prefix: str) -> None:
        self.members = members
        self.prefix = prefix
        self.options = members.options
        self.sources: set[str] = set()
        self.storages: dict[str, dict[str, StorageRange | str]] = {}

    def run(self) -> None:
        self._program()
        for entry in self.members.entries:
            if entry.name == f"{self.prefix}/data.pkl":
                self._state(entry)
            elif self._is_of_program(entry):
                self._pickle(entry)
            elif not self._is_record(entry) and (not self._is_storage(entry) or _is_pickle_name(entry)):
                self._extra(entry)

    def _program(self) -> None:
        """Judge the code of TorchScript, if there is any, and trust the classes that it defines in its own pickles."""
        below = f"{self.prefix}/code/"
        entries = [item for item in self.members.entries if _is_source(item.name, below)]
        if not entries:
            return
        from aiverify.formats.torchscript import LOADER, defined, judge_source

        classes: set[str] = set()
        for entry in entries:
            source = self.members.content(entry)
            if source is None:
                continue
            for said in judge_source(source, self.members.path, entry.name):
                if isinstance(said, Finding):
                    self.members.examination.findings.append(said)
                else:
                    self.members.examination.unexamined.append(said)
            classes |= defined(source, entry.name[len(below) :])
            self.sources.add(entry.name)
        if self.sources:
            trust = self.members.options.trust | classes | LOADER
            self.options = replace(self.members.options, trust=frozenset(trust))

    def _is_of_program(self, entry: Entry) -> bool:
        """Whether an entry is a pickle of a program: constants, inputs of a trace, or where its code came from."""
        debug = entry.name.endswith(".debug_pkl") and entry.name.removesuffix(".debug_pkl") in self.sources
        if entry.name in (f"{self.prefix}/{name}.pkl" for name in _PROGRAM):
            return bool(self.sources) or entry.name == f"{self.prefix}/constants.pkl"
        return debug

    def _pickle(self, entry: Entry) -> None:
        """A pickle of a program besides ``data.pkl``. Its tensors lie in a folder of its name."""
        members = self.members
        data = members.content(entry)
        if data is None:
            return
        keys = sizes(self._storages(f"{entry.name.removesuffix('.pkl')}/") if entry.name.endswith(".pkl") else {})
        found, path, nesting = members.examination, members.path, members.nesting
        for _ in examine_streams(data, 0, found, path, self.options, nesting, member=entry.name, storages=keys):
            pass
        if entry.name == f"{self.prefix}/bytecode.pkl":
            members.unexamined(entry, "bytecode of PyTorch's mobile interpreter, which runs it instead of the code")

    def _is_storage(self, entry: Entry) -> bool:
        return entry.name.startswith(f"{self.prefix}/data/")

    def _is_record(self, entry: Entry) -> bool:
        return entry.name.removeprefix(f"{self.prefix}/") in _RECORDS and entry.size <= _MAX_RECORD

    def _state(self, entry: Entry) -> None:
        members = self.members
        data = members.content(entry)
        if data is None:
            return
        storages = self._storages(f"{self.prefix}/data/")
        streams = examine_streams(
            data,
            0,
            members.examination,
            members.path,
            self.options,
            members.nesting,
            member=entry.name,
            storages=sizes(storages),
        )
        graphs = list(streams)
        order = self._byteorder
        if len(graphs) == 1 and graphs[0].failure is None and order is not None:
            note_growth(data, graphs[0])
            members.examination.checkpoint = Checkpoint(
                graph=graphs[0],
                storages=storages,
                byteorder="big" if order == "big" else "little",
                stream_sha256=hashlib.sha256(data).hexdigest(),
            )

    @functools.cached_property
    def _byteorder(self) -> str | None:
        """The byte order that the archive states: PyTorch finds the record whatever the letter case of its name."""
        name = f"{self.prefix}/byteorder"
        for entry in self.members.entries:
            if entry.name.casefold() != name.casefold():
                continue
            if entry.name != name:
                self.members.unexamined(entry, "a name that PyTorch takes for the byte order, whatever its letter case")
                return None
            order = self.members.content(entry)
            if order not in (b"little", b"big"):
                self.members.unexamined(entry, "the byte order is neither little nor big")
                return None
            return order.decode()
        return "little"

    def _storages(self, folder: str) -> dict[str, StorageRange | str]:
        """The storages in one ``folder``, by key; listed once, however many entries of one name ask for them."""
        if folder not in self.storages:
            entries = (entry for entry in self.members.entries if entry.name.startswith(folder))
            self.storages[folder] = {entry.name.removeprefix(folder): located(entry) for entry in entries}
        return self.storages[folder]

    def _extra(self, entry: Entry) -> None:
        """An entry that a plain checkpoint does not have: something hidden, or constants of TorchScript."""
        tensors = tuple(f"{self.prefix}/{name}/" for name in _PROGRAM)
        if entry.name in self.sources or (self.sources and entry.name.startswith(tensors)):
            return
        inner = self.members.look(entry)
        if inner is not None and inner.format in _PICKLES:
            text = f"{entry.name} is a pickle that the loader does not expect"
            self.members.found("AIV313", text, entry, entry.start)


def located(entry: Entry) -> StorageRange | str:
    """Where the bytes of a storage lie, or why they cannot be used."""
    if entry.stored:
        return StorageRange(entry.start, entry.size, entry.crc32)
    if entry.deflated:
        return StorageRange(entry.start, entry.compressed, inflated=Inflated(entry.size, entry.crc32))
    return f"the entry is compressed by method {entry.method}"


def _is_source(name: str, folder: str) -> bool:
    """Whether PyTorch finds code of a program under ``name``: its reader ignores letter case."""
    return name.casefold().startswith(folder.casefold()) and name.casefold().endswith(".py")


def _is_pickle_name(entry: Entry) -> bool:
    return entry.name.lower().endswith((".pkl", ".pickle", ".joblib"))
