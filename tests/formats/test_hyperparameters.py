"""Hyperparameters of Lightning: plain texts in a checkpoint that its loader calls or imports."""

import io
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from lightning.pytorch.core.saving import _ALLOWED_INSTANTIATORS

from aiverify.advisories.loaders import vulnerable
from aiverify.advisories.snapshot import shipped
from aiverify.formats.examine import examine
from aiverify.formats.hyperparameters import _OWN
from aiverify.formats.interface import ScanOptions


def said(tmp_path: Path, hyperparameters: object, *, zipped: bool = True) -> list[tuple[str, str]]:
    file, place = io.BytesIO(), tmp_path / "last.ckpt"
    checkpoint = {"state_dict": {"a": torch.zeros(2)}, "epoch": 1, "hyper_parameters": hyperparameters}
    torch.save(checkpoint, file, _use_new_zipfile_serialization=zipped)
    place.write_bytes(file.getvalue())
    assert torch.load(place, weights_only=True)["epoch"] == 1
    found = examine(place, "last.ckpt", ScanOptions()).findings
    return [(item.rule, item.severity.value) for item in found]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize("name", ["os.system", "mine.build", ["os.system"]])
def test_an_instantiator_that_is_not_lightnings_own_is_found(
    tmp_path: Path, name: object, kind: type, zipped: bool
) -> None:
    assert said(tmp_path, kind({"lr": 0.1, "_instantiator": name}), zipped=zipped) == [("AIV501", "high")]


@pytest.mark.parametrize(("name", "severity"), [("mine.Model", "medium"), ("subprocess.Popen", "high")])
def test_a_class_that_lightnings_own_function_imports_is_found(tmp_path: Path, name: str, severity: str) -> None:
    own = "lightning.pytorch.cli.instantiate_module"
    assert said(tmp_path, {"_instantiator": own, "_class_path": name}) == [("AIV501", severity)]


def test_ordinary_hyperparameters_are_silent(tmp_path: Path) -> None:
    own = "lightning.pytorch.cli.instantiate_module"
    values = {"lr": 0.1, "name": "os.system", "_class_path": "lightning.pytorch.demos.BoringModel"}
    assert said(tmp_path, {**values, "_instantiator": own}) == []
    assert set(_ALLOWED_INSTANTIATORS) == _OWN


@pytest.mark.parametrize("package", ["lightning", "pytorch-lightning"])
def test_an_old_lightning_matters_for_its_checkpoints_alone(package: str) -> None:
    def met(version: str, path: str) -> list[object]:
        found = vulnerable({path: "torch-zip"}, shipped().advisories, {package: version})
        return [item.evidence["id"] for item in found]

    assert met("2.6.5", "last.ckpt") == ["CVE-2026-58659"]
    assert met("2.6.6", "last.ckpt") == met("2.6.5", "model.pt") == []
