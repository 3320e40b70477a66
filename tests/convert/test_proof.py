"""Receipts checked again: what they state must be so, whoever wrote them."""

import hashlib
import json
import os
import shutil
import zlib
from pathlib import Path

import pickle_builder as b
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zip_builder import Member, archive, checkpoint

from aiverify.convert import proof as proving
from aiverify.convert import regathering
from aiverify.convert.checkpoint import plan
from aiverify.convert.proof import Proof, check_receipt
from aiverify.convert.proving import DisprovedError, ReceiptError
from aiverify.convert.receipt import SourceFacts, pickle_facts, receipt
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent


def element(*sizes: int) -> bytes:
    return b.tup(*(b.number(size) for size in sizes))


def view(
    held: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...], more: tuple[bytes, ...] = ()
) -> bytes:
    parts = (held, b.number(offset), element(*size), element(*stride), b"\x89", b.ordered(), *more)
    return b.call("torch._utils._rebuild_tensor_v2", *parts)


def storage(key: str, kind: str, numel: int) -> bytes:
    return b.storage(f"torch.{kind}Storage", key, numel)


NUMBERS = bytes(range(24))
STATE = b.stream(
    b.dct(
        (b.text("w"), view(storage("0", "Float", 6), 0, (6,), (1,))),
        (b.text("t"), view(storage("0", "Float", 6), 0, (2, 3), (1, 2))),
        (b.text("tied"), view(storage("0", "Float", 6), 0, (6,), (1,))),
        (b.text("e"), view(storage("1", "Float", 0), 0, (0,), (1,))),
        (b.text("z"), view(storage("2", "Double", 40), 1, (30,), (1,))),
        (b.text("zt"), view(storage("2", "Double", 40), 0, (3, 4), (1, 3))),
        (b.text("c"), view(storage("3", "ComplexFloat", 3), 0, (3,), (1,), (b.dct((b.text("conj"), b"\x88")),))),
        (b.text("epoch"), b.number(3)),
    )
)
#: What is neither copied nor empty.
MADE = ("t", "z", "zt", "c")


def member(key: str, data: bytes, method: int = 0) -> Member:
    return Member(name=f"archive/data/{key}".encode(), data=data, method=method)


def content(order: bytes = b"little") -> bytes:
    return archive(
        *(entry for entry in checkpoint(STATE) if entry.name != b"archive/byteorder"),
        Member(name=b"archive/byteorder", data=order),
        member("0", NUMBERS),
        member("1", b""),
        member("2", bytes(range(160)) * 2, method=8),
        member("3", NUMBERS[::-1]),
    )


def converted(folder: Path, raw: bytes, *, digests: bool = True) -> Path:
    """The receipt of the twin of the checkpoint ``raw``, which is ``m.bin`` in ``folder``."""
    (folder / "m.bin").write_bytes(raw)
    found = examine(folder / "m.bin", "m.bin", ScanOptions()).checkpoint
    assert found is not None
    made = plan(
        found.graph.root,
        found.graph,
        found.storages,
        byteorder=found.byteorder,
        source_size=len(raw),
        lower=True,
    )
    (folder / "out").mkdir()
    twin = folder / "out" / "m.safetensors"
    taken = write_twin(folder / "m.bin", made, twin, Silent(), digests=digests)
    source = SourceFacts(
        name="m.bin", size=len(raw), sha256=hashlib.sha256(raw).hexdigest(), repo="org/m", revision="1" * 40
    )
    pickle = pickle_facts(found.graph, found.stream_sha256)
    path = folder / "out" / "m.safetensors.receipt.json"
    path.write_bytes(b"".join(receipt(twin.name, source, pickle, made, taken)))
    return path


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> dict[str, Path]:
    """A folder with source, twin and receipt of every kind of tensor, for either byte order and without digests."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("little", "big", "undigested")}
    for name, folder in made.items():
        converted(folder, content(b"big" if name == "big" else b"little"), digests=name != "undigested")
    return made


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to / "copy")
    return to / "copy" / "out" / "m.safetensors.receipt.json"


@pytest.fixture(params=["little", "big"], name="receipt")
def receipt_of_all_kinds(request, honest, tmp_path: Path) -> Path:
    """The receipt of a twin of every kind of tensor, of either byte order; the source is ``m.bin``."""
    return copied(honest[request.param], tmp_path)


@pytest.fixture
def little(honest, tmp_path: Path) -> Path:
    """The same of little-endian tensors alone, many of which are copied."""
    return copied(honest["little"], tmp_path)


def source_of(receipt: Path) -> Path:
    return receipt.parent.parent / "m.bin"


def test_an_honest_receipt_is_proved(receipt):
    assert check_receipt(receipt, Silent()) == Proof(twin="m.safetensors", tensors=6, found_in_source=0)
    proof = check_receipt(receipt, Silent(), source=source_of(receipt))
    assert proof == Proof(twin="m.safetensors", tensors=6, found_in_source=6)
    transforms = {tensor["transform"] for tensor in json.loads(receipt.read_bytes())["predicate"]["tensors"]}
    assert transforms in ({"copy", "gather", "inflate", "flip"}, {"byteswap", "gather+byteswap", "inflate", "flip"})


def test_a_twin_that_moved_may_be_named(receipt, tmp_path):
    moved = receipt.with_name("m.safetensors").rename(tmp_path / "elsewhere")
    assert check_receipt(receipt, Silent(), twin=moved).tensors == 6
    with pytest.raises(ReceiptError, match="cannot be read"):
        check_receipt(receipt, Silent())


def fails(receipt: Path, reason: str) -> None:
    with pytest.raises(ReceiptError, match=reason):
        check_receipt(receipt, Silent(), source=source_of(receipt))


def test_a_flipped_byte_in_the_twin_is_found_and_its_tensor_named(receipt):
    twin = receipt.with_name("m.safetensors")
    raw = twin.read_bytes()
    twin.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    fails(receipt, "tensor '(w|t|z|zt|c)' is not as the receipt states")


def test_a_flipped_byte_in_the_metadata_of_the_twin_is_found(receipt):
    twin = receipt.with_name("m.safetensors")
    twin.write_bytes(twin.read_bytes().replace(b'"pt"', b'"tf"'))
    fails(receipt, "has the SHA-256")


def test_a_twin_that_is_no_safetensors_file_is_refused(receipt):
    receipt.with_name("m.safetensors").write_bytes(b"x")
    fails(receipt, "cannot be read")


def test_another_source_is_refused(receipt):
    raw = source_of(receipt).read_bytes()
    source_of(receipt).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
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
    "a negative range": (lambda s, t: t["w"]["source"].update(offset=-1), "number of bytes that is none"),
    "an infinite range": (lambda s, t: t["w"]["source"].update(offset=1e999), "number of bytes that is none"),
    "a source without a digest": (lambda s, t: s["predicate"]["source"].update(sha256=None), "a digest is none"),
    "a tensor without a digest": (lambda s, t: t["w"].pop("sha256"), "'w' is not as"),
    "a tensor twice": (lambda s, t: s["predicate"]["tensors"].append(t["w"]), "stands in it twice"),
    "another type": (lambda s, t: t["w"].update(dtype="I32"), "'w' is not as"),
    "another shape": (lambda s, t: t["w"].update(shape=[2, 3]), "'w' is not as"),
    "another place": (lambda s, t: t["w"].update(offset=t["w"]["offset"] + 4), "'w' is not as"),
    "another digest of a tensor": (lambda s, t: t["w"].update(sha256="0"), "'w' is not as"),
    "a tensor less": (lambda s, t: s["predicate"]["tensors"].pop(), "other tensors"),
    "a shape that is no list": (lambda s, t: t["w"].update(shape=3), "lacks a fact"),
    "an unknown transform": (lambda s, t: t["w"].update(transform="magic"), "lacks a fact"),
    "no tensors": (lambda s, t: s["predicate"].pop("tensors"), "lacks a fact"),
    "no subject": (lambda s, t: s["subject"].clear(), "lacks a fact"),
    "a twin elsewhere": (lambda s, t: s["subject"][0].update(name="../m.bin"), "no file beside it"),
    "a twin without a name": (lambda s, t: s["subject"][0].update(name=".."), "no file beside it"),
    "another kind of statement": (lambda s, t: s.update(predicateType="x"), "not a receipt"),
    "another kind of document": (lambda s, t: s.update(_type="x"), "not a receipt"),
    "a twin with a hidden name": (lambda s, t: s["subject"][0].update(name="m\x1b[2J"), "no file beside it"),
    "a later format": (lambda s, t: s["predicate"].update(format=2), "not a receipt"),
    "no predicate": (lambda s, t: s.update(predicate=[]), "not a receipt"),
    "another alias": (lambda s, t: s["predicate"]["aliases"].update(tied="z"), "other aliases"),
    "an alias more": (lambda s, t: s["predicate"]["aliases"].update(other="w"), "other aliases"),
    "another size of the twin": (lambda s, t: s["predicate"]["twin"].update(size=1), "another size"),
    "something left behind that is not there": (
        lambda s, t: s["predicate"]["dropped"].append({"path": "x", "type": "int"}),
        "differs in predicate.dropped",
    ),
    "something left behind that is not listed": (
        lambda s, t: s["predicate"]["dropped"].clear(),
        "differs in predicate.dropped",
    ),
    "a name that the pickle does not ask for": (
        lambda s, t: s["predicate"]["pickle"]["globals"].append("os.system"),
        "differs in predicate.pickle.globals",
    ),
    "another storage": (lambda s, t: t["e"]["source"].update(storage="9"), r"differs in predicate.tensors\[\d\]"),
    "a checksum more": (
        lambda s, t: s["predicate"]["checks"].update(checksums_verified=9),
        "differs in predicate.checks.checksums_verified",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_receipt_that_lies_is_refused(receipt, lie):
    change, reason = LIES[lie]
    forge(receipt, change)
    fails(receipt, reason)


COPY_LIES = {
    "another range": lambda entry: entry["source"].update(offset=1),
    "a range beyond the file": lambda entry: entry["source"].update(length=1 << 40),
    "another length": lambda entry: entry["source"].update(length=12),
}


@pytest.mark.parametrize("lie", COPY_LIES)
def test_a_lie_about_where_a_copied_tensor_stood_is_found(little, lie):
    receipt = little
    forge(receipt, lambda statement, tensors: COPY_LIES[lie](tensors["w"]))
    fails(receipt, "'w' does not stand in m.bin")


def test_a_copy_that_is_none_is_found(little):
    receipt = little
    forge(receipt, lambda statement, tensors: tensors["t"].update(transform="copy"))
    fails(receipt, "'t' does not stand in m.bin")


MADE_LIES = {
    "another range": lambda e: e["source"].update(offset=e["source"]["offset"] + 1),
    "a range beyond the file": lambda e: e["source"].update(offset=1 << 40),
    "a longer range": lambda e: e["source"].update(length=e["source"]["length"] + 1),
    "strides that read something else": lambda e: e["strides"].update(stride=[2 for _ in e["strides"]["stride"]]),
    "strides without bounds": lambda e: e["strides"].update(stride=[1 << 62 for _ in e["strides"]["stride"]]),
    "a size without bounds": lambda e: e["strides"].update(size=[1 << 62, 1 << 62]),
    "a negative size": lambda e: e["strides"].update(size=[-1]),
    "elements of another width": lambda e: e["strides"].update(itemsize=16),
    "elements of no width": lambda e: e["strides"].update(itemsize=0),
    "another order of bytes": lambda e: e.update(swap=2),
    "an impossible order of bytes": lambda e: e.update(swap=3),
    "other bits flipped": lambda e: e.update(flip="01" * 8),
    "a pattern that does not fit": lambda e: e.update(flip="01" * 15),
    "a pattern that is none": lambda e: e.update(flip="xy"),
    "strides that are none": lambda e: e.update(strides=3),
    "something inflated that is not": lambda e: e.update(inflated={"length": 1 << 40, "crc32": 0, "skip": 0}),
    "something inflated that is nothing": lambda e: e.update(inflated=[]),
    "another transform": lambda e: e.update(transform="gather" if e["transform"] != "gather" else "flip"),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("lie", MADE_LIES)
@pytest.mark.parametrize("undigested_too", [False, True])
def test_a_lie_about_how_a_tensor_was_made_is_found(receipt, name, lie, undigested_too):
    if undigested_too:
        undigested(receipt)

    def change(statement, tensors):
        before = json.dumps(tensors[name])
        tensors[name].setdefault("strides", {"size": [1], "stride": [1], "itemsize": 1})
        MADE_LIES[lie](tensors[name])
        assert json.dumps(tensors[name]) != before

    forge(receipt, change)
    with pytest.raises(DisprovedError):
        check_receipt(receipt, Silent(), source=source_of(receipt))


@pytest.mark.parametrize("part", ["length", "crc32", "skip"])
def test_a_lie_about_what_was_inflated_is_found(receipt, part):
    forge(receipt, lambda statement, tensors: tensors["z"]["inflated"].update({part: 8}) or None)
    if part == "skip":
        check_receipt(receipt, Silent(), source=source_of(receipt))  # it is 8
        forge(receipt, lambda statement, tensors: tensors["z"]["inflated"].update(skip=16))
    fails(receipt, "'z' (cannot be made again|cannot come about|does not stand)")


def leaves(value, path=()):
    """The places of everything in a statement that is no container."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


#: What the source and the twin cannot tell.
UNPROVABLE = {("predicate", "source", fact) for fact in ("name", "repo", "revision")}
UNPROVABLE |= {("predicate", "salvaged"), ("predicate", "converter", "version")}


@pytest.mark.parametrize("kind", ["little", "big", "undigested"])
def test_every_single_fact_in_a_receipt_is_checked(honest, tmp_path, kind):
    receipt = copied(honest[kind], tmp_path)
    true = receipt.read_bytes()
    assert check_receipt(receipt, Silent(), source=source_of(receipt)).found_in_source == 6
    missed = []
    for path in leaves(json.loads(true)):
        statement = json.loads(true)
        place = statement
        for key in path[:-1]:
            place = place[key]
        old = place[path[-1]]
        place[path[-1]] = old + 1 if type(old) is int else not old if type(old) is bool else f"{old}0"
        receipt.write_text(json.dumps(statement))
        try:
            check_receipt(receipt, Silent(), source=source_of(receipt))
        except ReceiptError:
            continue
        missed.append(path)
    assert set(missed) == UNPROVABLE


def test_every_single_byte_of_source_and_twin_counts(little):
    receipt = little
    for path in (source_of(receipt), receipt.with_name("m.safetensors")):
        true = path.read_bytes()
        for place in range(0, len(true), 23):
            path.write_bytes(true[:place] + bytes([true[place] ^ 1]) + true[place + 1 :])
            with pytest.raises(ReceiptError):
                check_receipt(receipt, Silent(), source=source_of(receipt))
        path.write_bytes(true)


def test_names_that_were_exchanged_in_twin_and_receipt_alike_are_found(tmp_path):
    """Every byte is where the receipt says, and yet it is not the twin of this checkpoint."""
    receipt = converted(tmp_path, content())
    twin = receipt.with_name("m.safetensors")
    raw = twin.read_bytes().replace(b'"w"', b'"q"').replace(b'"t"', b'"w"').replace(b'"q"', b'"t"')
    twin.write_bytes(raw)

    def change(statement, tensors):
        tensors["w"]["name"], tensors["t"]["name"] = "t", "w"
        statement["predicate"]["aliases"] = {"tied": "t"}
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(raw).hexdigest()

    forge(receipt, change)
    assert check_receipt(receipt, Silent()).tensors == 6
    fails(receipt, "the receipt differs in")


def test_a_receipt_of_another_version_that_differs_is_uncheckable_and_not_wrong(little):
    receipt = little
    forge(receipt, lambda statement, tensors: statement["predicate"]["converter"].update(version="0.0"))
    assert check_receipt(receipt, Silent(), source=source_of(receipt)).found_in_source == 6
    forge(receipt, lambda statement, tensors: statement["predicate"]["dropped"].clear())
    with pytest.raises(ReceiptError, match=r"written by version '0\.0'") as caught:
        check_receipt(receipt, Silent(), source=source_of(receipt))
    assert not isinstance(caught.value, DisprovedError)


def test_a_source_that_is_no_checkpoint_disproves_the_receipt(little):
    receipt = little
    raw = source_of(receipt).read_bytes()
    broken = raw.replace(STATE, STATE[:-1] + b"N")
    source_of(receipt).write_bytes(broken)
    digest = hashlib.sha256(broken).hexdigest()
    forge(receipt, lambda statement, tensors: statement["predicate"]["source"].update(sha256=digest))
    fails(receipt, "is not converted by this version")


def test_a_checksum_of_the_archive_that_is_wrong_is_found(little):
    """The tensors are where the receipt says, but a conversion would not have written it."""
    receipt = little
    raw = source_of(receipt).read_bytes()
    stated = zlib.crc32(NUMBERS).to_bytes(4, "little")
    assert raw.count(stated) == 2
    changed = raw.replace(stated, bytes(4))
    source_of(receipt).write_bytes(changed)
    digest = hashlib.sha256(changed).hexdigest()
    forge(receipt, lambda statement, tensors: statement["predicate"]["source"].update(sha256=digest))
    fails(receipt, "its CRC-32 is")


def test_work_that_no_conversion_does_is_refused(receipt, monkeypatch):
    monkeypatch.setattr(proving, "Budget", lambda: regathering.Budget(steps=1))
    fails(receipt, "more work than a conversion may")


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


def test_a_receipt_without_digests_is_proved_by_the_source(honest, tmp_path):
    receipt = copied(honest["undigested"], tmp_path)
    with pytest.raises(ReceiptError, match="states no digests"):
        check_receipt(receipt, Silent())
    proof = check_receipt(receipt, Silent(), source=source_of(receipt))
    assert proof == Proof(twin="m.safetensors", tensors=6, found_in_source=6, undigested=True)
    assert proof.complete
    twin = receipt.with_name("m.safetensors")
    true = twin.read_bytes()
    for name, held in (("w", NUMBERS), ("c", None), ("z", bytes(range(8, 160)))):
        place = true.rindex(held) if held else len(true) - 1
        twin.write_bytes(true[:place] + bytes([true[place] ^ 1]) + true[place + 1 :])
        with pytest.raises(DisprovedError, match=f"'{name}' does not stand in" if held else "does not stand in"):
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
