"""Everything through the front door, as a member of an archive: recognised, and given to its reader."""

from __future__ import annotations

from collections.abc import Iterator

from aiverify.formats import code_keys, config, keras, keras_archive, skops, torch_pt2, torchserve  # noqa: F401 - no file is opened later on
from aiverify.formats.content import in_place
from aiverify.formats.examine import _READERS, _examine
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.nesting import Nesting
from tests import framework_files
from tests.fuzz.reading import target

_NAMES = ("model.onnx", "model.bin", "notes", "saved_model.pb", "model.msgpack", "model.xml")


def _look(data: bytes) -> Examination | None:
    if b"\x89HDF\r\n\x1a\n" in data:  # a process for each
        return None
    name = _NAMES[len(data) % len(_NAMES)]
    said = _examine(in_place(data), name, ScanOptions(), Nesting(_READERS))
    assert said.format is not Format.UNKNOWN or said.unexamined or said.findings
    return said


def _seeds() -> Iterator[bytes]:
    for name, make in framework_files.FILES.items():
        if not name.endswith((".h5", ".keras")):
            yield make()[:4096]


TARGET = target(_look, _seeds, "examine", "sniff", "messages", "foreign", "markup", "readers", "nesting")
