"""Tensors that safetensors cannot hold, taken apart on request and put together again as torch has them."""

import json
from pathlib import Path

import pytest
from checkpoint_builder import GraphBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from aiverify.convert.checkpoint import LOWERED, plan
from aiverify.convert.plan import ConversionPlan, NotConvertibleError, Transform
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about the types themselves


def filled(dtype, shape=(3, 4), seed=0):
    """A tensor of random bits, NaNs and all."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.Size(shape).numel()) * dtype.itemsize
    return torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator).view(dtype).reshape(shape)


def bits(tensor) -> bytes:
    plain = torch.empty(tensor.shape, dtype=tensor.dtype)
    plain.copy_(tensor.detach())
    return bytes(plain.reshape(-1).view(torch.uint8).tolist()) if plain.numel() else b""


def planned(path: Path, *, lower: bool = True) -> ConversionPlan:
    found = examine(path, path.name, ScanOptions()).checkpoint
    assert found is not None
    size = path.stat().st_size
    return plan(found.graph.root, found.graph, found.storages, byteorder=found.byteorder, source_size=size, lower=lower)


def lowered(folder: Path, content, *, digests: bool = True, **options) -> tuple[dict, dict, ConversionPlan]:
    """The tensors of the twin of ``content`` by all of their names, and the records in its metadata."""
    path, twin = folder / "model.pt", folder / "model.safetensors"
    twin.unlink(missing_ok=True)
    torch.save(content, path, **options)
    made = planned(path)
    write_twin(path, made, twin, Silent(), digests=digests)
    with safe_open(twin, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
        metadata = file.metadata()
    for removed, kept in made.aliases:
        tensors[removed] = tensors[kept]
    return tensors, json.loads(metadata.get(LOWERED, "{}")), made


KINDS = ["plain", "transposed", "column", "scalar", "empty", "sliced"]


def view(tensor, kind):
    return {
        "plain": lambda: tensor,
        "transposed": lambda: tensor.t(),
        "column": lambda: tensor[:, 1],
        "scalar": lambda: tensor[1, 2],
        "empty": lambda: tensor[:0],
        "sliced": lambda: tensor[1:, ::2],
    }[kind]()


LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex32])
def test_wide_and_narrow_complex_numbers_become_pairs(tmp_path, dtype, kind, options):
    if dtype is torch.complex32 and options:
        pytest.skip("torch itself cannot write it")
    tensor = view(filled(dtype), kind)
    twin, records, made = lowered(tmp_path, {"w": tensor}, **options)
    assert twin["w"].dtype == torch.view_as_real(tensor).dtype
    assert bits(twin["w"]) == bits(torch.view_as_real(tensor))
    assert bits(torch.view_as_complex(twin["w"].clone())) == bits(tensor)
    assert records == {"w": {"form": "pairs", "dtype": str(dtype)[6:], "shape": list(tensor.shape), "parts": ["w"]}}
    assert made.tensors[0].transform in (Transform.COPY, Transform.GATHER)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.complex32])
@pytest.mark.parametrize("bit", ["conj", "neg", "both"])
def test_signs_that_a_view_only_promises_are_set(tmp_path, dtype, bit, kind):
    if (dtype, bit) == (torch.complex32, "both") and kind != "empty":
        pytest.skip("torch itself cannot resolve it")
    tensor = view(filled(dtype), kind)
    tensor = tensor.conj() if bit != "neg" else tensor
    tensor = torch._neg_view(tensor) if bit != "conj" else tensor
    assert tensor.is_conj() == (bit != "neg")
    assert tensor.is_neg() == (bit != "conj")
    twin, records, made = lowered(tmp_path, {"w": tensor})
    expected = tensor.resolve_conj().resolve_neg()
    assert records["w"]["form"] == ("resolved" if dtype is torch.complex64 else "resolved pairs")
    assert bits(twin["w"]) == bits(expected if dtype is torch.complex64 else torch.view_as_real(expected))
    assert made.tensors[0].transform is Transform.FLIP


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_negative_of_real_numbers_is_made_in_every_kind_of_view(tmp_path, dtype, kind):
    tensor = torch._neg_view(view(filled(dtype), kind))
    twin, _, _ = lowered(tmp_path, {"w": tensor})
    assert bits(twin["w"]) == bits(tensor.resolve_neg())


def test_the_imaginary_part_of_a_conjugate_is_what_torch_says_it_is(tmp_path):
    tensor = filled(torch.complex64).conj().imag
    twin, _, made = lowered(tmp_path, {"w": tensor})
    assert bits(twin["w"]) == bits(tensor.resolve_neg())
    assert made.dropped[-1].type == "float32 tensor, stored as resolved"


def test_a_view_and_its_conjugate_are_two_tensors(tmp_path):
    tensor = filled(torch.complex64)
    twin, records, made = lowered(tmp_path, {"w": tensor, "c": tensor.conj(), "again": tensor.conj()})
    assert bits(twin["c"]) == bits(tensor.conj().resolve_conj()) != bits(twin["w"]) == bits(tensor)
    assert made.aliases == (("again", "c"),)
    assert sorted(records) == ["again", "c"]


def sparse(tensor, layout):
    if layout == "coo":
        return tensor.to_sparse()
    if layout == "uncoalesced":
        indices = torch.tensor([[0, 0, 2], [1, 1, 3]])
        return torch.sparse_coo_tensor(indices, torch.tensor([1.0, 2.0, 3.0]), (3, 4))
    if layout == "hybrid":
        return torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.ones(2, 4), (3, 4))
    made = {"csr": tensor.to_sparse_csr, "csc": tensor.to_sparse_csc}.get(layout)
    blocks = torch.ones(4, 4)
    block_made = {"bsr": blocks.to_sparse_bsr, "bsc": blocks.to_sparse_bsc}.get(layout)
    return made() if made else block_made((2, 2))


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", ["coo", "uncoalesced", "hybrid", "csr", "csc", "bsr", "bsc"])
def test_a_sparse_tensor_becomes_its_parts(tmp_path, layout, options):
    tensor = sparse(torch.eye(3, 4) * 2.5, layout)
    twin, records, _ = lowered(tmp_path, {"a": {"w": tensor}, "plain": torch.ones(2)}, **options)
    record = records["a.w"]
    assert record["shape"] == list(tensor.shape)
    assert record["parts"] == [name for name in twin if name.startswith("a.w.")] or set(record["parts"]) < set(twin)
    parts = [twin[name] for name in record["parts"]]
    if record["form"] == "sparse_coo":
        again = torch.sparse_coo_tensor(*parts, record["shape"], is_coalesced=record["is_coalesced"])
        assert again.is_coalesced() == tensor.is_coalesced()
    else:
        again = torch.sparse_compressed_tensor(*parts, record["shape"], layout=getattr(torch, record["form"]))
    assert again.layout == tensor.layout
    assert again.dtype == tensor.dtype
    assert bits(again.to_dense()) == bits(tensor.to_dense())
    assert "plain" not in records


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_tensor_that_is_quantised_as_a_whole_becomes_its_integers(tmp_path, dtype, transposed, options):
    tensor = torch.quantize_per_tensor(torch.linspace(-3, 3, 12).reshape(3, 4), 0.1, 2, dtype)
    tensor = tensor.t() if transposed else tensor
    twin, records, _ = lowered(tmp_path, {"w": tensor}, **options)
    assert bits(twin["w.int_repr"]) == bits(tensor.int_repr())
    assert twin["w.int_repr"].dtype == tensor.int_repr().dtype
    record = records["w"]
    assert (record["form"], record["dtype"]) == ("per_tensor_affine", str(dtype)[6:])
    assert (record["scale"], record["zero_point"]) == (tensor.q_scale(), tensor.q_zero_point())
    again = torch._make_per_tensor_quantized_tensor(twin["w.int_repr"], record["scale"], record["zero_point"])
    assert torch.equal(again, tensor)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_tensor_that_is_quantised_by_channel_keeps_its_scales(tmp_path, axis):
    size = (3, 4)[axis]
    scales, zeros = torch.linspace(0.1, 0.4, size, dtype=torch.float64), torch.arange(size)
    tensor = torch.quantize_per_channel(torch.linspace(-3, 3, 12).reshape(3, 4), scales, zeros, axis, torch.quint8)
    twin, records, _ = lowered(tmp_path, {"w": tensor})
    assert bits(twin["w.int_repr"]) == bits(tensor.int_repr())
    assert bits(twin["w.scales"]) == bits(tensor.q_per_channel_scales())
    assert bits(twin["w.zero_points"]) == bits(tensor.q_per_channel_zero_points())
    assert records["w"]["axis"] == tensor.q_per_channel_axis()
    assert records["w"]["form"] == "per_channel_affine"
    again = torch._make_per_channel_quantized_tensor(twin["w.int_repr"], twin["w.scales"], twin["w.zero_points"], axis)
    assert torch.equal(again, tensor)


def test_a_quantised_buffer_of_a_module_is_taken_apart_too(tmp_path):
    module = torch.nn.Module()
    module.register_buffer("q", torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint8))
    module.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.complex128))
    twin, records, _ = lowered(tmp_path, {"state_dict": module.state_dict(), "epoch": 3})
    assert sorted(twin) == ["q.int_repr", "weight"]
    assert sorted(records) == ["q", "weight"]
    whole, _, _ = lowered(tmp_path, module)
    assert {name: bits(tensor) for name, tensor in whole.items()} == {n: bits(t) for n, t in twin.items()}


MADE = {
    "complex128": lambda: torch.ones(2, dtype=torch.complex128),
    "complex32": lambda: torch.ones(2, dtype=torch.complex32),
    "conj": lambda: torch.ones(2, dtype=torch.complex64).conj(),
    "neg": lambda: torch._neg_view(torch.ones(2)),
    "sparse": lambda: torch.eye(2).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
}


@pytest.mark.parametrize("case", MADE)
def test_without_the_option_the_refusal_names_the_tensor_and_the_option(tmp_path, case):
    path = tmp_path / "model.pt"
    torch.save({"layer": {"w": MADE[case]()}}, path)
    with pytest.raises(NotConvertibleError, match=r"'layer\.w'.*--lower would store") as caught:
        planned(path, lower=False)
    assert caught.value.hint == "Convert it with --lower."


@pytest.mark.parametrize("case", MADE)
def test_what_needs_no_lowering_is_stored_as_without_the_option(tmp_path, case):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(2), "t": torch.ones(2, 3).t()}, path)
    assert planned(path, lower=True) == planned(path, lower=False)


def test_digests_change_nothing_about_what_is_written(tmp_path):
    content = {name: make() for name, make in MADE.items()}
    one, _, _ = lowered(tmp_path, content, digests=True)
    other, _, _ = lowered(tmp_path, content, digests=False)
    assert {name: bits(tensor) for name, tensor in one.items()} == {n: bits(t) for n, t in other.items()}


STILL_REFUSED = {
    "integers with a negative bit": (lambda: {"w": torch._neg_view(torch.ones(2, dtype=torch.int32))}, "no sign bit"),
    "packed integers": (
        lambda: {"w": torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint4x2)},
        "packed|beyond its storage",
    ),
    "a meta tensor": (lambda: {"w": torch.ones(2, device="meta")}, "that holds tensors"),
    "two tensors of one name": (
        lambda: {"w": torch.eye(2).to_sparse(), "w.values": torch.ones(1)},
        "two tensors have this name",
    ),
}


@pytest.mark.parametrize("case", STILL_REFUSED)
def test_what_cannot_be_taken_apart_without_loss_is_refused_all_the_same(tmp_path, case):
    make, reason = STILL_REFUSED[case]
    path = tmp_path / "model.pt"
    torch.save(make(), path)
    with pytest.raises(NotConvertibleError, match=reason):
        planned(path)


SPARSE, QUANTISED = "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_qtensor"


def layout(build: GraphBuilder, name: str = "torch.sparse_coo"):
    return build.call("torch.serialization._get_layout", name)


def quantised(build: GraphBuilder, *parameters, kind="torch.QInt8Storage"):
    place = (build.storage("0", kind, 4, 1), 0, (4,), (1,))
    return build.call(QUANTISED, *place, parameters, False, build.ordered())


HOSTILE = {
    "no layout": lambda b: b.call(SPARSE, None, (b.tensor(), b.tensor(), (2, 2))),
    "another layout": lambda b: b.call(SPARSE, layout(b, "torch.strided"), (b.tensor(), b.tensor(), (2, 2))),
    "a layout from elsewhere": lambda b: b.call(
        SPARSE, b.call("os.system", "torch.sparse_coo"), (b.tensor(), b.tensor(), (2, 2))
    ),
    "no shape": lambda b: b.call(SPARSE, layout(b), (b.tensor(), b.tensor())),
    "a part less": lambda b: b.call(SPARSE, layout(b, "torch.sparse_csr"), (b.tensor(), b.tensor(), (2, 2))),
    "a part more": lambda b: b.call(SPARSE, layout(b), (b.tensor(), b.tensor(), (2, 2), True, b.tensor())),
    "a part that is none": lambda b: b.call(SPARSE, layout(b), (b.tensor(), 3, (2, 2))),
    "a sparse part": lambda b: b.call(
        SPARSE, layout(b), (b.tensor(), b.call(SPARSE, layout(b), (b.tensor(), b.tensor(), (2, 2))), (2, 2))
    ),
    "a negative shape": lambda b: b.call(SPARSE, layout(b), (b.tensor(), b.tensor(), (-2, 2))),
    "an infinite scale": lambda b: quantised(b, b.name("torch.per_tensor_affine"), float("inf"), 0),
    "a scale that is none": lambda b: quantised(b, b.name("torch.per_tensor_affine"), "1", 0),
    "a zero point that is none": lambda b: quantised(b, b.name("torch.per_tensor_affine"), 1.0, True),
    "an unknown scheme": lambda b: quantised(b, b.name("torch.per_group_affine"), 1.0, 0),
    "a scheme from elsewhere": lambda b: quantised(b, b.name("evil.per_tensor_affine"), 1.0, 0),
    "no scheme": lambda b: quantised(b),
    "an axis too far": lambda b: quantised(b, b.name("torch.per_channel_affine"), b.tensor(), b.tensor(), 1),
    "another storage": lambda b: quantised(b, b.name("torch.per_tensor_affine"), 1.0, 0, kind="torch.ByteStorage"),
    "too few arguments": lambda b: b.call(QUANTISED, b.storage()),
}


def changed_afterwards(build: GraphBuilder):
    node = quantised(build, build.name("torch.per_tensor_affine"), 1.0, 0)
    node.states = [build.dict({})]
    return node


@pytest.mark.parametrize("case", [*HOSTILE, "changed afterwards"])
def test_parts_that_torch_would_not_write_are_refused(case):
    build = GraphBuilder()
    value = HOSTILE[case](build) if case in HOSTILE else changed_afterwards(build)
    with pytest.raises(NotConvertibleError):
        plan(build.dict({"w": value}), build.graph, build.storages, source_size=build.size, lower=True)


def test_a_tied_name_that_the_record_needs_is_refused():
    build = GraphBuilder()
    tied = build.tensor()
    lone = build.tensor(build.storage("1", "torch.ComplexDoubleStorage", 4, 16))
    root = build.dict({"w": tied, LOWERED: tied, "c": lone})
    with pytest.raises(NotConvertibleError, match="needed for something else"):
        plan(root, build.graph, build.storages, source_size=build.size, lower=True)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from([torch.complex64, torch.complex128]),
    conj=st.booleans(),
    neg=st.booleans(),
    step=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_any_view_of_complex_numbers_is_what_torch_resolves_it_to(
    tmp_path_factory, shape, order, dtype, conj, neg, step, seed
):
    tensor = filled(dtype, shape, seed)
    axes = list(range(tensor.dim()))
    order.shuffle(axes)
    tensor = tensor.permute(axes)
    tensor = tensor[::step] if tensor.dim() else tensor
    tensor = tensor.conj() if conj else tensor
    tensor = torch._neg_view(tensor) if neg else tensor
    folder = tmp_path_factory.mktemp("any")
    twin, _, _ = lowered(folder, {"w": tensor})
    expected = tensor.resolve_conj().resolve_neg()
    assert bits(twin["w"]) == bits(torch.view_as_real(expected) if dtype is torch.complex128 else expected)
