"""Checkpoints of PyTorch before 0.1.10, built after the layout that ``torch.load`` still reads."""

import struct
import tarfile

import pickle_builder as b
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tar_builder import SYSTEM, storage_of, storages_of, tar, tensor_of, tensors_of, views_of

from aiverify.formats.examine import examine
from aiverify.formats.interface import Examination, Format, ScanOptions

NUMBERS = struct.pack("<6f", *range(6))
MARKER = b"cposix\nsystem\n(S'true'\ntR."


def storages(kind: str = "torch.FloatStorage", raw: bytes = NUMBERS, count: int = 6, views: bytes = b"].") -> bytes:
    described = b.stream(b.tup(b.number(7), b.text("cpu"), b.named(kind)), 2)
    return b.stream(b.number(1), 2) + described + struct.pack("<q", count) + raw + views


def tensors(dimensions: int = 2, geometry: tuple[int, ...] = (2, 3, 3, 1, 0)) -> bytes:
    described = b.stream(b.tup(b.number(8), b.number(7), b.named("torch.FloatTensor")), 2)
    return b.stream(b.number(1), 2) + described + struct.pack("<i4x", dimensions) + struct.pack("<5q", *geometry)


STATE = b.stream(b.dct((b.text("w"), b.persistent(b.text("8")))), 2)
PARTS = {"sys_info": SYSTEM, "storages": storages(), "tensors": tensors(), "pickle": STATE}


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes) -> Examination:
        path = tmp_path / "model.pt"
        path.write_bytes(raw)
        return examine(path, path.name, ScanOptions())

    return look


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_what_torch_loads_is_read_to_the_last_byte(look, tmp_path, form):
    examination = look(tar(PARTS, form))
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(loaded["w"], torch.arange(6.0).reshape(2, 3))
    assert (examination.format, examination.unexamined) == (Format.TORCH_TAR, [])
    assert {item.location.member for item in examination.findings} <= {"pickle", "storages", "tensors"}


ATTACKS = {
    "in the system facts": {"sys_info": MARKER},
    "in the object": {"pickle": MARKER},
    "in the number of storages": {"storages": MARKER},
    "in a storage": {"storages": b.stream(b.number(1), 2) + MARKER},
    "behind the storages": {"storages": storages(views=MARKER)},
    "in the number of tensors": {"tensors": MARKER},
    "in a tensor": {"tensors": b.stream(b.number(1), 2) + MARKER},
    "in the second tensor": {"tensors": b.stream(b.number(2), 2) + tensors()[len(b.stream(b.number(1), 2)) :] + MARKER},
}


@pytest.mark.parametrize("case", ATTACKS)
def test_a_payload_in_any_pickle_is_found(look, case):
    (member,) = ATTACKS[case]
    examination = look(tar({**PARTS, **ATTACKS[case]}))
    (named,) = (item for item in examination.findings if item.rule == "AIV301")
    assert named.location.member == member


BROKEN = {
    "a member is missing": (tar({"sys_info": SYSTEM, "pickle": STATE}), "no PyTorch checkpoint"),
    "a member too many": (tar({**PARTS, "code": MARKER}), "no PyTorch checkpoint"),
    "a link": (tar(PARTS, type=tarfile.SYMTYPE, linkname="x"), "wrong checksum"),
    "a special file": (tar(PARTS, type=b"7"), "no regular files"),
    "a long name": (tar({**PARTS, "x" * 150: b""}), "no regular files"),
    "a wrong checksum": (b"X" + tar(PARTS)[1:], "wrong checksum"),
    "bytes at the end": (tar(PARTS) + b"x", "bytes follow"),
    "a storage of another type": (tar({**PARTS, "storages": storages("os.FloatStorage")}), "unknown type"),
    "a storage that is too long": (tar({**PARTS, "storages": storages(count=1 << 40)}), "ends inside"),
    "a storage of a negative size": (tar({**PARTS, "storages": storages(count=-1)}), "negative size"),
    "bytes behind the storages": (tar({**PARTS, "storages": storages() + b"x"}), "bytes follow"),
    "bytes behind the object": (tar({**PARTS, "pickle": STATE + b"x"}), "bytes follow"),
    "a storage twice": (
        tar({**PARTS, "storages": storages_of(*[storage_of(7, "Float", NUMBERS, 4)] * 2)}),
        "that of another one",
    ),
    "a storage without a number": (
        tar({**PARTS, "storages": storages().replace(b.number(7), b.text("7"))}),
        "without a number",
    ),
    "a view that is none": (tar({**PARTS, "storages": storages(views=b.stream(b.lst(b.number(1)), 2))}), "a view of"),
    "views that are no list": (tar({**PARTS, "storages": storages(views=STATE)}), "not a list"),
    "a view of nothing": (tar({**PARTS, "storages": storages(views=views_of((9, 6, 0, 1)))}), "a view of"),
    "a view too far": (tar({**PARTS, "storages": storages(views=views_of((9, 7, 4, 3)))}), "view that reaches beyond"),
    "a negative view": (
        tar({**PARTS, "storages": storages(views=views_of((9, 7, -1, 3)))}),
        "view that reaches beyond",
    ),
    "a view in the place of its storage": (
        tar({**PARTS, "storages": storages(views=views_of((7, 7, 0, 3)))}),
        "that of another one",
    ),
    "a tensor twice": (
        tar({**PARTS, "tensors": tensors_of(*[tensor_of(8, 7, (1,), (1,))] * 2)}),
        "without a number or a storage",
    ),
    "a tensor of no storage": (
        tar({**PARTS, "tensors": tensors_of(tensor_of(8, 9, (1,), (1,)))}),
        "without a number or a storage",
    ),
    "a tensor too large": (tar({**PARTS, "tensors": tensors(geometry=(2, 3, 3, 2, 0))}), "tensor that reaches beyond"),
    "a tensor too far": (tar({**PARTS, "tensors": tensors(geometry=(2, 3, 3, 1, 1))}), "tensor that reaches beyond"),
    "a tensor before its storage": (
        tar({**PARTS, "tensors": tensors(geometry=(2, 3, 3, 1, -1))}),
        "tensor that reaches beyond",
    ),
    "a negative stride": (tar({**PARTS, "tensors": tensors(geometry=(2, 3, -3, 1, 3))}), "tensor that reaches beyond"),
    "many dimensions": (tar({**PARTS, "tensors": tensors(65)}), "65 dimensions"),
    "negative dimensions": (tar({**PARTS, "tensors": tensors(-1)}), "-1 dimensions"),
    "a number that is none": (tar({**PARTS, "tensors": b.stream(b.text("x"), 2)}), "begin with a number"),
    "too many tensors": (tar({**PARTS, "tensors": b.stream(b.number(10_001), 2)}), "begin with a number"),
    "a broken pickle": (tar({**PARTS, "pickle": STATE[:-1]}), "broken pickle"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_as_torch_wrote_it_is_unexamined(look, case):
    raw, reason = BROKEN[case]
    examination = look(raw)
    assert examination.checkpoint is None
    assert any(reason in item.reason for item in examination.unexamined)


def test_a_member_that_stands_twice_is_unexamined(look):
    raw = tar(PARTS)
    end = raw.rindex(STATE) + 512
    again = tar({"pickle": MARKER})
    assert "stands twice" in look(raw[:end] + again).unexamined[0].reason


def test_an_archive_that_is_cut_is_unexamined(look):
    raw = tar(PARTS)
    end = raw.rindex(STATE) + len(STATE)
    assert look(raw[: end - 1]).unexamined
    assert look(raw[: end - 600]).unexamined


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=3)), min_size=1, max_size=3))
def test_no_alteration_makes_the_reader_raise(tmp_path_factory, changes):
    raw = bytearray(tar(PARTS))
    for place, data in changes:
        raw[place : place + len(data)] = data
    path = tmp_path_factory.getbasetemp() / "any.pt"
    path.write_bytes(raw)
    examination = examine(path, path.name, ScanOptions())
    assert examination.format
