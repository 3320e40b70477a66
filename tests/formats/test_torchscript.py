"""TorchScript: what torch itself writes for models that compute, and for ones that reach for files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aiverify.formats.torchscript import judge_source


class Computes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            x = torch.nn.functional.gelu(self.linear(x))
        return x.softmax(0)


class Saves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "written-by-a-model")
        return x


class Maps(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("read-by-a-model", shared=False, size=1)


def rules(module: torch.nn.Module, folder: Path) -> list[str]:
    place = folder / "model.pt"
    torch.jit.save(torch.jit.script(module), place)
    found = []
    with zipfile.ZipFile(place) as archive:
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                found += [item.rule for item in judge_source(archive.read(name), "model.pt", name)]
    return found


def test_a_model_that_computes_is_clean(tmp_path: Path) -> None:
    assert rules(Computes(), tmp_path) == []


def test_a_quantised_model_is_clean(tmp_path: Path) -> None:
    made = torch.ao.quantization.quantize_dynamic(Computes(), {torch.nn.Linear}, dtype=torch.qint8)
    assert rules(made, tmp_path) == []


@pytest.mark.parametrize("module", [Saves, Maps])
def test_a_model_that_reaches_for_files_is_said(tmp_path: Path, module: Callable[[], torch.nn.Module]) -> None:
    assert rules(module(), tmp_path) == ["AIV412"]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        (b"  x = ops.image.read_file(p)", "AIV412"),
        (b"  x = ops . image . write_file(p)", "AIV412"),
        (b"  x = ops.c10d.allreduce_(x)", "AIV412"),
        (b"  x = ops.prim.rpc_sync(x)", "AIV412"),
        (b"  x = ops.aten.save(x, p)", "AIV412"),
        (b"  x = ops.acme.run(x)", "AIV413"),
        (b"  x : __torch__.torch.classes.acme.Engine", "AIV413"),
    ],
)
def test_an_operator_is_judged_by_its_library(source: bytes, rule: str) -> None:
    assert [item.rule for item in judge_source(source, "m.pt", "m/code/a.py")] == [rule]


def test_a_comment_calls_nothing() -> None:
    assert judge_source(b"# ops.acme.run(x)\n  x = ops.image.decode_png(x)\n", "m.pt", "m/code/a.py") == []


def test_source_without_end_is_said_to_be_unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiverify.formats.torchscript.MAX_SOURCE", 10)
    (said,) = judge_source(b"x" * 11, "m.pt", "m/code/a.py")
    assert "11 bytes" in said.reason
