"""Attacks that once passed, and were found by looking for them."""

import json

import pytest
from attacks.expressions import STYLES, State, new, write

from aiverify.api import scan
from aiverify.report import Outcome


@pytest.mark.parametrize("place", [".git", ".cache/huggingface", ".."])
def test_an_index_that_names_a_file_which_is_not_examined_does_not_pass(place, tmp_path):
    model = tmp_path / "model"
    shard = model / place / "shard.bin"
    model.mkdir()
    shard.parent.mkdir(parents=True, exist_ok=True)
    shard.write_bytes(b"\x80\x02cos\nsystem\n(Vtrue\ntR.")
    index = {"metadata": {}, "weight_map": {"w": f"{place}/shard.bin"}}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (model / "other.bin").write_bytes(b"\x80\x02}.")
    assert scan(model, engines=()).verdict.outcome is not Outcome.PASS


def test_a_module_that_makes_names_without_end_does_not_pass(loading, tmp_path):
    state = {"num_layers": 1 << 50, "_all_weights": [[1]], "bidirectional": False, "bias": True, "proj_size": 0}
    file = tmp_path / "a.pkl"
    file.write_bytes(write(State(new("torch.nn.modules.rnn.LSTM"), state), STYLES["4"]))
    became = loading[True].prove(file=str(file), loader="pickle", marker=str(tmp_path / "1000"), proof="dies")
    assert became != "ran" or scan(file, engines=()).verdict.outcome is not Outcome.PASS
