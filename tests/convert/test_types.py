"""Every type that torch has: what safetensors can hold is converted bit by bit, everything else refused by name."""

import warnings
from pathlib import Path

import pytest
from safetensors import safe_open

from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import NotConvertibleError
from aiverify.convert.writer import write_twin
from aiverify.formats.dtypes import DTYPES
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent

torch = pytest.importorskip("torch")

ALL = sorted(
    {value for value in vars(torch).values() if isinstance(value, torch.dtype)},
    key=str,
)
LEGACY = {"_use_new_zipfile_serialization": False}


def name_of(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def made(dtype):
    """Random bits in every kind of view, or ``None`` if torch itself cannot make a tensor of this type."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = torch.randint(0, 2 if dtype is torch.bool else 256, (24 * dtype.itemsize,), dtype=torch.uint8)
            tensor = torch.empty(0, dtype=dtype).set_(raw.untyped_storage(), 0, (4, 6), (6, 1))
            return {
                "plain": tensor,
                "rows": tensor[1:3],
                "tied": tensor,
                "empty": tensor[:0],
                "nested": {"a": [tensor]},
            }
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def bits(tensor) -> bytes:
    raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    width, start = tensor.element_size(), tensor.storage_offset()
    return bytes(raw[start * width : (start + tensor.numel()) * width].tolist())


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", ALL, ids=name_of)
def test_a_type_is_converted_bit_by_bit_or_refused_by_name(tmp_path: Path, dtype, options):
    state = made(dtype)
    if state is None:
        pytest.skip("torch cannot make such a tensor")
    path = tmp_path / "model.pt"
    try:
        torch.save(state, path, **options)
    except Exception as error:  # noqa: BLE001 - whatever torch raises where it cannot save
        pytest.skip(f"torch cannot save it: {error}")
    found = examine(path, path.name, ScanOptions()).checkpoint
    assert found is not None
    arguments = (found.graph.root, found.graph, found.storages)
    known = DTYPES.get(name_of(dtype))
    if known is None or known.safetensors is None:
        with pytest.raises(NotConvertibleError, match=f"plain.*{name_of(dtype)}|quantised"):
            plan(*arguments, source_size=path.stat().st_size)
        return
    converted = plan(*arguments, source_size=path.stat().st_size)
    write_twin(path, converted, tmp_path / "twin", Silent())
    assert dict(converted.aliases) == {"nested.a.0": "plain", "tied": "plain"}
    with safe_open(tmp_path / "twin", framework="pt") as file:
        for name in ("plain", "rows", "empty"):
            tensor = file.get_tensor(name)
            assert tensor.dtype == dtype
            assert tensor.shape == state[name].shape
            assert bits(tensor) == bits(state[name])


def test_every_type_that_safetensors_can_hold_was_among_them():
    """Against safetensors itself, so that a type that it learns is not forgotten here."""
    from safetensors.torch import _TYPES

    assert {name_of(dtype) for dtype in _TYPES.values()} <= {
        name for name, known in DTYPES.items() if known.safetensors
    }
    assert {name for name, known in DTYPES.items() if known.safetensors} <= {name_of(dtype) for dtype in ALL}
