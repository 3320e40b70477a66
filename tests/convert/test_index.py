"""Shard indexes: what they may say, whether it is so, and the names that twins get."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.convert.index import (
    MalformedIndexError,
    ShardIndex,
    check_index,
    examine_index,
    is_index,
    read_index,
    twin_index_path,
    twin_paths,
)
from aiverify.convert.planning import plan_all

PATH = "text/pytorch_model.bin.index.json"
SHARDS = ("text/pytorch_model-00001-of-00002.bin", "text/pytorch_model-00002-of-00002.bin")


def index_of(weight_map: object) -> bytes:
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()


def test_an_index_maps_each_tensor_to_the_path_of_its_shard():
    index = read_index(index_of({"a": "x.bin", "b": "deep/y.bin"}), PATH)
    assert index == ShardIndex(path=PATH, shards={"a": "text/x.bin", "b": "text/deep/y.bin"})
    assert read_index(index_of({"a": "x.bin"}), "i.json").shards == {"a": "x.bin"}


@pytest.mark.parametrize(
    "shard",
    [
        "/etc/passwd",
        "../x.bin",
        "a/../../x",
        "",
        ".",
        "./x",
        "a//b",
        "a\\..\\x",
        "C:x",
        "x\0",
        "x\n",
        "\u202ex",
        3,
        None,
        ["x"],
    ],
)
def test_a_shard_outside_of_the_folder_is_refused(shard):
    with pytest.raises(MalformedIndexError, match="outside the folder"):
        read_index(index_of({"a": shard}), PATH)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 200_000,
        b'{"weight_map": []}',
        b'{"weight_map": {"a": "x", "a": "y"}}',
        b'{"weight_map": {}, "weight_map": {}}',
    ],
)
def test_what_is_no_index_is_refused_and_is_a_finding(data):
    with pytest.raises(MalformedIndexError, match=PATH):
        read_index(data, PATH)
    assert examine_index(index_of({"a": "x"}), PATH, {"text/x": None})[1] == ()
    index, (found,) = examine_index(data, PATH, {})
    assert (index, found.rule, found.file) == (None, "AIV407", PATH)


def test_an_index_larger_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr("aiverify.convert.index.MAX_INDEX", 10)
    with pytest.raises(MalformedIndexError, match="more than 10 bytes"):
        read_index(index_of({"a": "x.bin"}), PATH)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(index_of)
)
def test_whatever_the_bytes_are_the_answer_is_an_index_or_a_refusal(data):
    try:
        index = read_index(data, PATH)
    except MalformedIndexError:
        return
    assert all(path.startswith("text/") and ".." not in path.split("/") for path in index.shards.values())


def test_an_index_that_agrees_with_its_shards_gives_no_finding():
    index = ShardIndex(path=PATH, shards={"a": SHARDS[0], "b": SHARDS[1]})
    assert check_index(index, {SHARDS[0]: {"a"}, SHARDS[1]: {"b"}, "other.bin": {"z"}}) == ()
    assert check_index(index, {SHARDS[0]: None, SHARDS[1]: None}) == ()


def test_every_disagreement_is_a_finding():
    index = ShardIndex(path=PATH, shards={"a": SHARDS[0], "b": SHARDS[0], "c": SHARDS[1]})
    findings = check_index(index, {SHARDS[0]: {"a", "c"}})
    assert [(found.rule, found.severity.value, found.message) for found in findings] == [
        ("AIV407", "high", f"{SHARDS[0]} lacks tensors that the index places there"),
        ("AIV407", "low", f"{SHARDS[0]} holds tensors that the index does not place there"),
        ("AIV407", "high", f"{SHARDS[1]} is missing"),
    ]
    assert findings[0].evidence == {"tensors": 1, "examples": ["b"]}
    assert findings[1].evidence == {"tensors": 1, "examples": ["c"]}


def test_twins_get_the_names_that_loaders_look_for():
    names = {
        "pytorch_model.bin": "model.safetensors",
        "pytorch_model.fp16.bin": "model.fp16.safetensors",
        "a/pytorch_model-00001-of-00002.bin": "a/model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.bin": "unet/diffusion_pytorch_model.safetensors",
        "x.pt": "x.safetensors",
        "v1.5.CKPT": "v1.5.safetensors",
        "pytorch_model_old.bin": "pytorch_model_old.safetensors",
        "weights-1.0": "weights-1.0.safetensors",
    }
    assert twin_paths(names) == names


def test_twins_that_would_share_a_name_keep_all_of_theirs():
    assert twin_paths(["x.pt", "x.bin", "y.pt"]) == {
        "x.pt": "x.pt.safetensors",
        "x.bin": "x.bin.safetensors",
        "y.pt": "y.safetensors",
    }


@pytest.mark.parametrize(
    ("path", "twin"),
    [
        ("pytorch_model.bin.index.json", "model.safetensors.index.json"),
        ("t/pytorch_model.bin.index.fp16.json", "t/model.safetensors.index.fp16.json"),
        ("diffusion_pytorch_model.bin.index.json", "diffusion_pytorch_model.safetensors.index.json"),
        ("shards.json", "shards.safetensors.index.json"),
    ],
)
def test_the_index_of_the_twins_is_named_as_loaders_expect(path, twin):
    assert twin_index_path(path) == twin


def test_only_the_names_of_indexes_are_taken_for_indexes():
    assert is_index("a/pytorch_model.bin.index.json")
    assert is_index("model.safetensors.index.fp16.json")
    assert not is_index("index.json")
    assert not is_index("model.bin.index.json.txt")


@pytest.mark.parametrize("left", ["nothing", "a pipe", "a folder"])
def test_an_index_that_is_gone_since_the_scan_is_said_and_not_waited_for(tmp_path, left):
    place = tmp_path / "index.json"
    {"nothing": lambda _: None, "a pipe": os.mkfifo, "a folder": os.mkdir}[left](place)
    planning = plan_all([], {PATH: place}, [])
    assert planning.indexes == ()
    assert [(item.rule, item.file) for item in planning.findings] == [("AIV407", PATH)]
    assert "cannot be read any more" in planning.findings[0].message
