"""The reader of TensorFlow Lite."""

from __future__ import annotations

from aiverify.formats.tflite import examine_tflite
from tests.framework_files import VECTORS
from tests.fuzz.reading import target

TARGET = target(
    lambda data: examine_tflite(data, "model.tflite"),
    lambda: [path.read_bytes()[:4096] for path in (VECTORS / "tensorflow").glob("*.tflite")],
    *("tflite", "flatbuffer", "embedded"),
)
