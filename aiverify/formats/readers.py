"""The readers of the formats of other frameworks, all called alike.

Each module knows one format and takes what it needs: the bytes, the open file, or the folder that the file lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from aiverify.finding import Unexamined
from aiverify.formats import foreign
from aiverify.formats.content import Content
from aiverify.formats.gguf import examine_gguf
from aiverify.formats.hdf5 import examine_hdf5
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.markup import root_of
from aiverify.formats.messages import kind_of_message
from aiverify.formats.msgpack import examine_msgpack
from aiverify.formats.nesting import Examine, Nesting
from aiverify.formats.onnx import examine_onnx
from aiverify.formats.tensorflow import examine_tensorflow
from aiverify.formats.tensorflow_text import examine_graph_text, is_text
from aiverify.formats.tflite import examine_tflite
from aiverify.formats.xml import MAX_SIZE, examine_xml
from aiverify.pickles.reading import Buffer

_HEAD = 1 << 12
_LONG_HEAD = 1 << 20


def whole(file: BinaryIO, size: int) -> bytes:
    """The whole file; an unbuffered read may return less than asked for."""
    file.seek(0)
    parts = []
    while part := file.read(max(size, 1)):
        parts.append(part)
    return b"".join(parts)


def _of_bytes(examine_bytes: Callable[[Buffer, str], Examination]) -> Examine:
    def reader(content: Content, path: str, *_: object) -> Examination:
        return examine_bytes(content.data, path)

    return reader


def _onnx(content: Content, path: str, _: ScanOptions, nesting: Nesting) -> Examination:
    return examine_onnx(content.data, path, nesting.folder.size_of if nesting.folder is not None else None)


def _tensorflow(content: Content, path: str, *_: object) -> Examination:
    if is_text(path, bytes(content.data[:_HEAD])):
        return examine_graph_text(content.data, path)
    return examine_tensorflow(content.data, path)


def _hdf5(content: Content, path: str, _: ScanOptions, nesting: Nesting) -> Examination:
    return examine_hdf5(content, path, nesting.allowance)


def _xml(content: Content, path: str, _: ScanOptions, nesting: Nesting) -> Examination:
    data = whole(content.file, content.size) if content.size <= MAX_SIZE else bytes(content.data[: MAX_SIZE + 1])
    return examine_xml(data, path, root_of(data[:_LONG_HEAD]), nesting.folder)


def _raw(*_: object) -> Examination:
    """Numbers without a form of their own; the model beside them says where each tensor lies."""
    return Examination(format=Format.RAW)


def _foreign(content: Content, path: str, *_: object) -> Examination:
    examination = Examination(format=Format.FOREIGN)
    what = foreign.by_content(bytes(content.data[:_HEAD]))
    if what is None:
        message = kind_of_message(content.data)
        known = isinstance(message, str) and not isinstance(message, Format)
        what = foreign.by_message(message) if message is not None and known else foreign.by_name(path)
    reason = f"{what or 'a format of another framework'}: recognised, but not examined"
    examination.unexamined.append(Unexamined(file=path, reason=reason))
    return examination


READERS: Mapping[Format, Examine] = {
    Format.GGUF: _of_bytes(examine_gguf),
    Format.ONNX: _onnx,
    Format.TENSORFLOW: _tensorflow,
    Format.TFLITE: _of_bytes(examine_tflite),
    Format.MSGPACK: _of_bytes(examine_msgpack),
    Format.HDF5: _hdf5,
    **dict.fromkeys((Format.XML, Format.OPENVINO, Format.PMML), _xml),
    Format.RAW: _raw,
    Format.FOREIGN: _foreign,
}
