"""Distributed checkpoints as PyTorch writes them: no alarm, never a pass, and no archive among them hides."""

from __future__ import annotations

import pickle_builder as b
import pytest
import torch
import torch.distributed.checkpoint as dcp
from zip_builder import Member, archive

from aiverify.formats.content import in_place
from aiverify.formats.distributed import archives_in
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
RUN = b.stream(b.call("os.system", b.text("true")))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("checkpoint")
    state = {**{f"w{number}": torch.ones(40, number + 1) for number in range(20)}, "step": 5, "o": {"a": [1]}}
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return (folder / "__0_0.distcp").read_bytes()


def look(tmp_path, raw: bytes, name: str):
    (tmp_path / "content").write_bytes(raw)
    return examine(tmp_path / "content", name, ScanOptions())


def test_every_archive_of_a_checkpoint_is_examined_and_the_index_is_not_followed(tmp_path, written):
    assert len(archives_in(in_place(written))) == 22
    examination = look(tmp_path, written, "__0_0.distcp")
    assert (examination.format, examination.findings, examination.checkpoint) == (Format.TORCH_ZIP, [], None)
    assert ["which is not followed" in item.reason for item in examination.unexamined] == [True]


def test_a_payload_in_one_of_the_archives_is_found(tmp_path, written):
    (start, end), *_ = archives_in(in_place(written))[5:]
    place = written.index(b"ctorch\n", start, end)
    altered = (
        written[:place] + written[place:end].replace(b"ctorch\nFloatStorage", b"cposix\nsystem      ") + written[end:]
    )
    found = look(tmp_path, altered, "__0_0.distcp").findings
    assert {"AIV301"} <= {item.rule for item in found}


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "model.ckpt"])
def test_archives_in_a_row_are_one_too_many_under_any_other_name(tmp_path, written, name):
    assert "AIV402" in {item.rule for item in look(tmp_path, written, name).findings}


@pytest.mark.parametrize("where", ["before", "behind", "between"])
def test_what_is_no_archive_of_pytorch_is_no_part(tmp_path, written, where):
    (_, middle), *_ = archives_in(in_place(written))
    strange = archive(Member(name=b"evil.pkl", data=RUN))
    raw = {
        "before": b"x" + written,
        "behind": written + strange,
        "between": written[:middle] + strange + written[middle:],
    }[where]
    assert archives_in(in_place(raw)) == []
    assert "AIV402" in {item.rule for item in look(tmp_path, raw, "__0_0.distcp").findings} or where == "before"
    assert look(tmp_path, raw, "__0_0.distcp").unexamined
