"""Programs of ``torch.export``: archives of a program as JSON, raw weights, and a few pickles.

Layout, below one folder: ``models/<model>.json`` is the program; ``data/weights/<model>_weights_config.json`` says for
each weight which record holds it and how it is strided, or that the record is a pickled tensor; ``data/constants`` is
made likewise; ``data/sample_inputs/<model>.pt`` is a checkpoint. Torch 2.1 to 2.7 wrote four records without a folder,
the weights as one checkpoint. Rules:

1. Every pickle is judged, in the nested checkpoints too. Every operator that the program names is compared with what
   exporters write: the loader looks operators up by walking from the module ``torch`` along any attributes.
2. The weights are what ``state_dict`` of the loaded program holds: parameters and persistent buffers. Constants and
   sample inputs are listed as left behind.
3. A record that a configuration does not describe as the loader reads it gives a storage that cannot be used, with the
   reason.

Source: torch/export/pt2_archive/_package.py, torch/_export/serde (PyTorch 2.13).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiverify.finding import Unexamined
from aiverify.formats.archives import Entry
from aiverify.formats.checkpoint import Checkpoint
from aiverify.formats.described import described_tensor
from aiverify.formats.dtypes import DTYPES
from aiverify.formats.exported_state import State, described, pairs_of, record_of
from aiverify.formats.interface import Examination, FormatError
from aiverify.formats.torch import located
from aiverify.pickles.graph import Dictionary, Graph, Value
from aiverify.rules import finding

_FORMAT = "archive_format"
_OLD_PROGRAM = "serialized_exported_program.json"
_OLD_STATE = ("serialized_state_dict.pt", "serialized_state_dict.json")
_OLD_PICKLED = frozenset(
    (*_OLD_STATE, "serialized_constants.pt", "serialized_constants.json", "serialized_example_inputs.pt")
)
_RECORDS = frozenset((_FORMAT, "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id"))
_WEIGHTS, _CONSTANTS = "data/weights/", "data/constants/"
_CONFIG = re.compile(r"data/(?:weights/(?P<model>.+)_weights|constants/.+_constants)_config\.json")
_PROGRAM = re.compile(r"models/(?P<model>.+)\.json")
_PICKLED = re.compile(
    r"data/(?:sample_inputs/.+\.pt|weights/[^/]+\.pt|constants/(?:[^/]+\.pt|(?:custom|opaque)_obj_\d+))"
)
_RAW = re.compile(r"data/(?:weights/weight_\d+|constants/tensor_\d+)")
_MAX_RECORD = 1 << 10
_MAX_JSON = 128 << 20
_KEEPS = 3  # how many operators a finding names

_OWN = re.compile(
    r"torch\.ops\.(?:aten|prim|prims|quantized|quantized_decomposed|higher_order|_c10d_functional)\.\w+(?:\.\w+)?"
)
_PLAIN = re.compile(r"torch\.(?:sym_\w+|_sym_\w+|_higher_order_ops\.\w+\.\w+)|_operator\.\w+|math\.\w+")
_FOREIGN = re.compile(r"torch\.ops\.\w+\.\w+(?:\.\w+)?")


@dataclass(slots=True, kw_only=True)
class Archive:
    """What the reader of zip archives lends: the entries below ``prefix``, and how to look into them.

    ``content`` gives the bytes of an entry, or ``None`` after saying why not. ``nested`` examines an entry that is a
    checkpoint or a pickle of its own and gives what can be converted of it; ``other`` examines any other entry.
    """

    entries: Sequence[Entry]
    prefix: str
    path: str
    examination: Examination
    content: Callable[[Entry], bytes | None]
    nested: Callable[[Entry], Checkpoint | None]
    other: Callable[[Entry], None]

    def named(self) -> list[tuple[str, Entry]]:
        """The entries with their names below the prefix."""
        return [(entry.name.removeprefix(self.prefix), entry) for entry in self.entries]


def exported_prefix(names: Sequence[str]) -> str | None:
    """The folder, with its slash, of an exported program with entries of these ``names``; ``None`` if it is none."""
    if _OLD_PROGRAM in names:
        return ""
    root = names[0].partition("/")[0] if names else ""
    return f"{root}/" if root and f"{root}/{_FORMAT}" in names else None


def examine_exported(archive: Archive) -> None:
    """Examine every entry of an exported program, and leave its weights as the checkpoint of the examination."""
    _Program(archive).run()


class _Program:
    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.named = archive.named()
        self.entries = dict(self.named)
        self.used: set[str] = set()
        self.nested: dict[str, Checkpoint | None] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.digest = hashlib.sha256()
        self.sound = True

    def run(self) -> None:
        for name, entry in self.named:
            self._entry(name, entry)
        for name, entry in self.named:
            if _RAW.fullmatch(name) and name not in self.used:
                self.archive.other(entry)
        if self._is_big():
            self._unexamined(None, "weights in big-endian order, which the loader does not swap")
            return
        try:
            if self.sound:
                self.archive.examination.checkpoint = self._checkpoint()
        except FormatError as error:
            self._unexamined(None, str(error))

    def _entry(self, name: str, entry: Entry) -> None:
        if _CONFIG.fullmatch(name):
            self._read_config(name, entry)
        elif _PROGRAM.fullmatch(name) or name == _OLD_PROGRAM:
            self._read_program(entry)
        elif _PICKLED.fullmatch(name) or name in _OLD_PICKLED:
            self.nested[name] = self.archive.nested(entry)
        elif not (name in _RECORDS and entry.size <= _MAX_RECORD) and not _RAW.fullmatch(name):
            self.archive.other(entry)

    def _read_config(self, name: str, entry: Entry) -> None:
        content = self._json(entry)
        config = content.get("config") if isinstance(content, dict) else None
        if not isinstance(config, dict):
            self._unexamined(entry, "not a list of tensors")
            return
        self.configs[name] = config
        folder = name.rpartition("/")[0]
        for payload in config.values():
            place = record_of(payload)
            held = f"{folder}/{place}"
            if place is None:
                self._unexamined(entry, "a tensor that is not described as torch describes one")
            elif payload["use_pickle"] and held in self.entries and not _PICKLED.fullmatch(held):
                self._read_pickled(held)
            else:
                self.used.add(held)

    def _read_pickled(self, name: str) -> None:
        self.used.add(name)
        if name not in self.nested:
            self.nested[name] = self.archive.nested(self.entries[name])

    def _read_program(self, entry: Entry) -> None:
        program = self._json(entry)
        outside: set[str] = set()
        foreign: set[str] = set()
        for target in _targets(program):
            if not (_OWN.fullmatch(target) or _PLAIN.fullmatch(target)):
                (foreign if _FOREIGN.fullmatch(target) else outside).add(target)
        for rule, names in (("AIV412", outside), ("AIV413", foreign)):
            if names:
                text = f"the program calls {', '.join(sorted(name[:80] for name in names)[:_KEEPS])}"
                text += f" and {len(names) - _KEEPS} more" if len(names) > _KEEPS else ""
                self.archive.examination.findings.append(
                    finding(rule, text, file=self.archive.path, member=entry.name, offset=entry.start)
                )

    def _json(self, entry: Entry) -> Any:
        if entry.size > _MAX_JSON:
            self._unexamined(entry, f"JSON of more than {_MAX_JSON} bytes")
            return None
        data = self.archive.content(entry)
        if data is None:
            self.sound = False
            return None
        self.digest.update(data)
        try:
            return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            self._unexamined(entry, f"not valid JSON: {error}")
            return None

    def _is_big(self) -> bool:
        entry = self.entries.get("byteorder")
        return entry is not None and entry.size <= _MAX_RECORD and self.archive.content(entry) == b"big"

    def _unexamined(self, entry: Entry | None, reason: str) -> None:
        self.sound = False
        member = entry.name if entry else None
        self.archive.examination.unexamined.append(Unexamined(file=self.archive.path, member=member, reason=reason))

    # The weights

    def _checkpoint(self) -> Checkpoint | None:
        """The state of the program, or of all programs in the archive, each under its name."""
        made = State(Graph(0))
        matches = ((name, _CONFIG.fullmatch(name)) for name in self.configs)
        configs = sorted((match["model"], name) for name, match in matches if match and match["model"])
        for model, name in configs:
            prefix = f"{model}." if len(configs) > 1 else ""
            for tensor, payload in self.configs[name].items():
                made.pairs.append((prefix + tensor, self._weight(payload, made)))
        states = [name for name in self.nested if name in _OLD_STATE or name.startswith(_WEIGHTS)]
        whole = [name for name in states if name not in self.used]
        if whole and (configs or len(whole) > 1):
            raise FormatError(f"weights that are stated in two ways, one of them in {whole[0]}")
        for name in whole:
            found = self.nested[name]
            if found is None:
                raise FormatError(f"{name} is no checkpoint that could be read")
            made.pairs += pairs_of(made.adopted(found, name, self.entries[name]))
        if not made.pairs:
            return None
        made.graph.root = Dictionary(made.pairs)
        self.digest.update(made.digests)
        return Checkpoint(
            graph=made.graph,
            storages=made.storages,
            byteorder="little",
            stream_sha256=self.digest.hexdigest(),
            left_out=tuple(self._left_out()),
        )

    def _left_out(self) -> Iterator[tuple[str, str]]:
        for name, config in self.configs.items():
            if name.startswith(_CONSTANTS):
                yield from ((f"(constants).{tensor}", "constant of the program") for tensor in config)
        for name in sorted(self.nested):
            if not name.startswith(_WEIGHTS) and name not in _OLD_STATE and name not in self.used:
                yield name, "checkpoint beside the weights"

    def _weight(self, payload: Any, made: State) -> Value:
        record = record_of(payload)
        name = f"{_WEIGHTS}{record}"
        entry = self.entries.get(name)
        if entry is None:
            raise FormatError(f"the record {name[:80]!r} is not in the archive")
        if payload["use_pickle"]:
            found = self.nested.get(name)
            if found is None:
                raise FormatError(f"the record {name!r} is no checkpoint that could be read")
            return made.adopted(found, name, entry)
        tensor = described(payload.get("tensor_meta"))
        if tensor is None:
            raise FormatError(f"the tensor in the record {name!r} is not described as torch describes one")
        dtype, offset, size, stride = tensor
        made.storages.setdefault(name, located(entry))
        if made.types.setdefault(name, dtype) != dtype:
            made.storages[name] = "two types are stated for one record"
        return described_tensor(made.graph, name, DTYPES[dtype], entry.size, offset=offset, size=size, stride=stride)


def _targets(program: Any) -> Iterator[str]:
    """Every operator that a program names, wherever a graph stands in it."""
    pending = [program]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            target = item.get("target")
            if isinstance(target, str) and "inputs" in item and "outputs" in item:
                yield target
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result
