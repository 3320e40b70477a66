"""Checkpoints of which torch reads something else than what stands in the file at the end: no twin is made of them."""

import struct
import zipfile

import pickle_builder as b
import pytest
from zip_builder import Member, archive, checkpoint

from aiverify import api
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions

torch = pytest.importorskip("torch")

NUMBERS = struct.pack("<4f", 1, 2, 3, 4)
OTHERS = struct.pack("<4f", 5, 6, 7, 8)


def put(value: bytes, place: int = 200) -> bytes:
    return value + b"q" + bytes((place,))


def later(*changes: bytes, place: int = 200) -> bytes:
    """Changes to what was ``put`` aside, which leave nothing on the stack."""
    return b"h" + bytes((place,)) + b"".join(changes) + b"0"


def module(*more: tuple[bytes, bytes], after: bytes = b"") -> bytes:
    tables = (
        (b.text("_parameters"), b.dct((b.text("w"), b.tensor()))),
        (b.text("_buffers"), b.dct((b.text("mean"), b.tensor(b.storage(key="1"))))),
        (b.text("_modules"), b.dct()),
    )
    return b.build(b.new("torch.nn.modules.module.Module"), put(b.dct(*tables, *more), 201)) + after


def left_out(names: bytes) -> tuple[bytes, bytes]:
    return b.text("_non_persistent_buffers_set"), b.call("builtins.set", names)


def wrapped(*values: bytes) -> bytes:
    return b.dct((b.text("m"), b"".join(values)))


GROWN = b.append(b"", b.text("mean"))
CHANGED = {
    "an OrderedDict whose list of pairs grows": wrapped(
        b.call("collections.OrderedDict", put(b.lst(b.tup(b.text("w"), put(b.tensor(), 202))))),
        later(b.append(b"", b.tup(b.text("more"), b"h\xca"))),
    ),
    "flags of a tensor that are set later": wrapped(
        b.tensor(more=(put(b.EMPTY_DICT),)), later(b.text("neg"), b"\x88", b"s")
    ),
    "a set of buffers whose list grows": wrapped(module(left_out(put(b.EMPTY_LIST)), after=later(GROWN))),
    "a module whose state grows": wrapped(
        module(after=later(b.fill(b"", left_out(b.lst(b.text("mean")))), place=201)),
    ),
    "a number that versions of Python read differently": wrapped(
        b.call(
            "torch._utils._rebuild_tensor_v2",
            *(b.storage(size=12), b"I010\n", b.tup(b.number(2)), b.tup(b.number(1)), b"\x89", b.ordered()),
        )
    ),
}
LOADED = {
    "an OrderedDict whose list of pairs grows": {".m.w"},
    "flags of a tensor that are set later": {".m"},
    "a set of buffers whose list grows": {".m.w", ".m.mean"},
    "a module whose state grows": {".m.w", ".m.mean"},
    "a number that versions of Python read differently": {".m"},
}


def tensors(value, path: str = "") -> dict:
    if isinstance(value, torch.Tensor):
        return {path: value.tolist()}
    value = value.state_dict() if isinstance(value, torch.nn.Module) else value
    return {name: held for key, item in value.items() for name, held in tensors(item, f"{path}.{key}").items()}


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("case", CHANGED)
def test_what_a_call_took_is_what_it_was_then(tmp_path, case, salvage):
    held = {"0": NUMBERS + OTHERS * 2 if "number" in case else NUMBERS, "1": OTHERS}
    source = tmp_path / "model.bin"
    source.write_bytes(archive(*checkpoint(b.stream(CHANGED[case], 2), storages=held)))
    loaded = tensors(torch.load(source, weights_only=False))
    assert loaded.keys() == LOADED[case]
    assert all(torch.tensor(value).min() > 0 for value in loaded.values())
    report = api.convert(str(source), tmp_path / "out", salvage=salvage, lower=True)
    assert report.verdict.outcome.exit_code == 2
    assert "is none that torch writes" in report.verdict.reasons[-1]
    assert not (tmp_path / "out").exists()


HONEST = {
    "a set of buffers": wrapped(module(left_out(b.lst(b.text("mean"))))),
    "an OrderedDict of Python 2": wrapped(b.call("collections.OrderedDict", b.lst(b.lst(b.text("w"), b.tensor())))),
}


@pytest.mark.parametrize("case", HONEST)
def test_what_is_whole_when_a_call_takes_it_is_converted(tmp_path, case):
    source = tmp_path / "model.bin"
    source.write_bytes(archive(*checkpoint(b.stream(HONEST[case], 2), storages={"0": NUMBERS, "1": OTHERS})))
    report = api.convert(str(source), tmp_path / "out")
    assert tensors(torch.load(source, weights_only=False)).keys() == {".m.w"}
    assert [item.tensors for item in report.conversions] == [1]
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_byte_order_is_found_by_torch_whatever_the_letter_case_of_its_name(tmp_path):
    honest, source = tmp_path / "honest.bin", tmp_path / "model.bin"
    torch.save({"w": torch.tensor([1.0, 2.0])}, honest)
    with zipfile.ZipFile(honest) as old, zipfile.ZipFile(source, "w") as made:
        for item in old.infolist():
            order = item.filename.endswith("/byteorder")
            name = item.filename.replace("byteorder", "BYTEORDER") if order else item.filename
            made.writestr(name, b"big" if order else old.read(item))
    assert torch.load(source, weights_only=True)["w"].tolist() != [1.0, 2.0]
    report = api.convert(str(source), tmp_path / "out", salvage=True)
    assert report.verdict.outcome.exit_code == 2
    assert any("whatever its letter case" in reason for reason in report.verdict.reasons)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("second", [b"archive/DATA/0", b"archive/BYTEORDER", b"archive/data/0"])
def test_entries_of_one_name_to_torch_are_not_salvaged(tmp_path, second):
    members = checkpoint(b.stream(b.dct((b.text("w"), b.tensor())), 2), storages={"0": NUMBERS})
    data = b"big" if second.endswith(b"ORDER") else OTHERS
    for place in (0, len(members)):
        source = tmp_path / f"{place}.bin"
        source.write_bytes(archive(*members[:place], Member(name=second, data=data), *members[place:]))
        assert examine(source, "m.bin", ScanOptions()).checkpoint is None
        out = tmp_path / f"out{place}"
        assert api.convert(str(source), out, salvage=True).verdict.outcome.exit_code
        assert not out.exists()
