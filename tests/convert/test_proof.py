"""Receipts checked again: what they state must be so, whoever wrote them."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from checkpoint_builder import GraphBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from aiverify.convert.checkpoint import plan
from aiverify.convert.proof import DisprovedError, Proof, ReceiptError, check_receipt
from aiverify.convert.receipt import PickleFacts
from aiverify.convert.stage import PlannedCheckpoint, convert_checkpoints
from aiverify.progress import Silent


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    """The receipt of a twin with a copied, a strided and an empty tensor; the source is ``m.bin``."""
    build = GraphBuilder()
    root = build.dict(
        {
            "w": build.tensor(build.storage("0", numel=6), 0, (6,), (1,)),
            "t": build.tensor(build.storage("0", numel=6), 0, (2, 3), (1, 2)),
            "e": build.tensor(build.storage("1", numel=0), 0, (0,), (1,)),
        }
    )
    content = bytes(range(24))
    (tmp_path / "m.bin").write_bytes(content)
    item = PlannedCheckpoint(
        path="m.bin",
        location=tmp_path / "m.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        plan=plan(root, build.graph, build.storages, source_size=len(content)),
        pickle=PickleFacts(sha256="00" * 32, globals=(), opcodes=1),
    )
    convert_checkpoints([item], tmp_path / "out", Silent())
    return tmp_path / "out" / "m.safetensors.receipt.json"


def source_of(receipt: Path) -> Path:
    return receipt.parent.parent / "m.bin"


def test_an_honest_receipt_is_proved(receipt):
    assert check_receipt(receipt, Silent()) == Proof(twin="m.safetensors", tensors=3, found_in_source=0)
    proof = check_receipt(receipt, Silent(), source=source_of(receipt))
    assert proof == Proof(twin="m.safetensors", tensors=3, found_in_source=2)


def test_a_twin_that_moved_may_be_named(receipt, tmp_path):
    moved = receipt.with_name("m.safetensors").rename(tmp_path / "elsewhere")
    assert check_receipt(receipt, Silent(), twin=moved).tensors == 3
    with pytest.raises(ReceiptError, match="cannot be read"):
        check_receipt(receipt, Silent())


def fails(receipt: Path, reason: str) -> None:
    with pytest.raises(ReceiptError, match=reason):
        check_receipt(receipt, Silent(), source=source_of(receipt))


def test_a_flipped_byte_in_the_twin_is_found_and_its_tensor_named(receipt):
    twin = receipt.with_name("m.safetensors")
    raw = twin.read_bytes()
    twin.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    fails(receipt, "tensor '[wt]' is not as the receipt states")


def test_a_flipped_byte_in_the_metadata_of_the_twin_is_found(receipt):
    twin = receipt.with_name("m.safetensors")
    twin.write_bytes(twin.read_bytes().replace(b'"pt"', b'"tf"'))
    fails(receipt, "has the SHA-256")


def test_a_twin_that_is_no_safetensors_file_is_refused(receipt):
    receipt.with_name("m.safetensors").write_bytes(b"x")
    fails(receipt, "cannot be read")


def test_another_source_is_refused(receipt):
    source_of(receipt).write_bytes(bytes(24))
    fails(receipt, "m.bin has the SHA-256")


def test_a_missing_source_is_refused(receipt):
    source_of(receipt).unlink()
    fails(receipt, "m.bin cannot be read")


def forge(receipt: Path, change) -> None:
    statement = json.loads(receipt.read_bytes())
    change(statement, {tensor["name"]: tensor for tensor in statement["predicate"]["tensors"]})
    receipt.write_text(json.dumps(statement))


LIES = {
    "another digest of the twin": (lambda s, t: s["subject"][0]["digest"].update(sha256="0"), "the receipt states 0"),
    "another digest of the source": (lambda s, t: s["predicate"]["source"].update(sha256="0"), "the receipt states 0"),
    "another range": (lambda s, t: t["w"]["source"].update(offset=1), "'w' does not stand in m.bin"),
    "a range beyond the file": (lambda s, t: t["w"]["source"].update(length=1 << 40), "'w' does not stand in m.bin"),
    "a negative range": (lambda s, t: t["w"]["source"].update(offset=-1), "number of bytes that is none"),
    "an infinite range": (lambda s, t: t["w"]["source"].update(offset=1e999), "number of bytes that is none"),
    "another length": (lambda s, t: t["w"]["source"].update(length=12), "'w' does not stand in m.bin"),
    "a source without a digest": (lambda s, t: s["predicate"]["source"].update(sha256=None), "a digest is none"),
    "a tensor without a digest": (lambda s, t: t["w"].pop("sha256"), "'w' is not as"),
    "a tensor twice": (lambda s, t: s["predicate"]["tensors"].append(t["w"]), "stands in it twice"),
    "a copy that is none": (lambda s, t: t["t"].update(transform="copy"), "'t' does not stand in m.bin"),
    "another type": (lambda s, t: t["w"].update(dtype="I32"), "'w' is not as"),
    "another shape": (lambda s, t: t["w"].update(shape=[2, 3]), "'w' is not as"),
    "another place": (lambda s, t: t["w"].update(offset=0 if t["w"]["offset"] else 24), "'w' is not as"),
    "another digest of a tensor": (lambda s, t: t["w"].update(sha256="0"), "'w' is not as"),
    "a tensor less": (lambda s, t: s["predicate"]["tensors"].pop(), "other tensors"),
    "a shape that is no list": (lambda s, t: t["w"].update(shape=3), "lacks a fact"),
    "no tensors": (lambda s, t: s["predicate"].pop("tensors"), "lacks a fact"),
    "no subject": (lambda s, t: s["subject"].clear(), "lacks a fact"),
    "a twin elsewhere": (lambda s, t: s["subject"][0].update(name="../m.bin"), "no file beside it"),
    "a twin without a name": (lambda s, t: s["subject"][0].update(name=".."), "no file beside it"),
    "another kind of statement": (lambda s, t: s.update(predicateType="x"), "not a receipt"),
    "another kind of document": (lambda s, t: s.update(_type="x"), "not a receipt"),
    "a twin with a hidden name": (lambda s, t: s["subject"][0].update(name="m\x1b[2J"), "no file beside it"),
    "a later format": (lambda s, t: s["predicate"].update(format=2), "not a receipt"),
    "no predicate": (lambda s, t: s.update(predicate=[]), "not a receipt"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_receipt_that_lies_is_refused(receipt, lie):
    change, reason = LIES[lie]
    forge(receipt, change)
    fails(receipt, reason)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 200_000, b"null"])
def test_a_receipt_that_is_no_statement_is_refused(receipt, content):
    receipt.write_bytes(content)
    fails(receipt, "cannot be read|not a receipt")


def test_a_missing_receipt_is_refused(tmp_path):
    with pytest.raises(ReceiptError, match="cannot be read"):
        check_receipt(tmp_path / "none", Silent())


def undigested(receipt: Path) -> None:
    """Leave out what a conversion without digests leaves out."""

    def change(statement, tensors) -> None:
        statement["subject"][0]["digest"] = {}
        for tensor in tensors.values():
            del tensor["sha256"]

    forge(receipt, change)


def test_a_receipt_without_digests_proves_nothing_by_itself(receipt):
    undigested(receipt)
    with pytest.raises(ReceiptError, match="states no digests") as caught:
        check_receipt(receipt, Silent())
    assert not isinstance(caught.value, DisprovedError)


def test_a_receipt_without_digests_is_proved_by_the_source_as_far_as_tensors_were_copied(receipt):
    undigested(receipt)
    proof = check_receipt(receipt, Silent(), source=source_of(receipt))
    assert proof == Proof(twin="m.safetensors", tensors=3, found_in_source=2, undigested=True)
    assert not proof.complete
    twin = receipt.with_name("m.safetensors")
    raw = twin.read_bytes()
    place = raw.rindex(bytes(range(24)))
    twin.write_bytes(raw[:place] + b"\xff" + raw[place + 1 :])
    with pytest.raises(DisprovedError, match="'w' does not stand in"):
        check_receipt(receipt, Silent(), source=source_of(receipt))


def test_what_is_not_as_stated_is_told_from_what_cannot_be_read(receipt, tmp_path):
    with pytest.raises(DisprovedError):
        check_receipt(receipt, Silent(), source=receipt)
    with pytest.raises(ReceiptError) as caught:
        check_receipt(receipt, Silent(), source=tmp_path / "nowhere")
    assert not isinstance(caught.value, DisprovedError)


@pytest.mark.parametrize("which", ["receipt", "twin", "source"])
def test_a_pipe_is_not_waited_for(receipt, tmp_path, which):
    os.mkfifo(tmp_path / "pipe")
    given = {"receipt": receipt, "twin": receipt.with_name("m.safetensors"), "source": source_of(receipt)}
    given[which] = tmp_path / "pipe"
    with pytest.raises(ReceiptError, match="not a regular file"):
        check_receipt(given["receipt"], Silent(), twin=given["twin"], source=given["source"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_a_receipt_says_the_answer_is_a_proof_or_a_refusal(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "arbitrary"
    folder.mkdir(exist_ok=True)
    tensor = {"name": "w", "dtype": "U8", "shape": [1], "transform": "copy", "offset": 0, "sha256": "0"}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://aiverify-weights.readthedocs.io/conversion-receipt/v1",
        "subject": [{"name": "m", "digest": {"sha256": "0"}}],
        "predicate": {
            "format": 1,
            "source": {"sha256": "0"},
            "tensors": [{**tensor, "source": {"offset": 0, "length": 1}}],
        },
    }
    place: object = statement
    for _ in range(data.draw(st.integers(1, 6))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    (folder / "m").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (folder / "m.receipt.json").write_text(json.dumps(statement))
    with pytest.raises(ReceiptError):
        check_receipt(folder / "m.receipt.json", Silent(), source=folder / "m")
