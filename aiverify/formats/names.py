"""What a file's name promises, and the role that a file plays in a load."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from aiverify.artifact import FileClass
from aiverify.formats.interface import Format

_TORCH = frozenset(
    (
        *(Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.TORCH_EXPORT, Format.TORCH_TAR),
        *(Format.PICKLE, Format.ZIP, Format.TAR),
    )
)
_TEXTUAL = frozenset(
    (Format.TEXT, Format.JSON, Format.YAML, Format.EMPTY, Format.PYTHON, Format.SCRIPT, Format.TEMPLATE)
)

_ZIPPED = frozenset((Format.ZIP, Format.TORCH_ZIP, Format.TORCH_EXPORT, Format.NPZ, Format.KERAS))
_COMPRESSED = frozenset((Format.COMPRESSED,))

# A suffix on the left may only hold a format on the right. Suffixes that are not here promise nothing.
_PROMISES: dict[str, frozenset[Format]] = {
    ".safetensors": frozenset((Format.SAFETENSORS,)),
    ".gguf": frozenset((Format.GGUF,)),
    ".tflite": frozenset((Format.TFLITE,)),
    ".msgpack": frozenset((Format.MSGPACK,)),
    ".pb": frozenset((Format.TENSORFLOW,)),
    ".pbtxt": frozenset((Format.TENSORFLOW,)),
    ".pmml": frozenset((Format.PMML,)),
    ".npy": frozenset((Format.NPY,)),
    ".npz": frozenset((Format.NPZ, Format.ZIP)),
    ".h5": frozenset((Format.HDF5,)),
    ".hdf5": frozenset((Format.HDF5,)),
    ".onnx": frozenset((Format.ONNX,)),
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".pt2": frozenset((Format.TORCH_EXPORT, Format.ZIP)),
    ".ckpt": _TORCH | {Format.UNKNOWN},
    ".json": frozenset((Format.JSON, Format.FOREIGN)),  # boosters of XGBoost, and nothing else
    ".zip": _ZIPPED,
    **dict.fromkeys((".mar", ".skops"), _ZIPPED),
    ".keras": frozenset((Format.KERAS, Format.HDF5)),
    # PyTorch calls it a convention to save checkpoints as .tar, whatever torch.save writes; so checkpoint.pth.tar.
    # Source: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html
    ".tar": frozenset((Format.TAR, Format.TORCH_TAR, Format.TORCH_ZIP, Format.TORCH_LEGACY)),
    ".nemo": frozenset((Format.TAR, Format.ZIP, Format.COMPRESSED)),
    ".7z": frozenset((Format.SEVEN_ZIP,)),
    **dict.fromkeys((".rar", ".cab", ".deb", ".iso", ".cpio"), frozenset((Format.ARCHIVE,))),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".tgz", ".tbz2", ".txz"), _COMPRESSED),
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
        *(Format.TORCH_EXPORT, Format.TORCH_TAR),
        *(Format.GGUF, Format.HDF5, Format.ONNX, Format.TENSORFLOW, Format.TFLITE, Format.MSGPACK, Format.TAR),
        *(Format.KERAS, Format.OPENVINO, Format.PMML, Format.RAW, Format.FOREIGN),
        *(Format.COMPRESSED, Format.SEVEN_ZIP, Format.ARCHIVE, Format.UNKNOWN, Format.LFS_POINTER),
    )
)
_CONFIG = frozenset((Format.JSON, Format.YAML, Format.XML, Format.TEMPLATE, Format.SENTENCEPIECE))
_CODE = frozenset((Format.PYTHON, Format.SCRIPT, Format.EXECUTABLE))

# Formats that only a loader of another framework opens, once the artifact has weights for this one.
OTHER_FRAMEWORK = frozenset(
    (
        *(Format.GGUF, Format.HDF5, Format.KERAS, Format.ONNX, Format.TENSORFLOW, Format.TFLITE, Format.MSGPACK),
        *(Format.OPENVINO, Format.PMML, Format.RAW, Format.FOREIGN),
    )
)


# What trainers leave beside the weights to go on from: transformers, accelerate, DeepSpeed.
# Source: transformers/trainer.py and accelerate/utils/constants.py
_TRAINING_STATE = re.compile(
    r"(?:.*/)?(?:training_args|(?:optimizer|scheduler|scaler|sampler|rng_state|random_states|dl_state_dict)(?:_\d+)?"
    r"|custom_checkpoint_\d+|(?:bf16_)?zero_pp_rank_\d+_mp_rank_\d+_optim_states)\.(?:bin|pt|pth|pkl)"
)


def is_training_state(path: str) -> bool:
    """Whether a file of this name keeps the state of a training run, which a load for inference leaves alone."""
    return _TRAINING_STATE.fullmatch(path) is not None


def keeps_promise(path: str, kind: Format) -> bool:
    """Whether a file of format ``kind`` may be called ``path``. An LFS pointer stands in for any content."""
    suffix = PurePosixPath(path.lower()).suffix
    if kind is Format.SAFETENSORS and suffix in _PICKLED:
        return False
    promised = _PROMISES.get(".yaml" if PurePosixPath(path).name == "MLmodel" else suffix)
    return promised is None or kind in promised or kind is Format.LFS_POINTER


def file_class(kind: Format) -> FileClass:
    """The role of a file of format ``kind``, before the rest of the artifact is considered."""
    if kind in _CODE:
        return FileClass.CODE
    if kind in _CONFIG:
        return FileClass.CONFIG
    return FileClass.WEIGHTS if kind in _WEIGHTS else FileClass.INERT
