"""diffusers: pipelines whose parts are verified one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from end_to_end import Machine
from integration_pages import examples, found, waive

from aiverify.demo.hub import LocalHub

(EXAMPLE,) = examples("diffusers.md")
CODE = """
from diffusers import DDPMPipeline

open(r"{marker}", "a").write("{name}\\n")

class TinyPipeline(DDPMPipeline):
    pass
"""


@pytest.fixture(scope="module")
def expected(served: Path) -> float:
    """A pipeline as safetensors and pickled, and what its weights come to; one that is evil."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    from guarded_files import Payload

    unet = UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    pipeline = DDPMPipeline(unet, DDPMScheduler())
    pipeline.save_pretrained(served / "org" / "pipeline")
    for name in ("pickled", "evil"):
        pipeline.save_pretrained(served / "org" / name, safe_serialization=False)
    state = {**unet.state_dict(), "x": Payload(served / "marker")}
    torch.save(state, served / "org" / "evil" / "unet" / "diffusion_pytorch_model.bin")
    for name in ("unread", "read"):
        (served / "org" / name).mkdir()
        (served / "org" / name / "pipeline.py").write_text(CODE.format(marker=served / "marker", name=name))
    return float(sum(tensor.double().abs().sum() for tensor in unet.state_dict().values()))


@pytest.fixture(scope="module")
def hub(served: Path, expected: float) -> Iterator[LocalHub]:
    with LocalHub(served) as hub:
        yield hub


@pytest.fixture(scope="module")
def loaded(machine: Machine, hub: LocalHub, served: Path) -> dict[str, Any]:
    waive(machine.here / "aiverify.toml", [served / "org" / "read" / "pipeline.py"])
    more = """
from diffusers import DiffusionPipeline

def total(pipeline):
    return float(sum(tensor.double().abs().sum() for tensor in pipeline.unet.state_dict().values()))

say(pipeline=total(pipeline))
say(pickled=total(DDPMPipeline.from_pretrained("org/pickled", use_safetensors=False)))
say(evil=attempt(lambda: DDPMPipeline.from_pretrained("org/evil", use_safetensors=False)))
for name in ("unread", "read"):
    code = dict(custom_pipeline=f"org/{name}", trust_remote_code=True)
    say(**{name: attempt(lambda: DiffusionPipeline.from_pretrained("org/pipeline", **code))})
say(sealed=total(DDPMPipeline.from_pretrained(aiverify.ensure("org/pickled"))))
"""
    return found(machine, EXAMPLE, more, HF_ENDPOINT=hub.endpoint)


@pytest.mark.parametrize("name", ["pipeline", "pickled", "sealed"])
def test_the_pipeline_is_the_same_as_without_the_guard(loaded: dict[str, Any], expected: float, name: str) -> None:
    assert loaded[name] == expected


def test_an_evil_part_is_refused(loaded: dict[str, Any], served: Path) -> None:
    assert loaded["evil"] == "refused"


def test_code_of_a_pipeline_runs_only_if_somebody_read_it(loaded: dict[str, Any], served: Path) -> None:
    assert (loaded["unread"], loaded["read"]) == ("refused", "loaded")
    assert set((served / "marker").read_text().split()) == {"read"}
