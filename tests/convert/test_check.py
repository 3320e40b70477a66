"""The second opinion: the safetensors library in a process of its own."""

import ctypes
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoint_builder import GraphBuilder
from safetensors import TensorSpec, serialize_file

from aiverify.convert.check import check_twin
from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import ConversionError, ConversionPlan
from aiverify.formats.dtypes import DTYPES, STORAGES
from aiverify.formats.safetensors import DTYPE_BITS


@pytest.fixture
def made() -> ConversionPlan:
    build = GraphBuilder()
    shared = build.tensor()
    root = build.dict(
        {"ä w": shared, "tied": shared, "b": build.tensor(build.storage("1", "torch.BFloat16Storage", 4, 2))}
    )
    return plan(root, build.graph, build.storages, source_size=build.size)


def file_for(made: ConversionPlan, folder: Path) -> Path:
    path = folder / "twin"
    path.write_bytes(made.header + bytes(made.output_size - len(made.header)))
    return path


def test_a_file_as_planned_passes(made, tmp_path):
    check_twin(file_for(made, tmp_path), made)


def test_a_missing_tensor_is_noticed(made, tmp_path):
    with pytest.raises(ConversionError, match="other tensors"):
        check_twin(file_for(made, tmp_path), replace(made, tensors=made.tensors[:1]))


def test_another_shape_is_noticed(made, tmp_path):
    changed = (replace(made.tensors[0], shape=(4,)), *made.tensors[1:])
    with pytest.raises(ConversionError, match="sees"):
        check_twin(file_for(made, tmp_path), replace(made, tensors=changed))


def test_another_alias_is_noticed(made, tmp_path):
    with pytest.raises(ConversionError, match="other metadata"):
        check_twin(file_for(made, tmp_path), replace(made, metadata={"format": "pt"}))


def test_a_file_that_the_library_refuses_is_an_error(made, tmp_path):
    path = file_for(made, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConversionError, match="refuses twin"):
        check_twin(path, made)


def test_a_missing_file_is_an_error(made, tmp_path):
    with pytest.raises(ConversionError, match="refuses twin"):
        check_twin(tmp_path / "twin", made)


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false", "/bin/echo"])
def test_an_interpreter_that_does_not_answer_is_an_error(made, tmp_path, monkeypatch, executable):
    path = file_for(made, tmp_path)
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(ConversionError, match="could not be asked"):
        check_twin(path, made)


@pytest.mark.parametrize("name", [name for name, dtype in DTYPES.items() if dtype.safetensors])
def test_every_type_has_the_name_and_width_that_safetensors_gives_it(name, tmp_path):
    dtype = DTYPES[name]
    data = bytearray(dtype.size * 4)
    address = ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data))
    serialize_file({"w": TensorSpec(dtype=name, shape=[4], data_ptr=address, data_len=len(data))}, str(tmp_path / "t"))
    raw = (tmp_path / "t").read_bytes()
    assert f'"dtype":"{dtype.safetensors}"'.encode() in raw
    assert DTYPE_BITS[dtype.safetensors] * dtype.packed == dtype.size * 8


def test_every_storage_class_of_torch_is_known_by_its_type():
    torch = pytest.importorskip("torch")
    for dtype, storage in torch.storage._dtype_to_storage_type_map().items():
        assert STORAGES[storage].torch == str(dtype).removeprefix("torch.")
        assert STORAGES[storage].size == torch.empty((), dtype=torch.uint8).itemsize * dtype.itemsize
    for dtype in torch.storage._new_dtypes():
        assert DTYPES[str(dtype).removeprefix("torch.")].size == dtype.itemsize
