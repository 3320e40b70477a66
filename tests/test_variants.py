"""The ways in which files can be loaded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.artifact import FileClass
from aiverify.formats.interface import Format
from aiverify.formats.names import OTHER_FRAMEWORK, file_class
from aiverify.variants import PYTORCH, SAFETENSORS, TRAINING, Member, classes, group

SAFE = Member("model.safetensors", Format.SAFETENSORS)
ZIP = Member("pytorch_model.bin", Format.TORCH_ZIP)
GGUF = Member("model.gguf", Format.GGUF)


def test_loaders_prefer_safetensors_to_pickles_and_those_to_all_else() -> None:
    npz = Member("a.npz", Format.NPZ)
    members = [Member("optimizer.pt", Format.TORCH_ZIP), GGUF, npz, ZIP, SAFE]
    assert list(group(members)) == [SAFETENSORS, PYTORCH, "gguf", "numpy", TRAINING]


@pytest.mark.parametrize(
    "path",
    [
        "optimizer.pt",
        "checkpoint-5/optimizer.bin",
        "scheduler.pt",
        "rng_state.pth",
        "rng_state_3.pth",
        "training_args.bin",
        "scaler.pt",
    ],
)
def test_training_state_is_a_variant_of_its_own(path: str) -> None:
    assert group([Member(path, Format.TORCH_ZIP), ZIP]) == {PYTORCH: (ZIP.path,), TRAINING: (path,)}


@pytest.mark.parametrize("path", ["my_optimizer.pt", "optimizer.pt.bin", "optimizer/model.bin", "training_args.binx"])
def test_a_name_that_only_resembles_training_state_belongs_to_the_weights(path: str) -> None:
    assert group([Member(path, Format.TORCH_ZIP)]) == {PYTORCH: (path,)}


def test_safetensors_called_like_training_state_are_weights() -> None:
    assert group([Member("optimizer.bin", Format.SAFETENSORS)]) == {SAFETENSORS: ("optimizer.bin",)}


@pytest.mark.parametrize("kind", sorted(OTHER_FRAMEWORK))
@pytest.mark.parametrize("native", [SAFE, ZIP])
def test_another_frameworks_file_is_set_aside_only_beside_weights_of_this_one(kind: Format, native: Member) -> None:
    other = Member("other", kind)
    assert classes([other, native], selected=False)["other"] is FileClass.OTHER_FRAMEWORK
    assert classes([other, native], selected=True)["other"] is FileClass.WEIGHTS
    assert classes([other], selected=False)["other"] is FileClass.WEIGHTS


def test_training_state_does_not_set_another_frameworks_weights_aside() -> None:
    assert classes([GGUF, Member("optimizer.pt", Format.TORCH_ZIP)], selected=False)[GGUF.path] is FileClass.WEIGHTS


@given(st.lists(st.builds(Member, st.text(min_size=1), st.sampled_from(Format)), unique_by=lambda item: item.path))
def test_every_weight_file_is_in_exactly_one_variant(members: list[Member]) -> None:
    listed = [path for paths in group(members).values() for path in paths]
    weights = [item for item in members if file_class(item.format) is FileClass.WEIGHTS]
    assert sorted(listed) == sorted(item.path for item in weights if item.format is not Format.RAW)
    assert set(classes(members, selected=False)) == {item.path for item in members}
