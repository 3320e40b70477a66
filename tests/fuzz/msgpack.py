"""The reader of Flax' parameters."""

from __future__ import annotations

from aiverify.formats.msgpack import examine_msgpack
from tests.framework_files import VECTORS
from tests.fuzz.reading import target

TARGET = target(
    lambda data: examine_msgpack(data, "flax_model.msgpack"),
    lambda: [(VECTORS / "flax" / "parameters.msgpack").read_bytes()[:4096], b"\x81\xa1w\xc7\x0c\x01\x93\x91\x01"],
    *("msgpack", "embedded"),
)
