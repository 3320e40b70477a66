"""``aiverify convert`` as a user meets it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from end_to_end import SAMPLES, Machine, checkpoint_of_unknown_class, files_below, sample, save_with_torch, weights
from jsonschema import Draft202012Validator

from aiverify.demo.hub import LocalHub

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))
SHARD = "pytorch_model-00001-of-00002.bin"
RECEIPT = "out/model-00001-of-00002.safetensors.receipt.json"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def converted(machine: Machine) -> Machine:
    """A machine on which the sample checkpoint has been converted into ``out``."""
    assert machine.run("convert", SAMPLES / "checkpoint", "-o", "out").code == 0
    return machine


def test_a_checkpoint_is_converted_and_reported(machine: Machine) -> None:
    ran = machine.run("convert", SAMPLES / "checkpoint", "-o", "out", "--format", "json")
    assert ran.code == 0
    Draft202012Validator(SCHEMA).validate(ran.report)
    outputs = {name for item in ran.report["conversions"] for name in (item["output"], item["receipt"])}
    index = {"model.safetensors.index.json", "model.safetensors.index.json.receipt.json"}
    assert set(files_below(machine.here / "out")) == {*outputs, *index}


def test_a_review_that_the_twin_answers_is_a_success(machine: Machine) -> None:
    checkpoint_of_unknown_class(machine.here / "model" / "pytorch_model.bin")
    assert machine.run("verify", "model").code == 1
    assert machine.run("convert", "model", "-o", "out").code == 0


def test_the_command_that_a_report_suggests_is_one_that_works(machine: Machine) -> None:
    checkpoint_of_unknown_class(machine.here / "model" / "pytorch_model.bin")
    ran = machine.run("verify", "model")
    (command,) = (line.strip() for line in ran.out.splitlines() if line.strip().startswith("aiverify convert"))
    assert machine.run(*shlex.split(command)[1:]).code == 0
    assert (machine.here / "converted" / "model.safetensors").is_file()


def test_a_blocked_checkpoint_is_converted_only_for_salvage_and_stays_blocked(machine: Machine) -> None:
    assert machine.run("convert", SAMPLES / "payload", "-o", "out").code == 1
    assert not (machine.here / "out").exists()
    ran = machine.run("convert", SAMPLES / "payload", "-o", "out", "--salvage")
    assert (ran.code, ran.out.split()[0]) == (1, "BLOCK")
    assert (machine.here / "out" / "model.safetensors").is_file()


def test_what_cannot_be_converted_is_an_error(machine: Machine) -> None:
    save_with_torch({"epoch": 3}, machine.here / "model" / "pytorch_model.bin")
    ran = machine.run("convert", "model", "-o", "out")
    assert ran.code == 2
    assert "not converted" in ran.out
    weights(machine.here / "safe")
    ran = machine.run("convert", "safe", "-o", "out")
    assert ran.code == 2
    assert "it has neither PyTorch checkpoints nor numpy arrays" in ran.out
    assert not (machine.here / "out").exists()


def test_a_repository_on_the_hub_is_converted_and_the_receipts_name_its_commit(tmp_path: Path) -> None:
    with LocalHub(SAMPLES.parent) as hub:
        machine = Machine(tmp_path, HF_ENDPOINT=hub.endpoint)
        ran = machine.run("convert", "hf://demo/checkpoint@main", "-o", "out", "--format", "json")
    assert ran.code == 0
    source = json.loads((machine.here / RECEIPT).read_bytes())["predicate"]["source"]
    assert (source["repo"], source["revision"]) == ("demo/checkpoint", ran.report["artifact"]["revision"])


def test_several_targets_get_a_folder_each(machine: Machine) -> None:
    sample("checkpoint", machine.here / "a")
    sample("payload", machine.here / "a")
    ran = machine.run("convert", "a/checkpoint", "a/payload", "-o", "out")
    assert ran.code == 1
    assert {path.name for path in (machine.here / "out").iterdir()} == {"checkpoint"}
    assert "same name" in machine.fails("convert", "a/checkpoint", SAMPLES / "checkpoint", "-o", "twice")


def test_one_target_that_is_no_path_does_not_stop_the_others(machine: Machine) -> None:
    ran = machine.run("convert", SAMPLES / "checkpoint", "a" * 300, "-o", "out")
    assert ran.code == 2
    assert "failed" not in ran.err
    assert (machine.here / "out" / "checkpoint" / "model.safetensors.index.json").is_file()


def test_the_report_can_go_into_a_file(machine: Machine) -> None:
    ran = machine.run("convert", SAMPLES / "checkpoint", "-o", "out", "--format", "json", "--report", "report.json")
    assert (ran.code, ran.out) == (0, "")
    assert json.loads((machine.here / "report.json").read_bytes())["verdict"]["outcome"] == "pass"


def test_a_second_run_keeps_what_stands_and_completes_what_is_missing(converted: Machine) -> None:
    before = files_below(converted.here / "out")
    (converted.here / "out" / "model.safetensors.index.json").unlink()
    (converted.here / "out" / "model-00002-of-00002.safetensors.receipt.json").unlink()
    ran = converted.run("convert", SAMPLES / "checkpoint", "-o", "out", "-v")
    assert ran.code == 0
    assert ran.err.count("its twin stands already") == 2
    assert files_below(converted.here / "out") == before


def test_anything_else_that_stands_in_the_way_is_refused(machine: Machine) -> None:
    (machine.here / "out").mkdir()
    (machine.here / "out" / "model-00002-of-00002.safetensors").write_text("mine")
    assert "exists already" in machine.fails("convert", SAMPLES / "checkpoint", "-o", "out")
    assert files_below(machine.here / "out") == {"model-00002-of-00002.safetensors": b"mine"}


def test_with_its_configuration_beside_it_a_twin_loads_and_gives_the_same_logits(machine: Machine) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    assert machine.run("convert", SAMPLES / "checkpoint", "-o", "out", "--with-config").code == 0
    assert "pytorch_model.bin.index.json" not in files_below(machine.here / "out")
    logits = []
    for folder in (SAMPLES / "checkpoint", machine.here / "out"):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        with torch.no_grad():
            logits.append(model(torch.arange(24).reshape(2, 12)).logits)
    assert torch.equal(*logits)
    assert machine.run("verify", "out").code == 0


def test_configuration_is_not_copied_unless_it_is_asked_for_and_nothing_was_said_against_it(machine: Machine) -> None:
    model = sample("checkpoint", machine.here)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling.Model"}}))
    (model / "modeling.py").write_text("print('run')\n")
    ran = machine.run("convert", "checkpoint", "-o", "out", "--with-config")
    assert ran.code == 1
    assert not {"config.json", "modeling.py"} & set(files_below(machine.here / "out"))
    assert "tokenizer.json" in files_below(machine.here / "out")


def test_without_digests_the_receipt_says_what_is_missing_and_the_source_still_proves_it(machine: Machine) -> None:
    assert machine.run("convert", SAMPLES / "checkpoint", "-o", "out", "--no-digests").code == 0
    statement = json.loads((machine.here / RECEIPT).read_bytes())
    assert statement["subject"][0]["digest"] == {}
    assert statement["predicate"]["checks"]["missing"] == [
        "checksums of the archive",
        "SHA-256 of the source",
        "SHA-256 of the twin",
        "SHA-256 of each tensor",
    ]
    assert "states no digests" in machine.fails("convert", "--check", RECEIPT)
    assert machine.run("convert", "--check", RECEIPT, "--source", SAMPLES / "checkpoint" / SHARD).code == 0
    twin = machine.here / RECEIPT.removesuffix(".receipt.json")
    content = twin.read_bytes()
    twin.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert machine.run("convert", "--check", RECEIPT, "--source", SAMPLES / "checkpoint" / SHARD).code == 1


def test_a_receipt_is_proved_from_the_twin_and_from_the_source(converted: Machine) -> None:
    ran = converted.run("convert", "--check", RECEIPT)
    assert (ran.code, ran.out.split()[0]) == (0, "PROVED")
    ran = converted.run("convert", "--check", RECEIPT, "--source", SAMPLES / "checkpoint" / SHARD, "--format", "json")
    assert ran.code == 0
    assert (ran.report["outcome"], ran.report["found_in_source"]) == ("proved", ran.report["tensors"])


def test_a_receipt_that_lies_is_disproved(converted: Machine) -> None:
    other = SAMPLES / "checkpoint" / "pytorch_model-00002-of-00002.bin"
    ran = converted.run("convert", "--check", RECEIPT, "--source", other)
    assert (ran.code, ran.out.split()[0]) == (1, "DISPROVED")
    twin = converted.here / "out" / "model-00002-of-00002.safetensors"
    ran = converted.run("convert", "--check", RECEIPT, "--twin", twin, "--format", "json")
    assert (ran.code, ran.report["outcome"]) == (1, "disproved")


def test_what_cannot_be_checked_is_an_error(converted: Machine) -> None:
    assert "cannot be read" in converted.fails("convert", "--check", "nowhere.json")
    assert "not a receipt" in converted.fails("convert", "--check", "out/model.safetensors.index.json")
    assert "cannot be read" in converted.fails("convert", "--check", RECEIPT, "--source", "nowhere.bin")
    assert "not a regular file" in converted.fails("convert", "--check", RECEIPT, "--source", "/dev/null")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["model"],
        ["-o", "out"],
        ["model", "--check", "r.json"],
        ["--check", "r.json", "-o", "out"],
        ["model", "-o", "out", "--source", "x"],
        ["model", "-o", "out", "--twin", "x"],
    ],
)
def test_arguments_that_make_no_sense_together_are_errors(machine: Machine, arguments: list[str]) -> None:
    machine.fails("convert", *arguments)
