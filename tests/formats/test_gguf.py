"""GGUF files as the gguf package writes them, and what hostile ones look like."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from fuzzing import effort
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given
from hypothesis import strategies as st

from aiverify.finding import Finding
from aiverify.formats.gguf import examine_gguf
from aiverify.formats.gguf_types import TENSOR_TYPES

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def written(folder: Path, change: Callable[[gguf.GGUFWriter], None] = lambda writer: None, **options: object) -> bytes:
    place = folder / "model.gguf"
    writer = gguf.GGUFWriter(place, "llama", **options)
    writer.add_block_count(2)
    writer.add_token_list(["<s>", "a", "b"])
    writer.add_token_scores([0.0, 1.0, 2.0])
    writer.add_token_types([3, 1, 1])
    writer.add_bos_token_id(0)
    writer.add_tensor("blk.0.weight", np.arange(256, dtype=np.float32).reshape(4, 64))
    writer.add_tensor("odd", np.ones((3, 5), np.float16))
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return place.read_bytes()


def findings(raw: bytes) -> list[Finding]:
    return examine_gguf(raw, "model.gguf").findings


def rules(raw: bytes) -> list[str]:
    return [found.rule for found in findings(raw)]


def test_a_model_of_the_library_is_clean(tmp_path: Path) -> None:
    assert rules(written(tmp_path, lambda writer: writer.add_chat_template(TEMPLATE))) == []


def test_a_model_of_the_other_byte_order_is_clean(tmp_path: Path) -> None:
    assert rules(written(tmp_path, endianess=gguf.GGUFEndian.BIG)) == []


def test_every_tensor_type_has_the_size_that_the_library_gives_it() -> None:
    assert {int(kind): size for kind, size in GGML_QUANT_SIZES.items()} == TENSOR_TYPES


def test_quantised_tensors_are_clean(tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor("q", gguf.quants.quantize(np.ones((4, 64), np.float32), kind), raw_dtype=kind)

    assert rules(written(tmp_path, add)) == []


@pytest.mark.parametrize("name", [None, "tool_use"])
def test_every_chat_template_is_judged(tmp_path: Path, name: str | None) -> None:
    hostile = "{{ messages.__class__.__mro__ }}"

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_chat_template(hostile if name is None else [{"name": name, "template": hostile}])

    assert rules(written(tmp_path, add)) == ["AIV503"]


def test_a_pickle_among_the_values_is_said(tmp_path: Path) -> None:
    raw = written(tmp_path, lambda writer: writer.add_description("cos\nsystem\n(S'true'\ntR."))
    assert rules(raw) == ["AIV411"]


def test_bytes_behind_the_last_tensor_are_said(tmp_path: Path) -> None:
    assert rules(written(tmp_path) + b"#" * 64) == ["AIV414"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda writer: writer.add_bos_token_id(99), "beyond its 3 tokens"),
        (lambda writer: writer.add_array("tokenizer.ggml.scores", [1.0]), "1 elements"),
    ],
    ids=["an id outside of the vocabulary", "too few scores"],
)
def test_a_vocabulary_that_readers_would_run_out_of_is_said(
    tmp_path: Path, change: Callable[[gguf.GGUFWriter], None], reason: str
) -> None:
    def replace(writer: gguf.GGUFWriter) -> None:
        for shard in writer.kv_data:
            shard.pop("tokenizer.ggml.scores", None)
            shard.pop("tokenizer.ggml.bos_token_id", None)
        change(writer)

    (found,) = findings(written(tmp_path, replace))
    assert found.rule == "AIV404"
    assert reason in found.message


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def by_hand(
    *,
    version: int = 3,
    tensors: Sequence[bytes] = (),
    values: Sequence[bytes] = (),
    data: bytes = b"",
    counts: tuple = (),
) -> bytes:
    counts = counts or (len(tensors), len(values))
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(values) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


def tensor(name: bytes = b"t", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


FINE = {"tensors": [tensor()], "data": b"\0" * 32}
HOSTILE = {
    "unknown version": (by_hand(version=77), "version 77"),
    "more tensors than any model": (by_hand(counts=(1 << 60, 0)), "tensors"),
    "more values than any model": (by_hand(counts=(0, 1 << 60)), "values"),
    "a key as long as the address space": (by_hand(values=[struct.pack("<Q", (1 << 64) - 1)]), "a key of"),
    "a string past the end": (by_hand(values=[text(b"k") + struct.pack("<IQ", 8, 1 << 20)]), "ends inside"),
    "an array past the end": (by_hand(values=[text(b"k") + struct.pack("<IIQ", 9, 4, 1 << 20)]), "ends inside"),
    "an array of too much": (by_hand(values=[text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 60)]), "arrays of more"),
    "an array of arrays": (by_hand(values=[text(b"k") + struct.pack("<IIQ", 9, 9, 1)]), "an array of the value type"),
    "an unknown value type": (by_hand(values=[text(b"k") + struct.pack("<I", 99)]), "the value type 99"),
    "a truth value of two": (by_hand(values=[text(b"k") + struct.pack("<IB", 7, 2)]), "a truth value"),
    "the same key twice": (by_hand(values=[text(b"k") + struct.pack("<II", 4, 1)] * 2), "stands twice"),
    "an alignment of zero": (
        by_hand(values=[text(b"general.alignment") + struct.pack("<II", 4, 0)], **FINE),
        "an alignment",
    ),
    "the same tensor twice": (by_hand(tensors=[tensor(), tensor(offset=32)], data=b"\0" * 64), "stands twice"),
    "five dimensions": (by_hand(tensors=[tensor(shape=(1,) * 5)]), "5 dimensions"),
    "a size that overflows": (by_hand(tensors=[tensor(shape=(1 << 40, 1 << 40))]), "overflows"),
    "a size that overflows to zero": (by_hand(tensors=[tensor(shape=(1 << 32, 1 << 32, 4))]), "overflows"),
    "a row that is no whole number of blocks": (by_hand(tensors=[tensor(shape=(33,), kind=2)]), "not a multiple"),
    "an unknown tensor type": (by_hand(tensors=[tensor(kind=999)]), "of type 999"),
    "an offset that is not aligned": (by_hand(tensors=[tensor(offset=5)], data=b"\0" * 64), "not aligned"),
    "an offset past the end": (by_hand(tensors=[tensor(offset=1 << 62)], data=b"\0" * 64), "a hole"),
    "a tensor past the end": (by_hand(tensors=[tensor(shape=(1 << 20,))], data=b"\0" * 64), "behind the file"),
    "two tensors in one place": (by_hand(tensors=[tensor(), tensor(b"u")], data=b"\0" * 64), "overlaps"),
    "a hole between tensors": (by_hand(tensors=[tensor(), tensor(b"u", offset=96)], data=b"\0" * 256), "a hole"),
    "a name that cannot be shown": (by_hand(tensors=[tensor(b"a\x1b[2Jb")]), "cannot be shown"),
    "a name that is too long": (by_hand(tensors=[tensor(b"n" * 65)]), "a tensor name of 65 bytes"),
    "a name that is no text": (by_hand(tensors=[tensor(b"\xff\xfe")]), "not UTF-8"),
    "nothing but the magic": (b"GGUF", "ends inside"),
}


def test_the_files_by_hand_would_be_clean_without_their_fault() -> None:
    assert rules(by_hand(**FINE)) == []


@pytest.mark.parametrize(("raw", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_structure_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    (found,) = findings(raw)
    assert found.rule == "AIV404"
    assert reason in found.message


@effort(100)
@given(st.data())
def test_no_mutation_leaves_the_reader_without_an_answer(data: st.DataObject) -> None:
    raw = bytearray(by_hand(values=[text(b"k") + struct.pack("<I", 8) + text(b"value")], **FINE))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(4, len(raw)))
    assert {found.rule for found in findings(bytes(raw[:cut]))} <= {"AIV404", "AIV411", "AIV414", "AIV503"}
