"""The judge of TorchScript."""

from __future__ import annotations

from aiverify.formats.torchscript import defined, judge_source
from tests.fuzz.reading import target

_SOURCE = b"class M(Module):\n  def forward(self, x):\n    y = ops.image.read_file(x)\n    return torch.save(x, y)\n"


def _examine(data: bytes) -> object:
    defined(data, "__torch__.py")
    return judge_source(data, "model.pt", "code/__torch__.py")


TARGET = target(_examine, lambda: [_SOURCE], "torchscript")
