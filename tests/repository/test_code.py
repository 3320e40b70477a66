"""Code that the configuration leads to, and modules that stand in a library's place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from repository_builder import findings, look, safetensors, write

AUTO = {"auto_map": {"AutoModel": "modeling.Model"}}


def test_code_that_a_key_names_is_reached_and_the_rest_is_not(tmp_path: Path) -> None:
    found = look(tmp_path, {"config.json": AUTO, "modeling.py": "class Model: pass\n", "other.py": "x = 1\n"})
    assert found == [
        ("AIV501", "medium", "config.json"),
        ("AIV502", "low", "other.py"),
        ("AIV501", "medium", "modeling.py"),
    ]


def test_imports_are_followed_and_the_digest_is_in_the_evidence(tmp_path: Path) -> None:
    files = {
        "config.json": AUTO,
        "modeling.py": "from .parts import blocks\nfrom . import more\n",
        "parts/__init__.py": "",
        "parts/blocks.py": "import subprocess\n\ndef go():\n    subprocess.run(['id'])\n",
        "more.py": "import neighbour\n",
        "neighbour.py": "",
        "model.safetensors": safetensors(["a"]),
    }
    code = {item.file: item for item in findings(write(tmp_path, files)) if item.rule == "AIV501"}
    reached = {"modeling.py", "parts/__init__.py", "parts/blocks.py", "more.py", "neighbour.py"}
    assert set(code) == {"config.json", *reached}
    assert code["parts/blocks.py"].severity == "high"
    assert code["parts/__init__.py"].severity == "medium"
    assert code["parts/blocks.py"].evidence["does"] == {"process": ["subprocess.run (line 4)"]}
    assert len(str(code["modeling.py"].evidence["sha256"])) == 64


@pytest.mark.parametrize(
    ("source", "severity"),
    [
        ("import torch\nclass Model(torch.nn.Module): pass\n", "medium"),
        ("import requests\ndef image(url): return requests.get(url)\n", "medium"),
        ("import requests\nrequests.get('http://x')\n", "high"),
        ("import os as o\ndef f(): o.system('x')\n", "high"),
        ("from os import system as s\ndef f(): s('x')\n", "high"),
        ("def f(): exec('x')\nf()\n", "high"),
        ("class A:\n  def __init__(self): eval('x')\nA()\n", "high"),
        ("import os\nx = getattr(os, 'sys' + 'tem')\n", "high"),
        ("def f(x=__import__('os')): pass\n", "high"),
        ("x = [].__class__.__base__.__subclasses__()\n", "high"),
        ("if __name__ == '__main__':\n  import socket\n  socket.socket()\n", "medium"),
        ("import ctypes\nctypes.CDLL('x.so')\n", "high"),
        ("open('x', 'w')\n", "high"),
        ("import torch\nx = torch.load('y')\n", "high"),
        ("import torch\nx = torch.load('y', weights_only=True)\n", "medium"),
        ("not python at all\n", "high"),
        ("(" * 5000, "high"),
        ("x = " + "-" * 200_000 + "1\n", "high"),
    ],
)
def test_code_is_weighed_by_what_it_does(tmp_path: Path, source: str, severity: str) -> None:
    found = look(tmp_path, {"config.json": AUTO, "modeling.py": source})
    assert ("AIV501", severity, "modeling.py") in found


def test_code_in_another_repository_is_said_to_be_there(tmp_path: Path) -> None:
    files = {"config.json": {"auto_map": {"AutoModel": "org/else--modeling.M"}}, "modeling.py": "x = 1\n"}
    found = findings(write(tmp_path, {**files, "model.safetensors": safetensors(["a"])}))
    (key,) = [item for item in found if item.file == "config.json"]
    assert "it is in org/else" in key.message
    assert [item.rule for item in found if item.file == "modeling.py"] == ["AIV502"]


def test_an_architecture_that_transformers_has_needs_no_code(tmp_path: Path) -> None:
    code = {"modeling.py": ""}
    assert ("AIV509", "info", "config.json") in look(tmp_path, {"config.json": {**AUTO, "model_type": "llama"}, **code})
    other = tmp_path / "other"
    assert "AIV509" not in {rule for rule, _, _ in look(other, {"config.json": {**AUTO, "model_type": "own"}, **code})}


@pytest.mark.parametrize(
    "path", ["torch.py", "json.py", "numpy/__init__.py", "safetensors.cpython-311-x86_64-linux-gnu.so", "os.pyc"]
)
def test_a_module_in_the_place_of_a_library_blocks(tmp_path: Path, path: str) -> None:
    content = "x = 1\n" if path.endswith(".py") else b"\x7fELF"
    assert ("AIV506", "high", path) in look(tmp_path, {path: content})


def test_a_module_that_a_pickle_names_blocks(tmp_path: Path) -> None:
    found = look(tmp_path, {"state.pkl": b"\x80\x02cloading\nNet\n.", "loading.py": "", "apart.py": ""})
    assert [item for item in found if item[0] == "AIV506"] == [("AIV506", "high", "loading.py")]


@pytest.mark.parametrize(
    "path", ["modeling.py", "onnx/model.txt", "unet/json.py", "torch.txt", "test.py", "numpy/x.py"]
)
def test_other_modules_and_folders_are_silent(tmp_path: Path, path: str) -> None:
    assert "AIV506" not in {rule for rule, _, _ in look(tmp_path, {path: ""})}


def test_long_names_lead_where_short_ones_do_and_cost_no_more(tmp_path: Path) -> None:
    names = {f"Auto{number}": f"code.model.C{number}" + ".a" * 490 for number in range(2_000)}
    files = {"config.json": {"auto_map": names}, "code/model.py": "import os\nos.system('x')\n"}
    started = time.process_time()
    assert ("AIV501", "high", "code/model.py") in look(tmp_path, files)
    assert time.process_time() - started < 5


def test_a_class_of_its_own_lies_in_the_folder_of_the_part(tmp_path: Path) -> None:
    index = {"_class_name": "P", "unet": ["net", "Net"]}
    found = look(tmp_path, {"model_index.json": index, "unet/net.py": "import os\nos.system('x')\n"})
    assert found == [("AIV501", "medium", "model_index.json"), ("AIV501", "high", "unet/net.py")]


def test_a_file_in_the_folder_of_a_part_stands_in_for_a_library(tmp_path: Path) -> None:
    index = {"_class_name": "P", "unet": ["transformers", "Net"]}
    found = look(tmp_path, {"model_index.json": index, "unet/transformers.py": "x = 1\n"})
    assert ("AIV506", "high", "unet/transformers.py") in found


@pytest.mark.parametrize("library", ["torch.x", "null"])
def test_a_file_called_like_a_part_of_a_library_is_code_of_the_part(tmp_path: Path, library: str) -> None:
    files = {"model_index.json": {"unet": [library, "Net"]}, f"unet/{library}.py": "import os\nos.system('x')\n"}
    assert ("AIV501", "high", f"unet/{library}.py") in look(tmp_path, files)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLmodel", "flavors:\n  python_function:\n    model_code_path: src/agent.py\n"),
        ("config.json", {"model_file": "src/agent.py"}),
        ("sub/config.json", {"model_file": "../src/agent.py"}),
        ("settings.yaml", "anything: ./src/agent.py\n"),
    ],
)
def test_a_python_file_that_a_configuration_names_is_reached(tmp_path: Path, name: str, value: object) -> None:
    found = look(tmp_path, {name: value, "src/agent.py": "import os\nos.system('x')\n"})
    assert ("AIV501", "high", "src/agent.py") in found


def test_the_generation_that_loaders_look_for_is_code_that_runs(tmp_path: Path) -> None:
    found = look(tmp_path, {"custom_generate/generate.py": "import os\ndef generate(): os.system('x')\n"})
    assert found == [("AIV501", "high", "custom_generate/generate.py")]


@pytest.mark.parametrize("cookie", ["# -*- coding: utf-7 -*-", "#!/usr/bin/python\n# vim: set fileencoding=utf_7 :"])
def test_code_in_a_comment_of_another_encoding_is_not_taken_for_a_comment(tmp_path: Path, cookie: str) -> None:
    marker = tmp_path / "ran"
    hidden = f"{cookie}\n# +AAo-open({str(marker)!r}, 'w')\n"
    exec(compile(hidden.encode(), "modeling.py", "exec"), {})
    assert marker.exists()
    found = look(tmp_path / "model", {"config.json": AUTO, "modeling.py": hidden})
    assert ("AIV501", "high", "modeling.py") in found
    plain = look(tmp_path / "plain", {"config.json": AUTO, "modeling.py": "# -*- coding: utf-8 -*-\nx = 1\n"})
    assert ("AIV501", "medium", "modeling.py") in plain


@pytest.mark.parametrize("name", ["__future__.py", "sitecustomize.py", "_pickle.so", "colorama/__init__.py"])
def test_a_module_that_loaders_only_ask_for_is_one_that_they_import(tmp_path: Path, name: str) -> None:
    assert ("AIV506", "high", name) in look(tmp_path, {name: "x = 1\n"})
