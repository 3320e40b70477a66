"""The files that are measured."""

from __future__ import annotations

from pathlib import Path


def write_checkpoint(file: Path, count: int, side: int) -> None:
    """A bf16 checkpoint of ``count`` tensors of ``side`` by ``side`` elements."""
    import torch

    torch.manual_seed(0)
    state = {f"layers.{n}.weight": torch.randn(side, side).to(torch.bfloat16) for n in range(count)}
    torch.save(state, file)
