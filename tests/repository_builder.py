"""Repositories for tests: small safetensors files, shards with an index, and what stands beside them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from aiverify.finding import Finding
from aiverify.pipeline import Options, run
from aiverify.report import Report

WIDTH = {"F32": 4, "BF16": 2, "F8_E4M3": 1}


def safetensors(tensors: Iterable[str | tuple[str, str]]) -> bytes:
    """A file with one element for each name, or for each name and type."""
    header, data = {}, b""
    for item in tensors:
        name, dtype = (item, "F32") if isinstance(item, str) else item
        end = len(data) + WIDTH[dtype]
        header[name] = {"dtype": dtype, "shape": [1], "data_offsets": [len(data), end]}
        data += bytes(WIDTH[dtype])
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def write(folder: Path, files: Mapping[str, object]) -> Path:
    """Write ``files`` by path below ``folder``: bytes, text, or JSON values."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        place.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def findings(folder: Path) -> list[Finding]:
    """What a scan of the folder finds."""
    return list(scan(folder).findings)


def scan(folder: Path) -> Report:
    """The report on the folder, without digests, signatures and conversion."""
    return run(str(folder), Options(authenticate=False, convert=False, engines=(), digests=False))


def look(tmp_path: Path, files: Mapping[str, object]) -> list[tuple[str, str, str | None]]:
    """Rule, severity and file of what is found in a repository of ``files``, beside weights that are whole."""
    beside = {} if any(path.endswith(".safetensors") for path in files) else {"model.safetensors": safetensors(["a"])}
    found = findings(write(tmp_path, {**beside, **files}))
    return [(item.rule, item.severity.value, item.file) for item in found]
