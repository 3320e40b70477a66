"""The reader of GGUF."""

from __future__ import annotations

from aiverify.formats.gguf import examine_gguf
from tests import framework_files
from tests.fuzz.reading import target

TARGET = target(
    lambda data: examine_gguf(b"GGUF" + data, "model.gguf"),
    lambda: [framework_files.gguf_model()[4:]],
    *("gguf", "gguf_types", "template", "embedded"),
)
