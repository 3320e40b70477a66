"""Texts that are run as Python: networks and bundles as they are published, and those that reach out."""

from __future__ import annotations

import json

import pytest

from aiverify.formats.config import examine_json, examine_yaml

NETWORK = """
nc: 80
activation: {activation}
scales:
  n: [0.33, 0.25, 1024]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 3, C2f, [128, True]]
  - [-1, 1, {module}, [1024, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 6], 1, Concat, [1]]
  - [[15, 18, 21], 1, Detect, [nc, anchors, {argument}]]
"""


def said(activation: str = "nn.SiLU()", module: str = "SPPF", argument: str = "[64]") -> list[tuple[str, str]]:
    text = NETWORK.format(activation=activation, module=module, argument=argument)
    examination = examine_yaml(text.encode(), "yolo.yaml")
    assert not examination.unexamined
    return [(item.rule, item.severity.value) for item in examination.findings]


@pytest.mark.parametrize("activation", ["nn.SiLU()", "torch.nn.LeakyReLU(0.1, inplace=True)", "nn.Hardswish", "null"])
@pytest.mark.parametrize("argument", ["[64]", "'\"nearest\"'", "nc * 2", "16", "nn.GELU", "True"])
def test_an_ordinary_network_is_silent(activation: str, argument: str) -> None:
    assert said(activation, "torchvision.ops.Permute", argument) == []


@pytest.mark.parametrize(
    "text",
    [
        "\"__import__('os').system('id')\"",
        "\"exec('x')\"",
        "os.system('id')",
        "x.__class__",
        "\"[print(1) for _ in 'a']\"",
        "'(lambda: 1)()'",
        "nn.SiLU(exit())",
        "nn.SiLU().x(1)",
        "\"f'{exit()}'\"",
    ],
)
@pytest.mark.parametrize("place", ["activation", "module", "argument"])
def test_text_that_is_run_is_found_wherever_it_stands(text: str, place: str) -> None:
    assert ("AIV501", "high") in said(**{place: text})


def test_other_tables_may_hold_any_text() -> None:
    assert examine_yaml(b"activation: f(x)\nbackbone: resnet(50)\nhead: [a(b)]\n", "c.yaml").findings == []


def bundle(*texts: str) -> list[tuple[str, str]]:
    value = {"bundle_root": "/workspace", "device": "cpu", "parts": {"list": list(texts)}}
    return [(item.rule, item.severity.value) for item in examine_json(json.dumps(value).encode(), "a.json").findings]


def test_a_bundle_that_runs_its_texts_asks_for_a_look() -> None:
    assert bundle("@device", "${a}", "$", "5 $") == []
    ordinary = ("$import os", "$sorted(glob.glob(os.path.join(@data, '*.nii.gz')))", "$@net.to(@device)")
    assert bundle(*ordinary) == [("AIV501", "medium")]


@pytest.mark.parametrize(
    "text",
    [
        "$os.system('id')",
        "$__import__('os').system('id')",
        "$import subprocess",
        "$exec('x')",
        "$open('/tmp/x', 'w')",
        "$getattr(os, 'sys' + 'tem')('id')",
    ],
)
def test_a_text_of_a_bundle_that_reaches_out_is_graver(text: str) -> None:
    assert ("AIV501", "high") in bundle("$import os", text)


def test_texts_that_no_bundle_holds_are_no_programs() -> None:
    assert examine_json(b'{"price": "$5", "code": "$os.system(1)"}', "a.json").findings == []
