"""The reader of ONNX."""

from __future__ import annotations

from aiverify.formats.onnx import examine_onnx
from tests import framework_files
from tests.fuzz.reading import target

TARGET = target(
    lambda data: examine_onnx(data, "model.onnx", {"d": 8}.get),
    lambda: [framework_files.onnx_model(), framework_files.onnx_model(location="d", offset=0, length=8)],
    *("onnx", "onnx_types", "protobuf", "embedded"),
)
