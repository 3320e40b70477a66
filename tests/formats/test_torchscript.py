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


MAPS = 'torch.from_file("x", True, 4, dtype=6)'
HIDDEN = {
    "the name on the next line": ("torch.from_file(", "torch.\\\nfrom_file("),
    "an attribute by name": ("torch.from_file(", 'getattr(torch, "from_file")('),
    "an attribute of all operators": ("torch.from_file(", "getattr(getattr(ops, 'aten'), 'from_file')("),
    "another name for torch": ("y = torch.", "t = torch\n    y = t."),
    "another name for operators": ("y = torch.", "t = ops.aten\n    y = t."),
    "another name for all operators": ("y = torch.", "t = ops\n    y = t.aten."),
    "another name for the operator": ("y = torch.from_file(", "t = torch.from_file\n    y = t("),
    "parentheses": ("torch.from_file(", "(torch).from_file("),
    "a string that seems to go on": ("y =", "z = '\\\\' # '\n    y ="),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_an_operator_that_runs_under_another_name_is_said(tmp_path: Path, how: str) -> None:
    marker, place = tmp_path / "ran", tmp_path / "model.pt"
    plain = f"  def forward(self: __torch__.Computes,\n    x: Tensor) -> Tensor:\n    y = {MAPS}\n    return y\n"
    hidden = plain.replace(*HIDDEN[how])
    assert hidden != plain
    torch.jit.save(torch.jit.script(Computes()), place)
    with zipfile.ZipFile(place) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if not name.endswith(".debug_pkl")}
    code = next(name for name in entries if b"  def forward" in entries[name] and b"Computes" in entries[name])
    head, _, rest = entries[code].partition(b"  def forward")
    following = rest.partition(b"\nclass ")[2]
    body = hidden.replace('"x"', f'"{marker}"').replace("__torch__.Computes", owner(rest)).encode()
    entries[code] = head + body + (b"class " + following if following else b"")
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    torch.jit.load(place)(torch.zeros(4))
    assert marker.exists()
    assert {item.rule for item in judge_source(hidden.encode(), "m.pt", "m/code/a.py")} & {"AIV412", "AIV413"}


def owner(rest: bytes) -> str:
    """The class that a method belongs to, as torch writes it."""
    return rest.partition(b"self: ")[2].partition(b",")[0].decode()


class Named(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ops = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())

    def forward(self, x: torch.Tensor, kind: str = "torch") -> torch.Tensor:
        if kind == "#":
            raise ValueError("ops are 'torch' # or not \\")
        y: torch.Tensor = self.ops(x)
        return y


def test_attributes_and_strings_of_these_names_are_silent(tmp_path: Path) -> None:
    assert rules(Named(), tmp_path) == []


@pytest.mark.parametrize(
    "text", [b"'''\\'''" * 200_000, b'"\\"' * 500_000, b"__torch__.torch" * 200_000, b"ops." * 500_000]
)
def test_source_that_never_ends_costs_no_more_than_its_length(text: bytes) -> None:
    judge_source(text, "m.pt", "m/code/a.py")


def test_source_without_end_is_said_to_be_unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiverify.formats.torchscript.MAX_SOURCE", 10)
    (said,) = judge_source(b"x" * 11, "m.pt", "m/code/a.py")
    assert "11 bytes" in said.reason
