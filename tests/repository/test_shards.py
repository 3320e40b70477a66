"""The index of a sharded checkpoint against its shards; and a repository in the shape of DeepSeek-V3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from repository_builder import findings, look, safetensors, scan, write

from aiverify.pipeline import Options, run
from aiverify.report import Outcome

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def index(weights: dict[str, str], total: object = 12) -> dict[str, object]:
    return {"metadata": {"total_size": total}, "weight_map": weights}


WHOLE = {A: safetensors(["a", "b"]), B: safetensors(["c"]), INDEX: index({"a": A, "b": A, "c": B})}


def test_an_index_that_tells_the_truth_is_silent(tmp_path: Path) -> None:
    assert look(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    ("changed", "severities"),
    [
        ({B: safetensors(["d"])}, ["high", "low"]),
        ({INDEX: index({"a": A, "b": A})}, ["low"]),
        ({INDEX: index({"a": A, "b": A, "c": "other.safetensors"})}, ["high"]),
        ({INDEX: index({"a": A, "b": A, "c": "../other.safetensors"})}, ["high"]),
        ({B: safetensors(["c", "a"])}, ["low", "medium", "low"]),
        ({INDEX: index({"a": A, "b": A, "c": B}, 13)}, ["low"]),
        ({INDEX: index({"a": A, "b": A, "c": B}, "many")}, []),
        ({INDEX: {"metadata": 1}}, ["high"]),
    ],
)
def test_each_disagreement_is_found_by_scan_and_verify_alike(
    tmp_path: Path, changed: dict[str, object], severities: list[str]
) -> None:
    folder = write(tmp_path, {**WHOLE, **changed})
    found = [item for item in findings(folder) if item.rule == "AIV407"]
    assert [item.severity.value for item in found] == severities
    converting = run(str(folder), Options(authenticate=False, engines=()))
    assert [item for item in converting.findings if item.rule == "AIV407"] == found


def test_a_type_that_the_configuration_does_not_name_is_said(tmp_path: Path) -> None:
    weights = safetensors([(f"w{number}", "F32") for number in range(32)])
    files = {"model.safetensors": weights, "config.json": {"torch_dtype": "bfloat16"}}
    assert look(tmp_path, files) == [("AIV511", "info", "config.json")]
    right = {"model.safetensors": weights, "config.json": {"dtype": "float32"}}
    assert look(tmp_path, right) == []


SHARDS, LAYERS, EXPERTS = 163, 62, 8  # the last layer predicts several tokens (MTP)


def deepseek() -> dict[str, object]:
    """163 shards of fp8 weights with the scales of their blocks, in the shape of the published repository."""
    names = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    for layer in range(LAYERS):
        base = f"model.layers.{layer}"
        linear = [f"{base}.self_attn.{part}" for part in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj")]
        mlp = [f"{base}.mlp.experts.{number}.{part}" for number in range(EXPERTS) for part in ("gate_proj", "up_proj")]
        names += [f"{part}.{kind}" for part in (*linear, *mlp) for kind in ("weight", "weight_scale_inv")]
        names.append(f"{base}.input_layernorm.weight")
        if layer == LAYERS - 1:
            names += [f"{base}.{part}.weight" for part in ("enorm", "hnorm", "eh_proj", "shared_head.head")]
    types = {
        name: "F32" if name.endswith("_inv") else "BF16" if "norm" in name or "embed" in name else "F8_E4M3"
        for name in names
    }
    size = {"F32": 4, "BF16": 2, "F8_E4M3": 1}
    shard = {name: f"model-{number % SHARDS + 1:05}-of-000{SHARDS}.safetensors" for number, name in enumerate(names)}
    files: dict[str, object] = {
        path: safetensors([(name, types[name]) for name in names if shard[name] == path])
        for path in sorted(set(shard.values()))
    }
    assert len(files) == SHARDS
    files[INDEX] = index(shard, sum(size[kind] for kind in types.values()))
    files["config.json"] = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_deepseek.DeepseekV3Config",
            "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
        },
        "model_type": "deepseek_v3",
        "num_nextn_predict_layers": 1,
        "quantization_config": {"fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
        "torch_dtype": "bfloat16",
    }
    files["configuration_deepseek.py"] = "from transformers import PretrainedConfig\nclass DeepseekV3Config: pass\n"
    files["modeling_deepseek.py"] = (
        "import torch\nfrom .configuration_deepseek import DeepseekV3Config\nclass DeepseekV3ForCausalLM: pass\n"
    )
    files["tokenizer_config.json"] = {
        "tokenizer_class": "LlamaTokenizerFast",
        "chat_template": "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}",
    }
    files["README.md"] = "# DeepSeek\n\n```shell\npip install -r requirements.txt\n```\n"
    return files


def test_a_repository_in_the_shape_of_deepseek_v3_has_nothing_but_its_remote_code(tmp_path: Path) -> None:
    report = scan(write(tmp_path, deepseek()))
    assert not report.unexamined
    assert [(item.rule, item.severity.value, item.file) for item in report.findings] == [
        ("AIV501", "medium", "config.json"),
        ("AIV501", "medium", "configuration_deepseek.py"),
        ("AIV501", "medium", "modeling_deepseek.py"),
        ("AIV509", "info", "config.json"),
    ]
    assert report.verdict.outcome is Outcome.REVIEW


def test_a_shard_of_it_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    files = deepseek()
    one, two = "model-00007-of-000163.safetensors", "model-00008-of-000163.safetensors"
    files[one], files[two] = files[two], files[one]
    found = findings(write(tmp_path, files))
    assert {item.evidence["tensors"] for item in found if item.rule == "AIV407" and item.severity == "high"}
    assert json.dumps([item.message for item in found]).count("lacks tensors") == 2
