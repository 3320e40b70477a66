"""What a file's name promises, and the role that a file plays in a load."""

from __future__ import annotations

from pathlib import PurePosixPath

from aiverify.artifact import FileClass
from aiverify.formats.interface import Format

_TORCH = frozenset((Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.PICKLE, Format.ZIP, Format.TAR))
_TEXTUAL = frozenset(
    (Format.TEXT, Format.JSON, Format.YAML, Format.EMPTY, Format.PYTHON, Format.SCRIPT, Format.TEMPLATE)
)

# A suffix on the left may only hold a format on the right. Suffixes that are not here promise nothing.
_PROMISES: dict[str, frozenset[Format]] = {
    ".safetensors": frozenset((Format.SAFETENSORS,)),
    ".gguf": frozenset((Format.GGUF,)),
    ".npy": frozenset((Format.NPY,)),
    ".npz": frozenset((Format.NPZ, Format.ZIP)),
    ".h5": frozenset((Format.HDF5,)),
    ".hdf5": frozenset((Format.HDF5,)),
    ".onnx": frozenset((Format.ONNX,)),
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH | {Format.UNKNOWN},
    ".json": frozenset((Format.JSON,)),
    **{
        suffix: frozenset((Format.MEDIA,))
        for suffix in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", ".mp4", ".wav")
    },
    **dict.fromkeys((".md", ".txt", ".py", ".yaml", ".yml", ".csv", ".jinja", ".rst", ".toml", ".cfg"), _TEXTUAL),
}

# Names under which a loader unpickles: a tensor file there is read by another program than its content says.
_PICKLED = frozenset((".bin", ".pkl", ".pickle", ".joblib", ".dill", ".dat"))

_WEIGHTS = frozenset(
    (
        *(Format.SAFETENSORS, Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.PICKLE, Format.NPY, Format.NPZ, Format.ZIP),
        *(Format.GGUF, Format.HDF5, Format.ONNX, Format.TENSORFLOW, Format.TFLITE, Format.MSGPACK, Format.TAR),
        *(Format.COMPRESSED, Format.SEVEN_ZIP, Format.UNKNOWN, Format.LFS_POINTER),
    )
)
_CONFIG = frozenset((Format.JSON, Format.YAML, Format.TEMPLATE, Format.SENTENCEPIECE))
_CODE = frozenset((Format.PYTHON, Format.SCRIPT, Format.EXECUTABLE))

# Formats that only a loader of another framework opens, once the artifact has weights for this one.
OTHER_FRAMEWORK = frozenset((Format.GGUF, Format.HDF5, Format.ONNX, Format.TENSORFLOW, Format.TFLITE, Format.MSGPACK))


def keeps_promise(path: str, kind: Format) -> bool:
    """Whether a file of format ``kind`` may be called ``path``. An LFS pointer stands in for any content."""
    suffix = PurePosixPath(path.lower()).suffix
    if kind is Format.SAFETENSORS and suffix in _PICKLED:
        return False
    promised = _PROMISES.get(suffix)
    return promised is None or kind in promised or kind is Format.LFS_POINTER


def file_class(kind: Format) -> FileClass:
    """The role of a file of format ``kind``, before the rest of the artifact is considered."""
    if kind in _CODE:
        return FileClass.CODE
    if kind in _CONFIG:
        return FileClass.CONFIG
    return FileClass.WEIGHTS if kind in _WEIGHTS else FileClass.INERT
