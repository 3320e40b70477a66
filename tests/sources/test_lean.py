"""What no loader would read beside safetensors is left alone, and nothing else is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.sources.lean import OTHERS, PICKLES, needless

CASES = {
    "pickle and safetensors": (["model.safetensors", "pytorch_model.bin"], {"pytorch_model.bin"}),
    "no safetensors": (["pytorch_model.bin", "tf_model.h5", "model.onnx"], set()),
    "other frameworks": (
        ["model.safetensors", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "q4.gguf", "rust_model.ot"],
        {"tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "q4.gguf", "rust_model.ot"},
    ),
    "shards and their index": (
        [
            *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)),
            "model.safetensors.index.json",
            *(f"pytorch_model-0000{n}-of-00003.bin" for n in (1, 2, 3)),
            "pytorch_model.bin.index.json",
        ],
        {*(f"pytorch_model-0000{n}-of-00003.bin" for n in (1, 2, 3)), "pytorch_model.bin.index.json"},
    ),
    "a shard is missing": (["model-00001-of-00002.safetensors", "pytorch_model.bin"], set()),
    "another folder": (["unet/model.safetensors", "pytorch_model.bin"], set()),
    "a folder of its own": (
        ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin", "vae/model.bin"],
        {"unet/diffusion_pytorch_model.bin"},
    ),
    "a variant": (
        ["model.fp16.safetensors", "pytorch_model.fp16.bin", "pytorch_model.bin"],
        {"pytorch_model.fp16.bin"},
    ),
    "the same stem": (["v1.safetensors", "v1.ckpt", "v2.ckpt"], {"v1.ckpt"}),
    "no counterpart": (["model.safetensors", "training_args.bin", "optimizer.pt", "extra.pkl"], set()),
    "code and texts": (["model.safetensors", "model.py", "README.md", "model.json"], set()),
    "a shard with no number": (["model-00000-of-00001.safetensors", "pytorch_model.bin"], set()),
}


@pytest.mark.parametrize(("paths", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_left_out_by_name(paths: list[str], expected: set[str]) -> None:
    assert needless(paths) == expected


names = st.lists(
    st.tuples(
        st.sampled_from(["", "a/", "b/c/"]),
        st.sampled_from(["model", "pytorch_model", "x", "model-00001-of-00001", "model-00001-of-00002", ""]),
        st.sampled_from([".safetensors", ".index.json", ".json", ".py", "", *PICKLES, *OTHERS]),
    ).map("".join),
    max_size=8,
    unique=True,
)


@given(names)
def test_only_weights_go_and_only_beside_safetensors(paths: list[str]) -> None:
    gone = needless(paths)
    assert gone <= set(paths)
    assert not any(path.endswith((".safetensors", ".py")) for path in gone)
    assert not gone or any(path.endswith(".safetensors") for path in paths)
    assert needless(path for path in paths if path not in gone) == frozenset()


def test_shards_by_the_thousand_that_are_not_there_keep_nobody_busy() -> None:
    paths = [f"{number}-00001-of-99999.safetensors" for number in range(3000)]
    begin = time.process_time()
    assert needless([*paths, "0.bin"]) == frozenset()
    assert time.process_time() - begin < 3
