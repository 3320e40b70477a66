"""Everything that twins are made of, from the file to the folder of twins, and back by way of the receipt."""

from __future__ import annotations

import io
import json
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from end_to_end import SAMPLES, Machine, files_below
from safetensors import safe_open
from safetensors.numpy import load_file
from tar_builder import old_save

from aiverify import api
from aiverify.convert.proof import check_receipt
from aiverify.progress import Silent
from aiverify.report import Outcome

torch = pytest.importorskip("torch")


def twin_of(folder: Path, name: str) -> dict:
    with safe_open(folder / name, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.offset_keys()}


ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "t": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "big": np.arange(5, dtype=">f4"),
    "scalar": np.float16(3),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_of_arrays_becomes_a_twin_with_a_receipt_that_is_proved(tmp_path, save):
    path = tmp_path / "arrays.npz"
    save(path, **ARRAYS)
    report = api.convert(path, tmp_path / "out")
    assert report.verdict.outcome is Outcome.PASS
    assert report.verdict.variant == "numpy → twin"
    assert files_below(tmp_path / "out").keys() == {"arrays.safetensors", "arrays.safetensors.receipt.json"}
    twin = load_file(tmp_path / "out" / "arrays.safetensors")
    assert twin.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert twin[name].dtype == array.dtype.newbyteorder("=")
        assert twin[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes("C")
    proof = check_receipt(tmp_path / "out" / "arrays.safetensors.receipt.json", Silent(), source=path)
    assert proof.found_in_source == proof.tensors == len(ARRAYS)


def test_a_single_array_becomes_a_twin_too(tmp_path):
    machine = Machine(tmp_path)
    np.save(machine.here / "mean.npy", ARRAYS["t"])
    assert machine.run("convert", "mean.npy", "-o", "out").code == 0
    assert load_file(machine.here / "out" / "mean.safetensors")["array"].tobytes() == ARRAYS["t"].tobytes("C")
    receipt = "out/mean.safetensors.receipt.json"
    ran = machine.run("convert", "--check", receipt, "--source", "mean.npy")
    assert (ran.code, ran.out.strip()) == (
        0,
        "PROVED  mean.safetensors holds 1 tensors as the receipt states; 1 of them were found in the source",
    )


def test_arrays_beside_a_checkpoint_are_left_alone(tmp_path):
    shutil.copytree(SAMPLES / "checkpoint", tmp_path / "model")
    np.save(tmp_path / "model" / "stats.npy", np.array(["a", None], dtype=object))
    report = api.convert(tmp_path / "model", tmp_path / "out")
    assert {item.source for item in report.conversions} == {
        path.name for path in (SAMPLES / "checkpoint").glob("*.bin")
    }


def test_arrays_of_objects_are_no_tensors_and_the_report_says_so(tmp_path):
    np.savez(tmp_path / "a.npz", w=ARRAYS["w"], o=np.array(["a", None], dtype=object))
    report = api.convert(tmp_path / "a.npz", tmp_path / "out")
    assert report.verdict.outcome in (Outcome.ERROR, Outcome.BLOCK)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_becomes_a_twin(tmp_path):
    module = torch.nn.Linear(3, 2)
    torch.export.save(torch.export.export(module, (torch.ones(1, 3),)), tmp_path / "model.pt2")
    report = api.convert(tmp_path / "model.pt2", tmp_path / "out")
    assert report.verdict.outcome is Outcome.PASS
    twin = twin_of(tmp_path / "out", "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in twin.items()} == {
        name: tensor.tolist() for name, tensor in module.state_dict().items()
    }
    receipt = tmp_path / "out" / "model.safetensors.receipt.json"
    assert check_receipt(receipt, Silent(), source=tmp_path / "model.pt2").found_in_source == 2


def test_a_tar_archive_of_the_oldest_versions_becomes_a_twin(tmp_path):
    state = {"w": torch.randn(3, 4).t(), "b": torch.ones(2)}
    (tmp_path / "model.pth").write_bytes(old_save(state))
    api.convert(tmp_path / "model.pth", tmp_path / "out")
    twin = twin_of(tmp_path / "out", "model.safetensors")
    assert all(torch.equal(twin[name], state[name]) for name in state)
    receipt = tmp_path / "out" / "model.safetensors.receipt.json"
    assert check_receipt(receipt, Silent(), source=tmp_path / "model.pth").found_in_source == 2


def lowerable(path: Path) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {
            "wide": torch.ones(2, dtype=torch.complex128) * 2j,
            "conj": torch.full((2,), 1 + 2j, dtype=torch.complex64).conj(),
            "sparse": torch.eye(3).to_sparse(),
            "q": torch.quantize_per_tensor(torch.ones(2), 0.5, 1, torch.qint8),
            "plain": torch.ones(2),
        }
        torch.save(state, path)
    return state


def test_what_safetensors_cannot_hold_is_taken_apart_on_request_alone(tmp_path):
    machine = Machine(tmp_path)
    tmp_path = machine.here
    state = lowerable(tmp_path / "model.pt")
    refused = machine.run("convert", "model.pt", "-o", "out")
    assert refused.code == 2
    assert "--lower would store" in " ".join(refused.out.split())
    assert not (tmp_path / "out").exists()
    ran = machine.run("convert", "model.pt", "-o", "out", "--lower", "--format", "json")
    (conversion,) = ran.report["conversions"]
    assert {"path": "wide", "type": "complex128 tensor, stored as pairs"} in conversion["dropped"]
    twin = twin_of(tmp_path / "out", "model.safetensors")
    assert twin["wide"].tolist() == [[0, 2], [0, 2]]
    assert torch.equal(twin["conj"], state["conj"].resolve_conj())
    assert torch.equal(twin["q.int_repr"], state["q"].int_repr())
    receipt = tmp_path / "out" / "model.safetensors.receipt.json"
    lowered = {item["name"]: item for item in json.loads(receipt.read_bytes())["predicate"]["lowered"]}
    assert lowered.keys() == {"wide", "conj", "sparse", "q"}
    assert (lowered["q"]["scale"], lowered["q"]["zero_point"]) == (0.5, 1)
    proof = check_receipt(receipt, Silent(), source=tmp_path / "model.pt")
    assert proof.found_in_source == proof.tensors == len(twin)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of two checkpoints, one of which cannot be converted."""
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save({"w": torch.ones(2)}, folder / "good.bin")
    torch.save({"w": torch.ones(2, device="meta")}, folder / "meta.bin")
    return folder


def test_one_checkpoint_that_cannot_be_converted_stops_all(mixed, tmp_path):
    report = api.convert(mixed, tmp_path / "out")
    assert report.verdict.outcome is Outcome.ERROR
    assert not (tmp_path / "out").exists()


def test_with_salvage_it_stops_only_itself_and_is_named(mixed, tmp_path):
    report = api.convert(mixed, tmp_path / "out", salvage=True)
    assert report.verdict.outcome is Outcome.ERROR
    assert any(reason.startswith("meta.bin: not converted: ") for reason in report.verdict.reasons)
    assert [item.source for item in report.conversions] == ["good.bin"]
    assert files_below(tmp_path / "out").keys() == {"good.safetensors", "good.safetensors.receipt.json"}
    receipt = json.loads((tmp_path / "out" / "good.safetensors.receipt.json").read_bytes())
    assert receipt["predicate"]["salvaged"] is False
    assert Machine(tmp_path).run("convert", mixed, "-o", "again", "--salvage").code == 2


def test_with_salvage_one_with_damaged_bytes_stops_only_itself(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, value in (("a.bin", 3.0), ("b.bin", 5.0), ("c.bin", 7.0)):
        torch.save({"w": torch.full((64,), value)}, folder / name)
    content = (folder / "b.bin").read_bytes()
    (folder / "b.bin").write_bytes(content.replace(struct.pack("<f", 5.0) * 64, struct.pack("<f", 9.0) * 64))
    failed = Machine(tmp_path).run("convert", folder, "-o", "whole")
    assert failed.code == 2
    assert "its CRC-32 is" in failed.err
    assert not (tmp_path / "whole").exists()
    report = api.convert(folder, tmp_path / "out", salvage=True)
    assert report.verdict.outcome is Outcome.ERROR
    assert any(reason.startswith("b.bin: not converted: storage '0': its CRC-32") for reason in report.verdict.reasons)
    assert {path for path in files_below(tmp_path / "out") if path.endswith("rs")} == {"a.safetensors", "c.safetensors"}
    assert [item.source for item in report.conversions] == ["a.bin", "c.bin"]


def test_a_blocked_one_among_them_marks_every_receipt_as_salvaged(mixed, tmp_path):
    shutil.copy(SAMPLES / "payload" / "pytorch_model.bin", mixed / "payload.bin")
    report = api.convert(mixed, tmp_path / "out", salvage=True)
    assert report.verdict.outcome is Outcome.BLOCK
    assert sorted(item.source for item in report.conversions) == ["good.bin", "payload.bin"]
    for receipt in (tmp_path / "out").glob("*.receipt.json"):
        assert json.loads(receipt.read_bytes())["predicate"]["salvaged"] is True


def test_no_index_is_made_of_a_part_of_its_shards(tmp_path):
    shutil.copytree(SAMPLES / "checkpoint", tmp_path / "model")
    shard = tmp_path / "model" / "pytorch_model-00002-of-00002.bin"
    state = torch.load(shard)
    saved = io.BytesIO()
    torch.save({name: torch.empty(tensor.shape, device="meta") for name, tensor in state.items()}, saved)
    shard.write_bytes(saved.getvalue())
    report = api.convert(tmp_path / "model", tmp_path / "out", salvage=True)
    assert [item.output for item in report.conversions] == ["model-00001-of-00002.safetensors"]
    assert not (tmp_path / "out" / "model.safetensors.index.json").exists()


class Tied(torch.nn.Module):
    """Two layers that share a weight, one of them under a name that comes later."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def test_load_model_of_safetensors_accepts_the_aliases_of_tied_weights(tmp_path):
    from safetensors.torch import load_model, save_model

    trained = Tied()
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    api.convert(tmp_path / "model.pt", tmp_path / "out")
    twin = tmp_path / "out" / "model.safetensors"
    fresh = Tied()
    assert load_model(fresh, twin, strict=True) == (set(), [])
    assert torch.equal(fresh.head.weight, trained.head.weight)
    save_model(trained, str(tmp_path / "own.safetensors"))
    with safe_open(twin, framework="pt") as ours, safe_open(tmp_path / "own.safetensors", framework="pt") as own:
        assert len(ours.metadata()) == 2
        assert {*ours.metadata(), *ours.offset_keys()} >= {"embed.weight", "head.weight"}
        assert {*own.metadata(), *own.offset_keys()} >= {"embed.weight", "head.weight"}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"module": state, "optimizer": None, "global_steps": 7, "dp_world_size": 2},  # DeepSpeed
        lambda state: {"state_dict": state, "epoch": 1, "pytorch-lightning_version": "2.0", "hyper_parameters": {}},
        lambda state: {"ema": state, "model": None, "epoch": 1},
        lambda state: {
            "model_state_dict": state,
            "optimizer_state_dict": {"state": {}, "param_groups": []},
            "loss": 1.0,
        },
    ],
    ids=["deepspeed", "lightning", "ema", "training loop"],
)
def test_the_usual_wrappers_give_the_model_that_is_in_them(tmp_path, wrapped):
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    torch.save(wrapped(state), tmp_path / "model.pt")
    api.convert(tmp_path / "model.pt", tmp_path / "out")
    twin = twin_of(tmp_path / "out", "model.safetensors")
    assert twin.keys() == state.keys()
    assert all(torch.equal(twin[name], state[name]) for name in state)


def test_a_prefix_of_a_parallel_wrapper_is_a_part_of_the_names(tmp_path):
    """Loaders that expect it see it, and those that strip it strip it from the twin, too."""
    state = {"module.a": torch.ones(2), "module.b.c": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    api.convert(tmp_path / "model.pt", tmp_path / "out")
    assert twin_of(tmp_path / "out", "model.safetensors").keys() == state.keys()
