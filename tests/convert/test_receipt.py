"""Receipts as documents: in-toto statements after the published schema, and the receipt of a rebuilt index."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import pytest
from end_to_end import SAMPLES, Machine
from jsonschema import Draft202012Validator

from aiverify import __version__, api
from aiverify.convert.proof import check_receipt
from aiverify.convert.proving import DisprovedError, ReceiptError
from aiverify.convert.receipt import FORMAT
from aiverify.progress import Silent

torch = pytest.importorskip("torch")

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "receipt.schema.json").read_text("utf-8"))
INDEX = "model.safetensors.index.json"


def valid(receipt: Path) -> dict:
    statement = json.loads(receipt.read_bytes())
    Draft202012Validator(SCHEMA).validate(statement)
    return statement


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    """The twins, receipts and index of the sharded sample."""
    folder = tmp_path_factory.mktemp("sharded") / "out"
    api.convert(SAMPLES / "checkpoint", folder)
    return folder


@pytest.fixture
def copied(sharded, tmp_path) -> Path:
    return shutil.copytree(sharded, tmp_path / "copy")


def every_kind(path: Path) -> None:
    """A checkpoint with every transform but those of another byte order, and with every kind of lowering."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {
            "copied": torch.ones(2),
            "tied": torch.ones(1),
            "gathered": torch.ones(2, 3).t(),
            "wide": torch.ones(2, dtype=torch.complex128),
            "conj": torch.ones(2, dtype=torch.complex64).conj(),
            "coo": torch.eye(3).to_sparse(),
            "csr": torch.eye(3).to_sparse_csr(),
            "q": torch.quantize_per_tensor(torch.ones(2), 0.5, 1, torch.qint8),
            "c": torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8),
        }
        torch.save({"state_dict": {**state, "again": state["tied"]}, "epoch": 1}, path)


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("salvage", [True, False])
def test_a_receipt_keeps_the_published_schema(tmp_path, digests, salvage):
    every_kind(tmp_path / "model.pt")
    api.convert(tmp_path / "model.pt", tmp_path / "out", lower=True, digests=digests, salvage=salvage)
    statement = valid(tmp_path / "out" / "model.safetensors.receipt.json")
    predicate = statement["predicate"]
    assert predicate["aliases"] == {"again": "tied"}
    assert {item["form"] for item in predicate["lowered"]} == {
        *("pairs", "resolved", "sparse_coo", "sparse_csr", "per_tensor_affine", "per_channel_affine")
    }
    assert {tensor["transform"] for tensor in predicate["tensors"]} == {"copy", "gather", "flip"}
    assert bool(predicate["checks"]["missing"]) is not digests


def test_the_receipt_of_a_deflated_archive_of_the_other_byte_order_keeps_it_too(tmp_path):
    import zipfile

    torch.save({"w": torch.ones(2), "t": torch.ones(2, 3).t(), "e": torch.ones(1)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as old, zipfile.ZipFile(tmp_path / "model.pt", "w") as new:
        for info in old.infolist():
            data = b"big" if info.filename.endswith("/byteorder") else old.read(info)
            method = zipfile.ZIP_DEFLATED if info.filename.endswith("data/2") else zipfile.ZIP_STORED
            new.writestr(info.filename, data, method)
    for digests in (True, False):
        folder = tmp_path / str(digests)
        api.convert(tmp_path / "model.pt", folder, digests=digests)
        predicate = valid(folder / "model.safetensors.receipt.json")["predicate"]
        transforms = {tensor["name"]: tensor["transform"] for tensor in predicate["tensors"]}
        assert transforms == {"w": "byteswap", "t": "gather+byteswap", "e": "inflate"}
        assert predicate["checks"]["checksums_verified"] == (3 if digests else 1)
        assert ("checksums of the archive" in predicate["checks"]["missing"]) is not digests


def test_a_receipt_is_an_in_toto_statement_about_the_twin_of_this_version(sharded):
    receipt = sharded / "model-00001-of-00002.safetensors.receipt.json"
    statement = valid(receipt)
    twin = receipt.with_name(statement["subject"][0]["name"])
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0]["digest"] == {"sha256": hashlib.sha256(twin.read_bytes()).hexdigest()}
    assert statement["predicate"]["format"] == FORMAT == 1
    assert statement["predicate"]["converter"] == {"name": "aiverify-weights", "version": __version__}
    source = SAMPLES / "checkpoint" / "pytorch_model-00001-of-00002.bin"
    assert statement["predicate"]["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def test_the_schema_itself_is_valid_and_refuses_what_is_not_in_it(sharded):
    Draft202012Validator.check_schema(SCHEMA)
    statement = valid(sharded / "model-00001-of-00002.safetensors.receipt.json")
    for change in (
        lambda s: s.update(extra=1),
        lambda s: s["predicate"].update(format=2),
        lambda s: s["predicate"].pop("lowered"),
        lambda s: s["predicate"]["tensors"][0].update(swap=4),
        lambda s: s["predicate"]["tensors"][0].update(transform="gather"),
        lambda s: s["predicate"]["tensors"][0].update(sha256="0"),
        lambda s: s.update(predicateType="https://aiverify-weights.readthedocs.io/index-receipt/v1"),
    ):
        changed = json.loads(json.dumps(statement))
        change(changed)
        assert not Draft202012Validator(SCHEMA).is_valid(changed)


# The receipt of an index


def test_the_receipt_of_an_index_states_the_digests_of_its_shards_and_is_proved(sharded):
    receipt = sharded / f"{INDEX}.receipt.json"
    predicate = valid(receipt)["predicate"]
    index = json.loads((sharded / INDEX).read_bytes())
    assert {item["name"]: item["sha256"] for item in predicate["shards"]} == {
        name: hashlib.sha256((sharded / name).read_bytes()).hexdigest() for name in set(index["weight_map"].values())
    }
    assert predicate["total_size"] == index["metadata"]["total_size"]
    assert predicate["source"] == {"name": "pytorch_model.bin.index.json"}
    proof = check_receipt(receipt, Silent())
    assert (proof.shards, proof.tensors, proof.complete) == (2, len(index["weight_map"]), True)


def test_the_check_of_an_index_is_for_the_command_line_too(copied, tmp_path):
    machine = Machine(tmp_path)
    ran = machine.run("convert", "--check", copied / f"{INDEX}.receipt.json")
    assert ran.code == 0
    assert "names 2 shards" in ran.out
    (copied / INDEX).write_bytes((copied / INDEX).read_bytes() + b" ")
    assert machine.run("convert", "--check", copied / f"{INDEX}.receipt.json").code == 1


def test_a_source_is_not_passed_over_where_the_receipt_names_none(copied):
    with pytest.raises(ReceiptError, match="names no source file"):
        check_receipt(copied / f"{INDEX}.receipt.json", Silent(), source=copied / INDEX)


def flip(path: Path, place: int) -> None:
    raw = path.read_bytes()
    place %= len(raw)
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])


def rewrite(path: Path, change) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


TAMPERING = {
    "a byte of a shard": lambda out: flip(out / "model-00002-of-00002.safetensors", -1),
    "a byte of the index": lambda out: flip(out / INDEX, -3),
    "a shard less": lambda out: rewrite(out / f"{INDEX}.receipt.json", lambda s: s["predicate"]["shards"].pop()),
    "another digest of a shard": lambda out: rewrite(
        out / f"{INDEX}.receipt.json", lambda s: s["predicate"]["shards"][0].update(sha256="0" * 64)
    ),
    "another number of tensors": lambda out: rewrite(
        out / f"{INDEX}.receipt.json", lambda s: s["predicate"]["shards"][0].update(tensors=1)
    ),
    "another size": lambda out: rewrite(out / f"{INDEX}.receipt.json", lambda s: s["predicate"].update(total_size=1)),
    "another digest of the index": lambda out: rewrite(
        out / f"{INDEX}.receipt.json", lambda s: s["subject"][0]["digest"].update(sha256="0" * 64)
    ),
}


@pytest.mark.parametrize("case", TAMPERING)
def test_what_was_tampered_with_is_disproved(copied, case):
    TAMPERING[case](copied)
    with pytest.raises(DisprovedError):
        check_receipt(copied / f"{INDEX}.receipt.json", Silent())


UNREADABLE = {
    "no shards": lambda s: s["predicate"].pop("shards"),
    "shards that are none": lambda s: s["predicate"].update(shards=[1]),
    "a shard elsewhere": lambda s: s["predicate"]["shards"][0].update(name="../x"),
    "an absolute shard": lambda s: s["predicate"]["shards"][0].update(name="/etc/passwd"),
    "a shard twice": lambda s: s["predicate"]["shards"].append(s["predicate"]["shards"][0]),
    "no total": lambda s: s["predicate"].pop("total_size"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_receipt_of_an_index_that_is_none_is_refused(copied, case):
    rewrite(copied / f"{INDEX}.receipt.json", UNREADABLE[case])
    with pytest.raises(ReceiptError):
        check_receipt(copied / f"{INDEX}.receipt.json", Silent())


@pytest.mark.parametrize("name", [INDEX, "model-00001-of-00002.safetensors"])
def test_a_file_that_is_missing_or_broken_cannot_be_checked(copied, name):
    (copied / name).write_bytes(b"x")
    with pytest.raises(ReceiptError):
        check_receipt(copied / f"{INDEX}.receipt.json", Silent())
    (copied / name).unlink()
    with pytest.raises(ReceiptError, match="cannot be read"):
        check_receipt(copied / f"{INDEX}.receipt.json", Silent())


def test_without_digests_the_shards_are_compared_by_what_they_hold(tmp_path):
    api.convert(SAMPLES / "checkpoint", tmp_path / "out", digests=False)
    receipt = tmp_path / "out" / f"{INDEX}.receipt.json"
    assert {item["sha256"] for item in valid(receipt)["predicate"]["shards"]} == {None}
    proof = check_receipt(receipt, Silent())
    assert (proof.shards, proof.complete) == (2, False)
    assert str(proof).endswith("states no digests of them")
    shard = tmp_path / "out" / "model-00002-of-00002.safetensors"
    shutil.copy(tmp_path / "out" / "model-00001-of-00002.safetensors", shard)
    with pytest.raises(DisprovedError, match="other tensors"):
        check_receipt(receipt, Silent())


def test_receipt_and_index_are_the_same_however_often_they_are_made(sharded, tmp_path):
    api.convert(SAMPLES / "checkpoint", tmp_path / "out")
    for receipt in sharded.glob("*.receipt.json"):
        assert receipt.read_bytes() == (tmp_path / "out" / receipt.name).read_bytes()
