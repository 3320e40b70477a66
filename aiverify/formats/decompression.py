"""The codecs that joblib and Python's own modules open, and how they read them.

Several streams in a row are one, zeros between them are skipped, and what came before the data breaks is given out all
the same. Memory is bounded: input and output pass in steps, and xz may not ask for a dictionary of any size.

Sources: CPython Lib/gzip.py, bz2.py, lzma.py and _compression.py (in 3.14 compression/_common); for zlib and the old
``ZF`` files joblib/compressor.py and numpy_pickle_compat.py (joblib 1.6); lz4.frame.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeAlias

from aiverify.formats.interface import FormatError

_CHUNK = 1 << 16
_STEP = 1 << 20
_MEMORY = 192 << 20  # what xz may use for its dictionary; its highest level needs 65 MiB
_MAX_STREAMS = 1_000_000
_ZFILE_HEADER = 2 + len(hex(1 << 64))
LZ4 = b"\x04\x22\x4d\x18"


class Decoder(Protocol):
    """A decoder of one stream, as bz2 and lzma have them."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing left to give out before more is put in."""

    @property
    def unused_data(self) -> bytes | None:
        """What follows the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Up to ``max_length`` bytes of output."""


Start: TypeAlias = "Callable[[], Decoder]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A way to compress: its name, how its streams begin, its decoder, and whether streams may follow each other."""

    name: str
    magic: bytes
    start: Start
    errors: tuple[type[Exception], ...]
    several: bool = True


class _Zlib:
    """zlib's decoder with the interface of the others."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


def _xz(kind: int) -> Start:
    return lambda: lzma.LZMADecompressor(kind, memlimit=_MEMORY)


_LZMA = (lzma.LZMAError, EOFError)
_ZFILE = Codec(
    name="zlib of an old joblib",
    magic=b"ZF",
    start=lambda: _Zlib(zlib.MAX_WBITS),
    errors=(zlib.error,),
    several=False,
)
_CODECS = (
    Codec(name="gzip", magic=b"\x1f\x8b", start=lambda: _Zlib(16 + zlib.MAX_WBITS), errors=(zlib.error,)),
    Codec(name="bz2", magic=b"BZh", start=bz2.BZ2Decompressor, errors=(OSError, EOFError)),
    Codec(name="xz", magic=b"\xfd7zXZ", start=_xz(lzma.FORMAT_XZ), errors=_LZMA),
    Codec(name="lzma", magic=b"]\0", start=_xz(lzma.FORMAT_AUTO), errors=_LZMA),
    Codec(name="zlib", magic=b"x", start=lambda: _Zlib(zlib.MAX_WBITS), errors=(zlib.error,), several=False),
    _ZFILE,
)


def codec_of(head: bytes, size: int) -> Codec | None:
    """The codec of a file of ``size`` bytes that begins with ``head``; ``None`` if there is none that can be read.

    A beginning that other files may have, too, counts only if what follows it can be decompressed: in a file that looks
    like text all of ``head``, else at least its beginning.
    """
    if head.startswith(LZ4):
        return _lz4()
    codec = next((codec for codec in _CODECS if head.startswith(codec.magic)), None)
    if codec is None or codec.name in ("gzip", "bz2", "xz"):
        return codec
    if codec.name == "zlib" and int.from_bytes(head[:2]) % 31:
        return None
    if codec is _ZFILE and not _has_length(head):
        return None
    begin = head[_header(head) if codec is _ZFILE else 0 :]
    try:
        out = codec.start().decompress(begin, _STEP if _is_ascii(head) else 1)
    except codec.errors as error:
        # A dictionary that is too large here is none to joblib: the beginning was read, and was as it should be.
        return codec if "limit exceeded" in str(error) else None
    return codec if out or size > len(head) else None


def _is_ascii(head: bytes) -> bool:
    return head.isascii() and b"\0" not in head


def _lz4() -> Codec | None:
    try:
        from lz4.frame import LZ4FrameDecompressor
    except ImportError:
        return None
    return Codec(name="lz4", magic=LZ4, start=LZ4FrameDecompressor, errors=(RuntimeError, EOFError, ValueError))


def _has_length(head: bytes) -> bool:
    """Whether an old joblib file states its length, in any spelling of a hexadecimal number that Python reads."""
    try:
        return int(head[2:_ZFILE_HEADER], 16) >= 0
    except ValueError:
        return False


def _header(head: bytes) -> int:
    """How long the header of an old joblib file is; those of Python 2 have a space more."""
    return _ZFILE_HEADER + (head[_ZFILE_HEADER : _ZFILE_HEADER + 1] == b" ")


class Decompression:
    """What comes out of the compressed ``file``, part by part. ``trailing`` is how many bytes belong to no stream."""

    def __init__(self, file: BinaryIO, codec: Codec) -> None:
        self.trailing = 0
        self._file = file
        self._codec = codec
        self._size = file.seek(0, 2)
        file.seek(0)
        self._rest = file.read(_CHUNK)
        if codec is _ZFILE:
            self._rest = self._rest[_header(self._rest) :]

    def parts(self) -> Iterator[bytes]:
        """The parts, in order. Raises FormatError where no reader reads on."""
        for number in range(_MAX_STREAMS):
            if number and not self._goes_on():
                return
            yield from self._stream()
        raise FormatError(f"more than {_MAX_STREAMS} compressed streams")

    def _goes_on(self) -> bool:
        """Whether another stream begins here. What is none is counted as trailing."""
        if self._codec.several:
            while not self._rest.lstrip(b"\0") and (part := self._file.read(_CHUNK)):
                self._rest = part
            self._rest = self._rest.lstrip(b"\0")
        self._rest += self._file.read(len(self._codec.magic))
        if self._codec.several and self._rest.startswith(self._codec.magic):
            return True
        self.trailing = len(self._rest) + self._size - self._file.tell()
        return False

    def _stream(self) -> Iterator[bytes]:
        decoder = self._codec.start()
        try:
            while not decoder.eof:
                part = b""
                if decoder.needs_input:
                    part, self._rest = self._rest or self._file.read(_CHUNK), b""
                    if not part:
                        raise FormatError("the compressed data is cut off")
                yield decoder.decompress(part, _STEP)
        except self._codec.errors as error:
            raise FormatError(f"the compressed data is broken: {str(error)[:80]}") from error
        self._rest = decoder.unused_data or b""
