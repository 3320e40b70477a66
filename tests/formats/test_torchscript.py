"""TorchScript: what torch itself writes for models that compute, and for ones that reach for files."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aiverify.api import scan
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


def _saved(module: torch.nn.Module) -> tuple[dict[str, bytes], str]:
    """The entries of the program of ``module``, and which of them is the code of the module itself."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(module), saved)
    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (own,) = [name for name in entries if name.endswith("test_torchscript.py")]
    return entries, own


def _packed(entries: dict[str, bytes], place: Path) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


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


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("t = torch\n    t.save(x, {0})", "AIV412"),
        ("o = ops.aten\n    o.save(x, {0})", "AIV412"),
        ("(torch).save(x, {0})", "AIV412"),
        ("torch.\\\nsave(x, {0})", "AIV412"),
        ("_0 = (torch. # nothing\n      save)(x, {0})", "AIV412"),
        ('_0 = "#"\n    (torch).save(x, {0}) # "', "AIV412"),
        ('_0 = getattr(torch, "save")(x, {0})', "AIV412"),
        ('_0 = getattr(torch, "sa" "ve")(x, {0})', "AIV413"),
        ('_0 = getattr(torch, "\\x73ave")(x, {0})', "AIV413"),
        ('g = getattr\n    _0 = g(torch, "sa" "ve")(x, {0})', "AIV413"),
    ],
)
def test_a_name_is_found_however_it_is_written(body: str, rule: str, tmp_path: Path) -> None:
    """Those that PyTorch takes write a file, which shows that they are alive."""
    entries, own = _saved(Computes())
    written, place = tmp_path / "written", tmp_path / "model.pt"
    line = f"    {body.format(json.dumps(str(written)))}\n    return "
    source = entries[own] = entries[own].replace(b"    return ", line.encode(), 1)
    _packed(entries, place)
    try:
        torch.jit.load(place)(torch.ones(4))
    except RuntimeError:
        pytest.skip("this version of PyTorch does not take it")
    finally:
        assert rule in {item.rule for item in judge_source(source, "m.pt", "m/code/a.py")}
    assert written.exists()


def test_code_is_found_in_any_letter_case(tmp_path: Path) -> None:
    place = tmp_path / "model.pt"
    entries, own = _saved(Saves())
    _packed(
        {own.replace("code", "CODE").replace(".py", ".PY") if name == own else name: entries[name] for name in entries},
        place,
    )
    torch.jit.load(place)
    assert any(item.rule == "AIV412" for item in scan(place, engines=()).findings)


def test_what_ordinary_code_writes_hides_nothing() -> None:
    source = b"""class A(Module):
  a : __torch__.torch.nn.modules.linear.Linear
  b : __torch__.torch.classes.quantized.LinearPackedParamsBase
  def forward(self: __torch__.A, x: Tensor) -> Tensor:
    y = getattr(getattr(self.layers, "0"), "1")
    z = torch.format("saved {} \\"ops\\"", ops.prim.NumToTensor(1))
    return (y).forward(x, )
"""
    assert judge_source(source, "m.pt", "m/code/a.py") == []


def test_a_comment_calls_nothing() -> None:
    assert judge_source(b"# ops.acme.run(x)\n  x = ops.image.decode_png(x)\n", "m.pt", "m/code/a.py") == []


def test_source_without_end_is_said_to_be_unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiverify.formats.torchscript.MAX_SOURCE", 10)
    (said,) = judge_source(b"x" * 11, "m.pt", "m/code/a.py")
    assert "11 bytes" in said.reason
