"""Tensors out of a checkpoint that must not be loaded: they can be had, and the verdict stays what it is."""

from __future__ import annotations

import json
from pathlib import Path

from end_to_end import SAMPLES, files_below

from aiverify import api
from aiverify.formats.safetensors import read_header
from aiverify.report import Outcome


def test_nothing_is_written_of_a_blocked_checkpoint_unless_it_is_salvaged(tmp_path: Path) -> None:
    report = api.convert(SAMPLES / "payload", tmp_path / "out", with_config=True)
    assert report.verdict.outcome is Outcome.BLOCK
    assert not (tmp_path / "out").exists()


def test_salvage_takes_the_tensors_lists_the_payload_and_keeps_the_verdict(tmp_path: Path) -> None:
    report = api.convert(SAMPLES / "payload", tmp_path / "out", salvage=True)
    assert report.verdict.outcome is Outcome.BLOCK
    assert {variant.name: variant.outcome for variant in report.variants} == {
        "pytorch": Outcome.BLOCK,
        "pytorch → twin": Outcome.BLOCK,
    }
    assert "AIV301" in {finding.rule for finding in report.findings}
    (conversion,) = report.conversions
    assert conversion.dropped
    receipt = json.loads((tmp_path / "out" / str(conversion.receipt)).read_bytes())["predicate"]
    assert receipt["salvaged"] is True
    assert receipt["dropped"] == [{"path": item.path, "type": item.type} for item in conversion.dropped]
    assert "posix.system" in receipt["pickle"]["globals"]
    twin = tmp_path / "out" / str(conversion.output)
    with twin.open("rb") as file:
        header = read_header(file, twin.stat().st_size)
    assert {entry.name for entry in header.tensors} == {tensor["name"] for tensor in receipt["tensors"]}
    assert len(header.tensors) + len(receipt["aliases"]) == conversion.tensors
    assert b"posix" not in twin.read_bytes()


def test_an_honest_checkpoint_is_not_called_salvaged(tmp_path: Path) -> None:
    report = api.convert(SAMPLES / "checkpoint", tmp_path / "out", salvage=True)
    assert report.verdict.outcome is Outcome.PASS
    for conversion in report.conversions:
        assert json.loads((tmp_path / "out" / str(conversion.receipt)).read_bytes())["predicate"]["salvaged"] is False


def test_a_payload_beside_an_honest_checkpoint_keeps_its_twin_from_being_written(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (SAMPLES / "checkpoint").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "training_args.bin").write_bytes((SAMPLES / "payload" / "pytorch_model.bin").read_bytes())
    report = api.convert(model, tmp_path / "out")
    assert report.verdict.outcome is Outcome.BLOCK
    assert not (tmp_path / "out").exists()
    api.convert(model, tmp_path / "out", salvage=True)
    assert {Path(name).suffix for name in files_below(tmp_path / "out")} == {".safetensors", ".json"}
