"""The readers of TensorFlow's graphs, and what tells protocol buffers apart."""

from __future__ import annotations

from collections.abc import Iterator

from aiverify.formats.messages import kind_of_message
from aiverify.formats.tensorflow import examine_tensorflow
from aiverify.formats.tensorflow_text import examine_graph_text
from tests.framework_files import VECTORS
from tests.fuzz.reading import target


def _examine(data: bytes) -> object:
    kind_of_message(data)
    examine_graph_text(data, "graph.pbtxt")
    return examine_tensorflow(data, "saved_model.pb")


def _seeds() -> Iterator[bytes]:
    for path in sorted((VECTORS / "tensorflow").iterdir()):
        if path.suffix in (".pb", ".meta"):
            yield path.read_bytes()[:4096]
    yield b'node { name: "x" op: "ReadFile" # \n "" }'
    yield b"\x0a\x0e\x0a\x01x\x12\x09MatrixMul"


TARGET = target(_examine, _seeds, "tensorflow", "tensorflow_text", "messages", "protobuf", "operators", "embedded")
