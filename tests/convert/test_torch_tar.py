"""The oldest checkpoints, converted and compared with what torch itself still loads from them."""

from collections import OrderedDict
from pathlib import Path

import pickle_builder as b
import pytest
from safetensors import safe_open
from tar_builder import SYSTEM, old_save, storage_of, storages_of, tar, tensor_of, tensors_of, views_of

from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import ConversionPlan, NotConvertibleError
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions
from aiverify.progress import Silent

torch = pytest.importorskip("torch")

TYPES = [
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64),
    *(torch.bool, torch.bfloat16, torch.complex64),
]


def planned(path: Path) -> ConversionPlan:
    found = examine(path, path.name, ScanOptions())
    assert found.format is Format.TORCH_TAR
    assert found.checkpoint is not None
    graph = found.checkpoint.graph
    return plan(graph.root, graph, found.checkpoint.storages, source_size=path.stat().st_size)


def converted(path: Path) -> tuple[ConversionPlan, dict]:
    made = planned(path)
    write_twin(path, made, path.with_name("twin"), Silent())
    with safe_open(path.with_name("twin"), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    return made, {**tensors, **{removed: tensors[kept] for removed, kept in made.aliases}}


def bits(tensor) -> bytes:
    plain = torch.empty(tensor.shape, dtype=tensor.dtype)
    plain.copy_(tensor.detach())
    return bytes(plain.reshape(-1).view(torch.uint8).tolist()) if plain.numel() else b""


def assert_same(twin: dict, loaded: dict) -> None:
    assert twin.keys() == loaded.keys()
    for name, tensor in loaded.items():
        assert (twin[name].dtype, twin[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(twin[name]) == bits(tensor), name


def saved(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(raw)
    return path


def state() -> OrderedDict:
    weight, base = torch.randn(3, 4), torch.arange(24.0).reshape(4, 6)
    return OrderedDict(
        [
            ("weight", weight),
            ("transposed", weight.t()),
            ("column", base[:, 2]),
            ("rows", base[1:3]),
            ("steps", base[::2, ::3]),
            ("scalar", torch.tensor(float("nan"))),
            ("empty", torch.zeros(0, 3)),
            ("expanded", torch.ones(3, 1).expand(3, 5)),
            *((str(dtype), torch.arange(6).to(dtype)) for dtype in TYPES),
        ]
    )


def test_every_type_and_every_kind_of_view_is_bit_exact(tmp_path):
    path = saved(tmp_path, old_save(state()))
    loaded = torch.load(path, weights_only=False)
    assert_same(converted(path)[1], loaded)


def test_a_tensor_in_two_places_is_stored_once(tmp_path):
    tensor = torch.randn(4)
    path = saved(tmp_path, old_save({"a": tensor, "b": tensor, "c": tensor[:]}))
    made, twin = converted(path)
    assert made.aliases == (("b", "a"), ("c", "a"))
    assert_same(twin, torch.load(path, weights_only=False))


def test_the_model_is_taken_out_of_its_wrapper(tmp_path):
    path = saved(tmp_path, old_save({"epoch": 3, "state_dict": {"w": torch.ones(2)}, "arch": "alexnet"}))
    made, twin = converted(path)
    assert sorted(twin) == ["w"]
    assert sorted(item.path for item in made.dropped) == ["arch", "epoch"]


def of_views(*tensors: bytes, views: bytes) -> bytes:
    numbers = torch.arange(6.0)
    raw = bytes(numbers.view(torch.uint8).tolist())
    pairs = ((b.text(name), b.persistent(b.text(number))) for name, number in (("a", "20"), ("b", "21")))
    return tar(
        {
            "sys_info": SYSTEM,
            "pickle": b.stream(b.dct(*pairs), 2),
            "tensors": tensors_of(*tensors),
            "storages": storages_of(storage_of(7, "Float", raw, 4), views=views),
        }
    )


def test_views_of_storages_are_read_as_torch_reads_them(tmp_path):
    raw = of_views(
        tensor_of(20, 9, (3,), (1,), 1),
        tensor_of(21, 10, (2,), (1,), 0),
        views=views_of((9, 7, 2, 4), (10, 9, 1, 3)),
    )
    path = saved(tmp_path, raw)
    loaded = torch.load(path, weights_only=False)
    made, twin = converted(path)
    assert loaded["a"].tolist() == [3, 4, 5]
    assert loaded["b"].tolist() == [3, 4]
    assert_same(twin, loaded)
    assert made.aliases == ()


def test_the_same_bytes_through_two_views_are_one_tensor(tmp_path):
    raw = of_views(tensor_of(20, 9, (2,), (1,), 0), tensor_of(21, 7, (2,), (1,), 2), views=views_of((9, 7, 2, 4)))
    assert converted(saved(tmp_path, raw))[0].aliases == (("b", "a"),)


@pytest.mark.parametrize("pid", [b.text("99"), b.number(7), b.text("7"), b.text("x"), b.text("-20"), b.NONE])
def test_an_object_that_is_no_tensor_of_the_archive_is_refused(tmp_path, pid):
    raw = tar(
        {
            "sys_info": SYSTEM,
            "pickle": b.stream(b.dct((b.text("a"), b.persistent(b.text("20"))), (b.text("b"), b.persistent(pid))), 2),
            "tensors": tensors_of(tensor_of(20, 7, (1,), (1,))),
            "storages": storages_of(storage_of(7, "Float", bytes(4), 4)),
        }
    )
    with pytest.raises(NotConvertibleError, match="persistent id that does not name a storage"):
        planned(saved(tmp_path, raw))


def test_the_number_of_a_tensor_may_be_a_number(tmp_path):
    raw = tar(
        {
            "sys_info": SYSTEM,
            "pickle": b.stream(b.dct((b.text("a"), b.persistent(b.number(20)))), 2),
            "tensors": tensors_of(tensor_of(20, 7, (1,), (1,))),
            "storages": storages_of(storage_of(7, "Float", bytes(4), 4)),
        }
    )
    path = saved(tmp_path, raw)
    assert_same(converted(path)[1], torch.load(path, weights_only=False))


def test_no_stream_of_another_container_may_say_what_a_tensor_stands_for(tmp_path):
    pid = b.tup(b.text("tensor"), b.tensor())
    path = tmp_path / "model.pt"
    from zip_builder import archive, checkpoint

    path.write_bytes(archive(*checkpoint(b.stream(b.dct((b.text("w"), b.persistent(pid)))), storages={"0": bytes(16)})))
    found = examine(path, path.name, ScanOptions()).checkpoint
    assert found is not None
    with pytest.raises(NotConvertibleError, match="persistent id that does not name a storage"):
        plan(found.graph.root, found.graph, found.storages, source_size=path.stat().st_size)
