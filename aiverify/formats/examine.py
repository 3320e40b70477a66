"""One file in, one examination out: recognise the content, and give it to the reader of its format.

A format without a reader is said to be unexamined. No exception of a reader means "clean".
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import BinaryIO

from aiverify.finding import Severity, Unexamined
from aiverify.formats import safetensors
from aiverify.formats.arrays import NamedArray, as_checkpoint
from aiverify.formats.checkpoint import StorageRange
from aiverify.formats.config import examine_json, examine_template, examine_yaml
from aiverify.formats.disguise import runs_as_pickle
from aiverify.formats.interface import Examination, Format, FormatError, ScanOptions
from aiverify.formats.names import keeps_promise
from aiverify.formats.numpy import examine_npy, read_array_header
from aiverify.formats.pickle import examine_pickle
from aiverify.formats.sentencepiece import examine_sentencepiece
from aiverify.formats.sniff import HEAD, sniff
from aiverify.formats.torch import examine_zip
from aiverify.formats.torch_legacy import examine_legacy
from aiverify.formats.torch_tar import examine_tar
from aiverify.rules import finding

_NOT_EXAMINED = {
    Format.GGUF: "GGUF",
    Format.HDF5: "HDF5 (Keras)",
    Format.ONNX: "ONNX",
    Format.TENSORFLOW: "TensorFlow",
    Format.TFLITE: "TFLite",
    Format.MSGPACK: "msgpack (Flax)",
    Format.COMPRESSED: "compressed files",
    Format.SEVEN_ZIP: "7z archives",
}
_OWN_CONFIGURATION = frozenset(("aiverify.toml", "aiverify.lock"))


def recognise(location: Path, path: str) -> Format:
    """What the file at ``location`` is, by its first bytes. Raises FormatError if it cannot be read."""
    try:
        with location.open("rb", buffering=0) as file:
            return _recognise(file, file.seek(0, 2), path)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # of mmap, when the file is cut to nothing while it is open
        raise FormatError(f"{path}: changed while it was read: {error}") from error


def examine(location: Path, path: str, options: ScanOptions) -> Examination:
    """Examine the file at ``location``, which the artifact calls ``path``. Raises FormatError if it cannot be read."""
    try:
        with location.open("rb", buffering=0) as raw:
            return _examine(raw, raw.seek(0, 2), path, options)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # of mmap, when the file is cut to nothing while it is open
        raise FormatError(f"{path}: changed while it was read: {error}") from error


def _examine(file: BinaryIO, size: int, path: str, options: ScanOptions) -> Examination:
    kind = _recognise(file, size, path)
    examination = _dispatch(file, size, path, kind, options)
    if not keeps_promise(path, examination.format):
        text = f"the content is {examination.format}, which the name does not say"
        examination.findings.append(finding("AIV401", text, file=path, severity=_gravity(examination.format)))
    if path.rpartition("/")[2] in _OWN_CONFIGURATION:
        examination.findings.append(finding("AIV601", "a configuration of aiverify; it was not read", file=path))
    return examination


def _recognise(file: BinaryIO, size: int, path: str) -> Format:
    file.seek(0)
    head = file.read(min(HEAD, size))
    kind = sniff(head, path, size)
    if kind in (Format.EMPTY, Format.PICKLE, Format.TORCH_LEGACY):
        return kind
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return Format.PICKLE if runs_as_pickle(data) else kind


def _gravity(kind: Format) -> Severity:
    """A wrong name matters when the content is something that a loader would open or run."""
    return Severity.MEDIUM if kind in (Format.TEXT, Format.JSON, Format.MEDIA, Format.EMPTY) else Severity.HIGH


def _dispatch(file: BinaryIO, size: int, path: str, kind: Format, options: ScanOptions) -> Examination:
    if kind is Format.SAFETENSORS:
        return safetensors.examine(file, size, path)
    if kind is Format.ZIP:
        return examine_zip(file, size, path, options)
    if kind in (Format.PICKLE, Format.TORCH_LEGACY, Format.NPY, Format.TAR):
        return _mapped(file, path, kind, options)
    if kind in (Format.JSON, Format.YAML, Format.TEMPLATE, Format.SENTENCEPIECE):
        file.seek(0)
        reader = {
            Format.JSON: examine_json,
            Format.YAML: examine_yaml,
            Format.TEMPLATE: examine_template,
            Format.SENTENCEPIECE: examine_sentencepiece,
        }[kind]
        return reader(_whole(file, size), path)
    return _by_kind(path, kind)


def _whole(file: BinaryIO, size: int) -> bytes:
    """The whole file; an unbuffered read may return less than asked for."""
    parts = []
    while part := file.read(max(size, 1)):
        parts.append(part)
    return b"".join(parts)


def _mapped(file: BinaryIO, path: str, kind: Format, options: ScanOptions) -> Examination:
    """Formats that are read in place, through a memory map: their memory does not grow with the file."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if kind is Format.NPY:
            examination = examine_npy(data, path, options)
            if not examination.unexamined:
                array = NamedArray("array", read_array_header(data), StorageRange(0, len(data)))
                examination.checkpoint = as_checkpoint([array])
            return examination
        if kind is Format.TORCH_LEGACY:
            return examine_legacy(data, path, options)
        if kind is Format.TAR:
            return examine_tar(data, path, options)
        return examine_pickle(data, path, options)


def _by_kind(path: str, kind: Format) -> Examination:
    """Formats that nothing here reads."""
    examination = Examination(format=kind)
    if kind is Format.EXECUTABLE:
        examination.findings.append(finding("AIV408", "a native program or library", file=path))
    elif kind is Format.SCRIPT:
        examination.findings.append(finding("AIV505", "a script", file=path))
    elif kind is Format.PYTHON:
        examination.findings.append(finding("AIV502", "Python source", file=path))
    elif kind is Format.LFS_POINTER:
        reason = "a Git LFS pointer stands in for the file: fetch the content with `git lfs pull`"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
    elif kind is Format.UNKNOWN:
        examination.unexamined.append(Unexamined(file=path, reason="an unknown format"))
    elif kind in _NOT_EXAMINED:
        reason = f"{_NOT_EXAMINED[kind]}: recognised, but not examined yet"
        examination.unexamined.append(Unexamined(file=path, reason=reason))
    return examination
