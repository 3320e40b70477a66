"""What looking into one file gives."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field

from aiverify.errors import AiverifyError
from aiverify.finding import Finding, Unexamined
from aiverify.formats.checkpoint import Checkpoint
from aiverify.layers import Layer
from aiverify.pickles.engine import Engines

#: Device, inode, size, mtime and ctime (in nanoseconds): whether a file is the one that was meant.
State = tuple[int, int, int, int, int]


class FormatError(AiverifyError):
    """A file could not be read at all."""


def state_of(status: os.stat_result) -> State:
    """The state in a stat result."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Format(enum.StrEnum):
    """What a file is, decided by its content."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch-zip"
    TORCH_LEGACY = "torch-legacy"
    TORCH_EXPORT = "torch-export"
    TORCH_TAR = "torch-tar"
    PICKLE = "pickle"
    NPY = "npy"
    NPZ = "npz"
    ZIP = "zip"
    JSON = "json"
    YAML = "yaml"
    XML = "xml"
    OPENVINO = "openvino"
    PMML = "pmml"
    TEMPLATE = "jinja"
    PYTHON = "python"
    SCRIPT = "script"
    TEXT = "text"
    LFS_POINTER = "git-lfs-pointer"
    SENTENCEPIECE = "sentencepiece"
    GGUF = "gguf"
    HDF5 = "hdf5"
    KERAS = "keras"
    ONNX = "onnx"
    TENSORFLOW = "tensorflow"
    TFLITE = "tflite"
    MSGPACK = "msgpack"
    RAW = "raw"
    FOREIGN = "foreign"
    TAR = "tar"
    COMPRESSED = "compressed"
    SEVEN_ZIP = "7z"
    ARCHIVE = "archive"
    EXECUTABLE = "executable"
    MEDIA = "media"
    EMPTY = "empty"
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Examination:
    """What one file turned out to be, what was found in it, and what could not be looked at.

    ``checkpoint`` is there for a checkpoint, or arrays of numpy, that were read whole; ``tensors`` (names) and
    ``layers`` for safetensors. ``awaited`` is what second engines have not said yet: see ``settle``.
    """

    format: Format
    findings: list[Finding] = field(default_factory=list)
    unexamined: list[Unexamined] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    tensors: tuple[str, ...] | None = None
    layers: tuple[Layer, ...] = ()
    awaited: list[Callable[[], Iterable[Finding]]] = field(default_factory=list)

    def settle(self) -> list[Finding]:
        """Wait for what second engines still have to say, add it to ``findings``, and return it."""
        awaited, self.awaited = self.awaited, []
        late = [item for said in awaited for item in said()]
        self.findings += late
        return late


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What the examination of pickles needs: names that the policy trusts, and the engines for second opinions.

    With ``later``, an examination need not wait for these: whoever asks for that has to ``settle`` it.
    """

    trust: Set[str] = frozenset()
    engines: Engines = field(default_factory=Engines)
    later: bool = False
