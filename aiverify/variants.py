"""The ways in which an artifact can be loaded, and the one that a load would take.

Loaders prefer safetensors over pickles; files of other frameworks are left alone once there are weights of these two.
Training state (optimiser, scheduler, arguments) is never part of a load for inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiverify.artifact import FileClass
from aiverify.formats.interface import Format
from aiverify.formats.names import OTHER_FRAMEWORK, file_class, is_training_state

SAFETENSORS = "safetensors"
PYTORCH = "pytorch"
NUMPY = "numpy"
TWIN = "pytorch → twin"
NUMPY_TWIN = "numpy → twin"
TRAINING = "training state"

#: The families that twins are made of, the first that is there, and what the variant of their twins is called.
TWINS: Mapping[str, str] = {PYTORCH: TWIN, NUMPY: NUMPY_TWIN}

_FAMILIES: Mapping[Format, str] = {
    Format.SAFETENSORS: SAFETENSORS,
    Format.TORCH_ZIP: PYTORCH,
    Format.TORCH_LEGACY: PYTORCH,
    Format.TORCH_EXPORT: PYTORCH,
    Format.TORCH_TAR: PYTORCH,
    Format.PICKLE: PYTORCH,
    Format.NPY: NUMPY,
    Format.NPZ: NUMPY,
    Format.GGUF: "gguf",
    Format.HDF5: "keras",
    Format.KERAS: "keras",
    Format.ONNX: "onnx",
    Format.TENSORFLOW: "tensorflow",
    Format.TFLITE: "tflite",
    Format.MSGPACK: "flax",
    Format.OPENVINO: "openvino",
    Format.PMML: "pmml",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file as far as variants are concerned."""

    path: str
    format: Format


def classes(members: Sequence[Member], *, selected: bool) -> dict[str, FileClass]:
    """The class of each file. ``selected`` tells that the user chose the files: then none is another framework's."""
    native = any(_family(member) in (SAFETENSORS, PYTORCH) for member in members)
    result = {}
    for member in members:
        other = native and not selected and member.format in OTHER_FRAMEWORK
        result[member.path] = FileClass.OTHER_FRAMEWORK if other else file_class(member.format)
    return result


def group(members: Sequence[Member]) -> dict[str, tuple[str, ...]]:
    """The weight files of each variant, in the order in which a loader would prefer them."""
    families: dict[str, list[str]] = {}
    for member in members:
        family = _family(member)
        if family is not None:
            families.setdefault(family, []).append(member.path)
    order = [SAFETENSORS, PYTORCH, *sorted(set(families) - {SAFETENSORS, PYTORCH, TRAINING}), TRAINING]
    return {name: tuple(families[name]) for name in order if name in families}


def to_convert(families: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The weight files that twins are made of: checkpoints of PyTorch, or if there are none, arrays of numpy."""
    return next((tuple(families[name]) for name in TWINS if name in families), ())


def _family(member: Member) -> str | None:
    if file_class(member.format) is not FileClass.WEIGHTS or member.format is Format.RAW:
        return None  # raw numbers are no way to load anything; they stand beside whatever refers to them
    family = _FAMILIES.get(member.format, "other weights")
    return TRAINING if family == PYTORCH and is_training_state(member.path) else family
