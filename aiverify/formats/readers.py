"""The readers of configurations and of the formats of other frameworks, all called alike.

Each module knows one format and takes what it needs: the bytes, the open file, or the folder that the file lies in. It
is imported when the first file of its format is met: most runs see two or three formats.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiverify.finding import Unexamined
from aiverify.formats import foreign
from aiverify.formats.content import Content
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.formats.markup import root_of
from aiverify.formats.messages import kind_of_message
from aiverify.formats.nesting import Examine, Nesting

_HEAD = 1 << 12
_LONG_HEAD = 1 << 20


def _whole(content: Content, limit: int) -> bytes:
    """The whole file; of one with more than ``limit`` bytes, one byte more than that, for its reader to refuse."""
    content.file.seek(0)
    data = bytearray()
    while len(data) <= limit and (part := content.file.read(min(content.size or 1, limit + 1 - len(data)))):
        data += part  # an unbuffered read may return less than asked for
    return bytes(data)


def _json(content: Content, path: str, options: ScanOptions, nesting: Nesting) -> Examination:
    from aiverify.formats.config import MAX_JSON, examine_json

    return examine_json(_whole(content, MAX_JSON), path, options, nesting)


def _yaml(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.config import MAX_YAML, examine_yaml

    return examine_yaml(_whole(content, MAX_YAML), path)


def _template(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.config import MAX_TEMPLATE_BYTES, examine_template

    return examine_template(_whole(content, MAX_TEMPLATE_BYTES), path)


def _sentencepiece(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.sentencepiece import MAX_SIZE, examine_sentencepiece

    return examine_sentencepiece(_whole(content, MAX_SIZE), path)


def _gguf(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.gguf import examine_gguf

    return examine_gguf(content.data, path)


def _tflite(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.tflite import examine_tflite

    return examine_tflite(content.data, path)


def _msgpack(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.msgpack import examine_msgpack

    return examine_msgpack(content.data, path)


def _onnx(content: Content, path: str, _: ScanOptions, nesting: Nesting) -> Examination:
    from aiverify.formats.onnx import examine_onnx

    return examine_onnx(content.data, path, nesting.folder.size_of if nesting.folder is not None else None)


def _tensorflow(content: Content, path: str, *_: object) -> Examination:
    from aiverify.formats.tensorflow import examine_tensorflow
    from aiverify.formats.tensorflow_text import examine_graph_text, is_text

    if is_text(path, bytes(content.data[:_HEAD])):
        return examine_graph_text(content.data, path)
    return examine_tensorflow(content.data, path)


def _hdf5(content: Content, path: str, _: ScanOptions, nesting: Nesting) -> Examination:
    from aiverify.formats.hdf5 import examine_hdf5

    return examine_hdf5(content, path, nesting.allowance)


def _xml(content: Content, path: str, _: ScanOptions, nesting: Nesting) -> Examination:
    from aiverify.formats.xml import MAX_SIZE, examine_xml

    data = _whole(content, MAX_SIZE)
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
    Format.JSON: _json,
    Format.YAML: _yaml,
    Format.TEMPLATE: _template,
    Format.SENTENCEPIECE: _sentencepiece,
    Format.GGUF: _gguf,
    Format.ONNX: _onnx,
    Format.TENSORFLOW: _tensorflow,
    Format.TFLITE: _tflite,
    Format.MSGPACK: _msgpack,
    Format.HDF5: _hdf5,
    **dict.fromkeys((Format.XML, Format.OPENVINO, Format.PMML), _xml),
    Format.RAW: _raw,
    Format.FOREIGN: _foreign,
}
