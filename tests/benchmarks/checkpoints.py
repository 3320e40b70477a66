"""The files that are measured."""

from __future__ import annotations

from pathlib import Path


def write_checkpoint(file: Path, count: int, side: int, legacy: bool = False) -> None:
    """A bf16 checkpoint of ``count`` tensors of ``side`` by ``side`` elements, as a zip or in the format before it."""
    import torch

    torch.manual_seed(0)
    drawn = torch.randn(side, side).to(torch.bfloat16)
    state = {f"layers.{n}.weight": drawn + n for n in range(count)}
    torch.save(state, file, _use_new_zipfile_serialization=not legacy)
