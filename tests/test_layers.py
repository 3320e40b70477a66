"""Layers: tensors added up, few enough for a report, and none lost."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from aiverify.formats.many import Subject, examine_many
from aiverify.layers import MOST, Layer, layers, together
from aiverify.pipeline import Options, run
from aiverify.progress import Silent

_names = st.lists(st.sampled_from(["model", "layers", "0", "1", "attn", "weight", ""]), min_size=1, max_size=12)
_tensors = st.lists(
    st.tuples(_names.map(".".join), st.sampled_from(["F32", "BF16"]), st.integers(0, 10**12)), max_size=30
)


def sums(found: tuple[Layer, ...]) -> tuple[int, int]:
    return sum(layer.tensors for layer in found), sum(layer.size for layer in found)


def test_a_layer_is_the_name_without_its_last_part() -> None:
    found = layers("m", [("h.0.attn.weight", "F32", 4), ("h.0.attn.bias", "F32", 2), ("h.0.ln", "F32", 1)])

    assert found == (Layer("m", "h.0.attn", "F32", 2, 6), Layer("m", "h.0", "F32", 1, 1))


def test_types_are_kept_apart() -> None:
    found = layers("m", [("a.weight", "F8_E4M3", 4), ("a.scale", "F32", 2)])

    assert [layer.dtype for layer in found] == ["F8_E4M3", "F32"]


def test_a_name_without_parts_belongs_to_the_file() -> None:
    assert layers("m", [("weight", "F32", 4)]) == (Layer("m", "", "F32", 1, 4),)


def test_names_are_cut_only_as_far_as_there_are_too_many_layers() -> None:
    found = layers("m", [(f"h.{block}.{part}.weight", "F32", 1) for block in range(100) for part in range(10)])

    assert {layer.name for layer in found} == {f"h.{block}" for block in range(100)}


def test_the_layers_of_many_files_are_few() -> None:
    found = together(Layer(f"shard-{number}", "h.0", "F32", 1, 10) for number in range(MOST + 1))

    assert found == (Layer(None, "", "F32", MOST + 1, 10 * (MOST + 1)),)


def test_so_are_layers_of_types_that_nobody_knows() -> None:
    found = together(Layer("m", "", f"T{number}", 1, 1) for number in range(MOST + 1))

    assert found == (Layer(None, "", "other", MOST + 1, MOST + 1),)


def test_a_name_without_end_is_cut() -> None:
    (layer,) = layers("m", [("x" * 10**6 + ".weight", "F32", 1)])

    assert len(layer.name) <= 200


@effort(100)
@given(_tensors)
def test_nothing_is_left_out_of_the_sums(tensors: list[tuple[str, str, int]]) -> None:
    found = layers("m", tensors)

    assert sums(found) == (len(tensors), sum(size for _, _, size in tensors))
    assert len({(layer.name, layer.dtype) for layer in found}) == len(found)
    assert together(found) == found


# --- in a report

FORM = {"h.0.attn.weight": np.zeros((4, 8), np.float32), "h.0.attn.bias": np.zeros(4, np.float16)}


def model(folder: Path) -> Path:
    folder.mkdir()
    save_file(FORM, folder / "model.safetensors")
    return folder


def test_a_report_has_the_layers_of_safetensors_files(tmp_path: Path) -> None:
    found = run(str(model(tmp_path / "m")), Options())

    assert set(found.layers) == {
        Layer("model.safetensors", "h.0.attn", "F32", 1, 128),
        Layer("model.safetensors", "h.0.attn", "F16", 1, 8),
    }


def test_a_report_has_the_layers_of_checkpoints_that_can_be_converted_and_the_digest_of_the_twin(
    tmp_path: Path,
) -> None:
    source = tmp_path / "weights.npz"
    np.savez(source, **FORM)
    found = run(str(source), Options(convert_to=tmp_path / "out"))

    (conversion,) = found.conversions
    assert conversion.output is not None
    assert conversion.sha256 == hashlib.sha256((tmp_path / "out" / conversion.output).read_bytes()).hexdigest()
    assert {(layer.name, layer.dtype, layer.size) for layer in found.layers} == {
        ("h.0.attn", "F32", 128),
        ("h.0.attn", "F16", 8),
    }


def test_layers_reach_the_report_from_another_process(tmp_path: Path) -> None:
    file = model(tmp_path / "m") / "model.safetensors"
    subjects = [Subject(location=file, path="model.safetensors", size=file.stat().st_size)]
    (here,) = examine_many(subjects, progress=Silent(), processes=1)
    (there,) = examine_many(subjects, progress=Silent(), processes=2)

    assert there.layers == here.layers != ()
