"""What a file is, decided by its content.

Order matters: signatures that a loader checks come first. A name is only asked where the content leaves it open (text,
and formats without a signature), and never to make something harmless of it. Whether a file is a pickle besides is not
asked here: see ``disguise``.
"""

from __future__ import annotations

import json
import struct
from pathlib import PurePosixPath

from aiverify.formats.compressed import is_compressed
from aiverify.formats.foreign import by_content, by_name
from aiverify.formats.interface import Format
from aiverify.formats.markup import NET, PMML, is_markup, root_of
from aiverify.formats.tar import begins_like_tar
from aiverify.formats.torch_legacy import begins_like_legacy
from aiverify.pickles.reading import Buffer

HEAD = 1 << 12
_MAX_SAFETENSORS_HEADER = 100_000_000
_HDF5 = b"\x89HDF\r\n\x1a\n"

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"PK\x03\x04", Format.ZIP),
    (b"PK\x05\x06", Format.ZIP),
    (b"\x93NUMPY", Format.NPY),
    (b"GGUF", Format.GGUF),
    (_HDF5, Format.HDF5),
    (b"7z\xbc\xaf\x27\x1c", Format.SEVEN_ZIP),
    (b"Rar!\x1a\x07", Format.ARCHIVE),
    (b"MSCF\0\0\0\0", Format.ARCHIVE),
    (b"!<arch>\n", Format.ARCHIVE),
    (b"\x7fELF", Format.EXECUTABLE),
    (b"MZ", Format.EXECUTABLE),
    (b"\xca\xfe\xba\xbe", Format.EXECUTABLE),
    (b"\xcf\xfa\xed\xfe", Format.EXECUTABLE),
    (b"\xce\xfa\xed\xfe", Format.EXECUTABLE),
    (b"\xfe\xed\xfa\xce", Format.EXECUTABLE),
    (b"\xfe\xed\xfa\xcf", Format.EXECUTABLE),
    (b"\x00asm", Format.EXECUTABLE),
    (b"jartsr='", Format.EXECUTABLE),  # with MZqFpD: programs that run everywhere, like llamafiles
    (b"dex\n03", Format.EXECUTABLE),
    (b"L\0\0\0\x01\x14\x02\0", Format.EXECUTABLE),
    (b"version https://git-lfs.github.com/spec/", Format.LFS_POINTER),
    (b"\x89PNG\r\n\x1a\n", Format.MEDIA),
    (b"\xff\xd8\xff", Format.MEDIA),
    (b"GIF8", Format.MEDIA),
    (b"%PDF-", Format.MEDIA),
    (b"OggS", Format.MEDIA),
    (b"fLaC", Format.MEDIA),
    (b"ID3", Format.MEDIA),
    (b"\x1aE\xdf\xa3", Format.MEDIA),
    (b"wOF2", Format.MEDIA),
    (b"wOFF", Format.MEDIA),
    (b"OTTO\0", Format.MEDIA),
    (b"II*\0", Format.MEDIA),
    (b"MM\0*", Format.MEDIA),
    (b"glTF\2\0\0\0", Format.MEDIA),
    (b"\0\0\0\1Bud1", Format.MEDIA),  # .DS_Store, how a Mac remembers a folder
)
_PICKLE_NAMES = frozenset((".pkl", ".pickle", ".pk", ".p", ".joblib", ".dill", ".bin", ".pt", ".pth", ".ckpt", ".dat"))
_BY_NAME = {
    ".json": Format.JSON,
    ".jsonl": Format.TEXT,
    ".pbtxt": Format.TENSORFLOW,
    ".ipynb": Format.JSON,
    ".sarif": Format.JSON,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".jinja": Format.TEMPLATE,
    ".jinja2": Format.TEMPLATE,
    ".py": Format.PYTHON,
    ".sh": Format.SCRIPT,
    ".bash": Format.SCRIPT,
    ".bat": Format.SCRIPT,
    ".cmd": Format.SCRIPT,
    ".ps1": Format.SCRIPT,
    ".js": Format.SCRIPT,
    ".pl": Format.SCRIPT,
    ".rb": Format.SCRIPT,
    **dict.fromkeys((".zsh", ".ksh", ".csh", ".fish", ".command", ".psm1", ".vbs", ".wsf", ".hta"), Format.SCRIPT),
}
_BINARY_BY_NAME = {
    ".onnx": Format.ONNX,
    ".pb": Format.TENSORFLOW,
    ".meta": Format.TENSORFLOW,
    ".tflite": Format.TFLITE,
    ".msgpack": Format.MSGPACK,
    ".model": Format.SENTENCEPIECE,
    ".spm": Format.SENTENCEPIECE,
    ".tar": Format.TAR,
}

#: Texts that may begin like something else that is text: a comment of YAML like a script, a key or the first line of a
#: template like a picture. Whoever looks for a file of such a name reads it as what the name says.
_ANY_BEGINNING = frozenset((Format.YAML, Format.TEMPLATE))
_BEGINNINGS = frozenset(
    (
        *(Format.PYTHON, Format.SCRIPT, Format.MEDIA, Format.FOREIGN, Format.TFLITE),
        *(Format.XML, Format.OPENVINO, Format.PMML),
    )
)

#: What the content leaves open, so that more of it than the first bytes has to be looked at.
UNDECIDED = frozenset(
    (
        *(Format.UNKNOWN, Format.PICKLE, Format.TEXT, Format.JSON, Format.YAML, Format.TEMPLATE, Format.PYTHON),
        *(Format.SCRIPT, Format.ONNX, Format.TENSORFLOW, Format.SENTENCEPIECE, Format.MSGPACK, Format.FOREIGN),
    )
)


def sniff(head: bytes, path: str, size: int) -> Format:
    """The format of a file of ``size`` bytes that begins with ``head`` (up to ``HEAD`` bytes of it)."""
    suffix = PurePosixPath(path.lower()).suffix
    named = _named(suffix, PurePosixPath(path).name)
    kind = _begins_like(head, path, suffix, named, size)
    return named if named in _ANY_BEGINNING and kind in _BEGINNINGS and _is_text(head) else kind


def _begins_like(head: bytes, path: str, suffix: str, named: Format | None, size: int) -> Format:
    if not head:
        return Format.EMPTY
    if _is_safetensors(head, size):  # first, because its length may look like the beginning of a pickle
        return Format.SAFETENSORS
    if is_pickle(head):
        return Format.TORCH_LEGACY if begins_like_legacy(head) else Format.PICKLE
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[257:262] == b"ustar" or begins_like_tar(head):
        return Format.TAR
    if is_compressed(head, size):
        return Format.COMPRESSED
    if is_markup(head):  # before signatures that a comment may hold
        return {NET: Format.OPENVINO, PMML: Format.PMML}.get(root_of(head) or "", Format.XML)
    if head[4:8] == b"TFL3":
        return Format.TFLITE
    if by_content(head) is not None:
        return Format.FOREIGN
    if head[4:8] == bytes(4) and head[21:35] == b"\x1a\rbrain.Event:":  # a log for TensorBoard
        return Format.MEDIA
    if _is_media(head, suffix):
        return Format.MEDIA
    if _is_text(head):
        return _text(head, suffix, named)
    if suffix in _PICKLE_NAMES:
        return Format.PICKLE
    if head[2:4] == b"\r\n" and suffix in (".pyc", ".pyo"):
        return Format.EXECUTABLE
    return _BINARY_BY_NAME.get(suffix, Format.FOREIGN if by_name(path) is not None else Format.UNKNOWN)


def hdf5_starts(data: Buffer) -> list[int]:
    """Where else than at its beginning the HDF5 library finds a file in ``data``: after 512 bytes, 1024, 2048, …"""
    starts, place = [], 512
    while place + len(_HDF5) <= len(data):
        if data[place : place + len(_HDF5)] == _HDF5:
            starts.append(place)
        place *= 2
    return starts


def is_pickle(head: bytes) -> bool:
    """Whether the first two bytes of ``head`` are those of a pickle of protocol 2 to 5."""
    return len(head) > 2 and head[0] == 0x80 and head[1] <= 5


def _is_media(head: bytes, suffix: str) -> bool:
    """Pictures, sounds, fonts and what desktops leave behind, whose signature is not all in the first bytes."""
    return (
        (head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE", b"AVI "))
        or head[4:8] == b"ftyp"
        or (head[:2] == b"BM" and head[6:10] == bytes(4))  # a bitmap
        or (head[:4] == b"\0\0\1\0" and suffix == ".ico")
        or (head[:5] == b"\0\1\0\0\0" and suffix == ".ttf")
        or (head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1") and suffix in (".mp3", ".aac"))
    )


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10:
        return False
    (length,) = struct.unpack_from("<Q", head)
    return 2 <= length <= min(size - 8, _MAX_SAFETENSORS_HEADER) and head[8:9] == b"{"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.reason == "unexpected end of data"
    return True


def _named(suffix: str, name: str) -> Format | None:
    """The format of the texts that a loader looks for under this name."""
    if name == "MLmodel":  # how MLflow says which module loads a model
        return Format.YAML
    return _BY_NAME.get(suffix)


def _text(head: bytes, suffix: str, named: Format | None) -> Format:
    if suffix in _PICKLE_NAMES:
        return Format.TORCH_LEGACY if begins_like_legacy(head) else Format.PICKLE
    if head.startswith(b"#!"):
        return Format.PYTHON if b"python" in head.partition(b"\n")[0] else Format.SCRIPT
    if named is not None:
        return named
    if suffix == "" and head.lstrip()[:1] in (b"{", b"[") and _parses(head):
        return Format.JSON
    return Format.TEXT


def _parses(head: bytes) -> bool:
    try:
        json.loads(head)
    except (ValueError, RecursionError):
        return False
    return True
