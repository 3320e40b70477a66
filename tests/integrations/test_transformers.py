"""transformers: models from a Hub and from folders, and code that comes with them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from end_to_end import Machine
from integration_pages import examples, found, waive

from aiverify.demo.hub import LocalHub

FROM_THE_HUB, SEALED, CUSTOM = examples("transformers.md")
KINDS = ("model", "sharded", "pickled", "sharded-pickled")

CONFIGURATION = """
from transformers import PretrainedConfig

class TinyConfig(PretrainedConfig):
    model_type = "tiny"
"""
MODELING = """
import torch
from transformers import PreTrainedModel
from .configuration_tiny import TinyConfig

open(r"{marker}", "a").write("{name} ran\\n")

class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.post_init()
"""
TOTAL = """
def total(model):
    return float(sum(tensor.double().abs().sum() for tensor in model.state_dict().values()))
"""


@pytest.fixture(scope="module")
def expected(served: Path) -> float:
    """Repositories with one and the same model, and what its weights come to; one that is evil."""
    import torch
    from guarded_files import Payload
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = BertModel(config)
    state = model.state_dict()
    org = served / "org"
    model.save_pretrained(org / "model")
    model.save_pretrained(org / "sharded", max_shard_size="2KB")
    for kind in ("pickled", "sharded-pickled", "evil"):
        config.save_pretrained(org / kind)
    torch.save(state, org / "pickled" / "pytorch_model.bin")
    torch.save({**state, "x": Payload(served / "marker")}, org / "evil" / "pytorch_model.bin")
    names = list(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for part, inside in parts.items():
        torch.save({name: state[name] for name in inside}, org / "sharded-pickled" / part)
    index = {"metadata": {}, "weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (org / "sharded-pickled" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return float(sum(tensor.double().abs().sum() for tensor in state.values()))


@pytest.fixture(scope="module")
def hub(served: Path, expected: float) -> Iterator[LocalHub]:
    for name in ("custom", "unread"):
        custom(served / "org" / name, name, served / "marker")
    with LocalHub(served) as hub:
        yield hub


def custom(folder: Path, name: str, marker: Path) -> None:
    """A repository with a class of its own."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    classes = {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", "auto_map": classes}))
    (folder / "configuration_tiny.py").write_text(CONFIGURATION)
    (folder / "modeling_tiny.py").write_text(MODELING.format(marker=marker, name=name))
    save_file({"weight": torch.tensor([1.0, 2.0, 4.0])}, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def loaded(machine: Machine, hub: LocalHub, served: Path) -> dict[str, Any]:
    more = f"""{TOTAL}
say(model=total(model))
for kind in {KINDS[1:]!r}:
    say(**{{kind: total(AutoModel.from_pretrained(f"org/{{kind}}"))}})
say(folder=total(AutoModel.from_pretrained({str(served / "org" / "pickled")!r})))
say(evil=attempt(lambda: AutoModel.from_pretrained("org/evil", weights_only=False)))
exec({SEALED!r})
say(sealed=total(model), held=str(aiverify.ensure("org/pickled")))
"""
    return found(machine, FROM_THE_HUB, more, HF_ENDPOINT=hub.endpoint)


@pytest.mark.parametrize("kind", [*KINDS, "folder", "sealed"])
def test_the_model_is_the_same_as_without_the_guard(loaded: dict[str, Any], expected: float, kind: str) -> None:
    assert loaded[kind] == expected


def test_what_was_loaded_is_in_the_store(loaded: dict[str, Any], machine: Machine, served: Path) -> None:
    files = [file for kind in KINDS for file in (served / "org" / kind).glob("*.safetensors")]
    assert len(files) > 2
    for file in files:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        assert (machine.home / "store" / "blobs" / sha256[:2] / sha256).exists(), file


def test_an_evil_checkpoint_is_refused(loaded: dict[str, Any], served: Path) -> None:
    assert loaded["evil"] == "refused"
    assert "ran" not in marked(served)


def test_the_sealed_snapshot_holds_no_pickle(loaded: dict[str, Any]) -> None:
    assert [path.name for path in Path(loaded["held"]).iterdir() if path.suffix == ".bin"] == []


# code of repositories


def marked(served: Path) -> str:
    marker = served / "marker"
    return marker.read_text() if marker.exists() else ""


@pytest.fixture(scope="module")
def ran_code(machine: Machine, hub: LocalHub, served: Path) -> dict[str, Any]:
    """What became of the code of repositories, in one process. Two files were read: those of org/custom."""
    waive(machine.here / "policy.toml", (served / "org" / "custom").glob("*.py"))
    shutil.copytree(served / "org" / "custom", machine.here / "mine")
    more = f"""{TOTAL}
import pathlib, sys
marker = pathlib.Path({str(served / "marker")!r})
cache = pathlib.Path(_os.environ["HOME"], ".cache", "huggingface", "modules")

def load(name):
    for module in [module for module in sys.modules if module.startswith("transformers_modules")]:
        del sys.modules[module]
    before = marker.read_text() if marker.exists() else ""
    became = attempt(lambda: AutoModel.from_pretrained(name, trust_remote_code=True))
    return [became, (marker.read_text() if marker.exists() else "").removeprefix(before)]

say(weight=model.weight.tolist(), read=marker.read_text(), unread=load("org/unread"))
say(again=load("org/custom"), local=load("./mine"))
with open("mine/modeling_tiny.py", "a") as file:
    file.write("# changed\\n")
say(local_changed=load("./mine"))

(kept,) = cache.glob("transformers_modules/org/custom/*/modeling_tiny.py")
source = kept.read_bytes()
kept.write_bytes(source + b"# changed\\n")
say(kept_changed=load("org/custom"))
kept.write_bytes(source)
say(kept_restored=load("org/custom"))

import marshal
(compiled,) = kept.parent.glob("__pycache__/modeling_tiny.*.pyc")
evil = compile(source + b"open(marker, 'a').write('bytecode ran')\\n", str(kept), "exec")
unchecked = {importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)!r}
compiled.write_bytes(unchecked + marshal.dumps(evil))
say(bytecode=load("org/custom"))
"""
    return found(machine, CUSTOM, more, HF_ENDPOINT=hub.endpoint)


def test_code_that_somebody_read_runs(ran_code: dict[str, Any]) -> None:
    assert ran_code["weight"] == [1, 2, 4]
    assert ran_code["read"] == "custom ran\n"
    for case in ("again", "local", "kept_restored"):
        assert ran_code[case] == ["loaded", "custom ran\n"], case


@pytest.mark.parametrize("case", ["unread", "local_changed", "kept_changed", "bytecode"])
def test_other_code_is_refused_before_a_line_of_it_runs(ran_code: dict[str, Any], case: str) -> None:
    assert ran_code[case] == ["refused", ""]
