"""Compressed files: what is inside is examined as a file of its own.

Output is bounded in bytes and in proportion to the input; more than that is a finding. Codecs that cannot be read here
are named, and the file is unexamined.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from aiverify.finding import Unexamined
from aiverify.formats.content import Content, inflated
from aiverify.formats.decompression import LZ4, Decompression, codec_of
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.nesting import Nesting
from aiverify.rules import finding

_HEAD = 1 << 12
_SUFFIXES = frozenset((".gz", ".gzip", ".bz2", ".xz", ".lzma", ".z", ".zlib", ".lz4", ".zst", ".zstd"))
_SHORT = {".tgz": ".tar", ".tbz2": ".tar", ".tbz": ".tar", ".txz": ".tar", ".tlz": ".tar"}
_WAY_OUT = "decompress the file and examine what comes out"
_UNREADABLE: Mapping[bytes, str] = {
    LZ4: "lz4: install the package lz4",
    b"(\xb5/\xfd": "zstd",
    b"\x1f\x9d": "compress (.Z)",
    b"LZIP": "lzip",
    b"\x89LZO": "lzop",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
}


def is_compressed(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` is compressed, by any codec that is known here."""
    return head.startswith(tuple(_UNREADABLE)) or codec_of(head, size) is not None


def examine_compressed(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    """Examine what is compressed in ``content`` as a file of its own."""
    examination = Examination(format=Format.COMPRESSED)
    head = bytes(content.data[:_HEAD])
    codec = codec_of(head, content.size)
    if codec is None:
        name = next((name for magic, name in _UNREADABLE.items() if head.startswith(magic)), "an unknown codec")
        reason = f"{name}: recognised, but not examined; {_WAY_OUT}"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
        return examination
    stream = Decompression(content.file, codec)
    with inflated(stream.parts(), content.size, nesting.allowance) as result:
        nesting.look_inflated(result, inner_name(path), examination, path, options)
    if stream.trailing:
        text = f"{stream.trailing} bytes follow the end of the compressed data"
        offset = content.size - stream.trailing
        examination.findings.append(finding("AIV402", text, file=path, offset=offset))
    return examination


def stands_in(content: Content, start: int) -> bool:
    """Whether what comes out of ``content`` stands in it as it is, from byte ``start`` on: nothing was gained."""
    codec = codec_of(bytes(content.data[:_HEAD]), content.size)
    if codec is None:
        return False
    try:
        for part in Decompression(content.file, codec).parts():
            if bytes(content.data[start : start + len(part)]) != part:
                return False
            start += len(part)
    except FormatError:
        return False
    return True


def inner_name(path: str) -> str:
    """The name that the file has once it is decompressed."""
    name = PurePosixPath(path.rpartition("!")[2]).name
    stem, _, suffix = name.rpartition(".")
    suffix = f".{suffix.lower()}"
    if not stem:
        return name
    return stem + _SHORT[suffix] if suffix in _SHORT else stem if suffix in _SUFFIXES else name
