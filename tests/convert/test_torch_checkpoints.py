"""Checkpoints that torch itself writes, from the file to the twin, compared bit by bit with what torch loads."""

import copy
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from aiverify.convert.checkpoint import plan
from aiverify.convert.index import ShardIndex
from aiverify.convert.plan import ConversionPlan, NotConvertibleError, StorageChecksumError
from aiverify.convert.receipt import pickle_facts
from aiverify.convert.stage import PlannedCheckpoint, convert_checkpoints
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.formats.safetensors import read_header
from aiverify.pickles.machine import interpret
from aiverify.progress import Silent

torch = pytest.importorskip("torch")

LEGACY = {"_use_new_zipfile_serialization": False}
TYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16),
    *(torch.float32, torch.float64, torch.complex64),
]
NEW_TYPES = [
    *(torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz),
    *(torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
]


def filled(dtype, shape=(3, 4), seed=0):
    """A tensor of random bits, NaNs and all."""
    numel = int(torch.Size(shape).numel())
    generator = torch.Generator().manual_seed(seed)
    highest = 2 if dtype is torch.bool else 256
    raw = torch.randint(0, highest, (numel * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(shape)


def bits(tensor) -> bytes:
    plain = torch.empty(tensor.shape, dtype=tensor.dtype)
    plain.copy_(tensor.detach())
    return bytes(plain.reshape(-1).view(torch.uint8).tolist()) if plain.numel() else b""


def planned(path: Path) -> ConversionPlan:
    found = examine(path, path.name, ScanOptions()).checkpoint
    assert found is not None
    return plan(
        found.graph.root, found.graph, found.storages, byteorder=found.byteorder, source_size=path.stat().st_size
    )


def converted(path: Path) -> tuple[ConversionPlan, dict]:
    """The plan, and the tensors of the twin by all of their names."""
    made = planned(path)
    twin = path.with_suffix(".safetensors")
    twin.unlink(missing_ok=True)
    write_twin(path, made, twin, Silent())
    with safe_open(twin, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    return made, {**tensors, **{removed: tensors[kept] for removed, kept in made.aliases}}


def flat(value, path="") -> dict:
    if isinstance(value, torch.Tensor):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {k: v for key, item in items for k, v in flat(item, f"{path}.{key}" if path else str(key)).items()}


def assert_same(twin: dict, loaded: dict) -> None:
    assert twin.keys() == loaded.keys()
    for name, tensor in loaded.items():
        assert twin[name].dtype == tensor.dtype, name
        assert twin[name].shape == tensor.shape, name
        assert bits(twin[name]) == bits(tensor), name


def saved(tmp_path: Path, content, **options) -> Path:
    path = tmp_path / "model.bin"
    torch.save(content, path, **options)
    return path


VARIED = {
    "matrix": filled(torch.float32),
    "transposed": filled(torch.float32, (5, 7)).t(),
    "column": filled(torch.bfloat16, (6, 9))[:, 4],
    "rows": filled(torch.int64, (9, 3))[2:7],
    "steps": filled(torch.uint8, (40,))[::3],
    "channels last": filled(torch.float16, (4, 3, 5, 5)).to(memory_format=torch.channels_last),
    "permuted": filled(torch.float64, (2, 3, 4)).permute(2, 0, 1),
    "expanded": filled(torch.float32, (3, 1)).expand(3, 5),
    "empty": torch.zeros(0, 3),
    "empty of a shape": torch.zeros(4, 0, 2, dtype=torch.int8),
    "scalar": torch.tensor(float("nan")),
    "parameter": torch.nn.Parameter(filled(torch.float32, (2, 2)), requires_grad=False),
    "buffer": torch.nn.Buffer(filled(torch.float32, (2,))),
    "nested": {"a": [filled(torch.int32, (2,)), (filled(torch.bool, (5,)),)], "b": OrderedDict(c=torch.ones(1))},
}


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_every_kind_of_view_is_bit_exact(tmp_path, options):
    path = saved(tmp_path, VARIED, **options)
    made, twin = converted(path)
    assert_same(twin, flat(torch.load(path)))
    assert made.dropped == ()


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_every_classic_type_is_bit_exact(tmp_path, options):
    path = saved(tmp_path, {str(dtype): filled(dtype, (4, 6), seed) for seed, dtype in enumerate(TYPES)}, **options)
    assert_same(converted(path)[1], torch.load(path))


def test_every_new_type_is_bit_exact(tmp_path):
    content = {str(dtype): filled(dtype, (4, 6)) for dtype in NEW_TYPES}
    content["transposed"] = filled(torch.float8_e5m2, (3, 5)).t()
    path = saved(tmp_path, content)
    assert_same(converted(path)[1], torch.load(path))


def test_packed_four_bit_floats_keep_their_bytes(tmp_path):
    content = filled(torch.uint8, (4, 6))
    path = saved(tmp_path, {"w": content.view(torch.float4_e2m1fn_x2)})
    made = planned(path)
    write_twin(path, made, tmp_path / "twin", Silent())
    (tensor,) = made.tensors
    assert (tensor.dtype, tensor.shape) == ("F4", (4, 12))
    assert (tmp_path / "twin").read_bytes()[len(made.header) :] == bits(content)


def test_new_types_in_the_legacy_format_are_read_though_torch_cannot(tmp_path):
    content = {"w": filled(torch.uint16, (3, 5)), "f8": filled(torch.float8_e4m3fn, (7,))}
    assert_same(converted(saved(tmp_path, content, **LEGACY))[1], content)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_pickle_protocol_is_read(tmp_path, options, protocol):
    path = saved(tmp_path, OrderedDict(w=filled(torch.float32)), pickle_protocol=protocol, **options)
    assert_same(converted(path)[1], {"w": filled(torch.float32)})


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_tied_weights_are_stored_once_and_overlapping_ones_apart(tmp_path, options):
    base = filled(torch.float32, (8, 8))
    content = {"embed": base, "head": base, "same view": base.view(8, 8), "top": base[:3], "flat": base.reshape(-1)}
    path = saved(tmp_path, content, **options)
    made, twin = converted(path)
    assert_same(twin, content)
    assert made.aliases == (("head", "embed"), ("same view", "embed"))
    assert {tensor.name for tensor in made.tensors} == {"embed", "top", "flat"}


def test_the_state_dict_of_a_module_is_bit_exact_and_its_versions_are_listed(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.LSTM(4, 4))
    path = saved(tmp_path, module.state_dict())
    made, twin = converted(path)
    assert_same(twin, dict(module.state_dict()))
    assert [entry.path for entry in made.dropped] == ["_metadata"]


def trained() -> tuple:
    module = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return module, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1)


def test_a_lightning_checkpoint_gives_its_model(tmp_path):
    module, optimizer, scheduler = trained()
    checkpoint = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": module.state_dict(),
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 3}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "best_model_path": "x"}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        "hparams_name": "args",
        "hyper_parameters": Namespace(lr=0.1, device=torch.device("cpu"), dtype=torch.float32),
    }
    made, twin = converted(saved(tmp_path, checkpoint))
    assert_same(twin, dict(module.state_dict()))
    listed = {entry.path: entry.type for entry in made.dropped}
    assert listed.keys() == checkpoint.keys() - {"state_dict"} | {"state_dict._metadata"}
    assert listed["hyper_parameters"] == "argparse.Namespace"
    assert listed["optimizer_states"] == "list with tensors"


def test_the_checkpoints_of_torchs_own_examples_give_their_model(tmp_path):
    model = torch.nn.Linear(2, 2)
    loss = model(torch.ones(2)).sum()
    tutorial = {"epoch": 3, "model_state_dict": model.state_dict(), "optimizer_state_dict": {}, "loss": loss.detach()}
    imagenet = {"epoch": 3, "arch": "x", "state_dict": model.state_dict(), "best_acc1": torch.tensor(0.7)}
    resumed = {"model": model.state_dict(), "rng_state": torch.get_rng_state(), "epoch": 3}
    for content, figure in ((tutorial, "loss"), (imagenet, "best_acc1"), (resumed, "rng_state")):
        made, tensors = converted(saved(tmp_path, content))
        assert_same(tensors, model.state_dict())
        assert (figure, "tensor beside the model") in {(item.path, item.type) for item in made.dropped}
    for name, value in (("rng_state", torch.ones(2)), ("class_weights", torch.ones(2, dtype=torch.uint8))):
        with pytest.raises(NotConvertibleError, match="beside the model"):
            planned(saved(tmp_path, {"model": model.state_dict(), name: value}))


def test_a_training_checkpoint_with_an_unknown_wrapper_gives_its_model_under_that_name(tmp_path):
    module, optimizer, _ = trained()
    path = saved(tmp_path, {"regressor": module.state_dict(), "opt": optimizer.state_dict(), "epoch": 1})
    assert converted(path)[1].keys() == {"regressor.weight", "regressor.bias"}


def test_averaged_weights_stand_beside_the_model_under_their_own_names(tmp_path):
    module, optimizer, _ = trained()
    averaged = copy.deepcopy(module.state_dict())
    averaged["weight"] += 1
    content = {"model": module.state_dict(), "ema": averaged}
    path = saved(tmp_path, {**content, "optimizer": optimizer.state_dict()})
    assert_same(converted(path)[1], flat(content))


def test_averaged_weights_of_an_unknown_name_beside_the_model_are_refused(tmp_path):
    module, *_ = trained()
    path = saved(tmp_path, {"model": module.state_dict(), "swa": copy.deepcopy(module.state_dict())})
    with pytest.raises(NotConvertibleError, match="'swa': tensors beside the model"):
        planned(path)


REFUSED = {
    "a conjugated view": (lambda: {"w": torch.ones(2, dtype=torch.complex64).conj()}, "conjugated or negated"),
    "a negated view": (lambda: {"w": torch.ones(2, dtype=torch.complex64).conj().imag}, "conjugated or negated"),
    "complex128": (lambda: {"w": torch.ones(2, dtype=torch.complex128)}, "no type for torch.complex128"),
    "complex32": (lambda: {"w": torch.ones(2, dtype=torch.complex32)}, "no type for torch.complex32"),
    "a quantised tensor": (
        lambda: {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        "a quantised tensor .--lower would store its parts",
    ),
    "a sparse tensor": (lambda: {"w": torch.eye(2).to_sparse()}, "a sparse tensor .--lower would store its parts"),
    "a meta tensor": (
        lambda: {"w": torch.ones(2, device="meta")},
        "_rebuild_meta_tensor_no_storage that holds tensors",
    ),
    "a bare tensor": (lambda: torch.ones(2), "not a dict"),
    "an expanded giant": (lambda: {"w": torch.ones(1).expand(3000, 3000)}, "bytes of data"),
    "a numpy array": (lambda: {"w": torch.ones(2), "a": torch.ones(2).numpy()}, "that holds tensors"),
    "a key that is a number": (lambda: {0: torch.ones(2)}, "not text"),
    "nothing": (dict, "holds no tensors"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about the types themselves
@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_place_in_a_safetensors_file_is_refused(tmp_path, case):
    make, reason = REFUSED[case]
    with pytest.raises(NotConvertibleError, match=reason):
        planned(saved(tmp_path, make()))


def rewritten(path: Path, change, compression=zipfile.ZIP_STORED) -> Path:
    """The archive written anew, each entry through ``change``."""
    raw = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(raw, "w", compression) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
    path.write_bytes(raw.getvalue())
    return path


def test_storages_of_the_other_byte_order_are_swapped_as_torch_swaps_them(tmp_path):
    narrow = [dtype for dtype in NEW_TYPES if dtype.itemsize == 1]
    content = {str(dtype): filled(dtype, (4, 6)) for dtype in TYPES + narrow}
    content["transposed"] = filled(torch.int32, (4, 6)).t()
    content["complex"] = filled(torch.complex64, (4, 6)).t()
    path = saved(tmp_path, content)
    rewritten(path, lambda name, data: b"big" if name.endswith("/byteorder") else data)
    loaded = torch.load(path)
    assert bits(loaded["transposed"]) != bits(content["transposed"])
    assert_same(converted(path)[1], loaded)


def test_the_other_byte_order_is_refused_for_types_that_torch_forgets_to_swap(tmp_path):
    path = saved(tmp_path, {"w": filled(torch.uint16)})
    rewritten(path, lambda name, data: b"big" if name.endswith("/byteorder") else data)
    assert bits(torch.load(path)["w"]) == bits(filled(torch.uint16))
    with pytest.raises(NotConvertibleError, match="'w': torch does not swap the bytes of an untyped storage"):
        planned(path)


def test_the_byte_order_that_a_legacy_file_claims_changes_nothing_as_in_torch(tmp_path):
    path = saved(tmp_path, {"w": filled(torch.int32)}, **LEGACY)
    raw = path.read_bytes()
    flag = raw.index(b"\x88", raw.index(b"little_endian"))
    path.write_bytes(raw[:flag] + b"\x89" + raw[flag + 1 :])
    assert_same(converted(path)[1], torch.load(path))


@pytest.mark.parametrize("order", ["little", "big"])
def test_compressed_storages_are_inflated(tmp_path, order):
    content = {**VARIED, "long": filled(torch.float32, (700, 1000)), "constant": torch.zeros(1 << 20)}
    path = saved(tmp_path, content)
    rewritten(path, lambda name, data: order.encode() if name.endswith("/byteorder") else data, zipfile.ZIP_DEFLATED)
    made, twin = converted(path)
    assert_same(twin, flat(torch.load(path)))
    assert {tensor.transform for tensor in made.tensors if tensor.length} == {"inflate"}


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data + bytes(4), lambda data: b""])
def test_a_storage_of_another_length_is_refused_even_where_torch_loads_it(tmp_path, change):
    path = saved(tmp_path, {"w": torch.zeros(9)})
    rewritten(path, lambda name, data: change(data) if name.endswith("data/0") else data)
    with pytest.raises(NotConvertibleError, match="the pickle says 36"):
        planned(path)


def test_a_flipped_byte_that_torch_does_not_notice_stops_the_conversion(tmp_path):
    path = saved(tmp_path, {"w": torch.full((9,), 1.0)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(torch.full((9,), 1.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(raw)
    assert not torch.equal(torch.load(path)["w"], torch.full((9,), 1.0))
    with pytest.raises(StorageChecksumError):
        write_twin(path, planned(path), tmp_path / "twin", Silent())


def test_neither_torch_nor_numpy_is_needed(tmp_path):
    path = saved(tmp_path, VARIED)
    program = """
import sys
sys.modules["numpy"] = sys.modules["torch"] = None
from pathlib import Path
from aiverify.convert.checkpoint import plan
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.formats.safetensors import read_header
from aiverify.pickles.machine import interpret
from aiverify.progress import Silent
path = Path(sys.argv[1])
found = examine(path, "m", ScanOptions()).checkpoint
made = plan(found.graph.root, found.graph, found.storages, source_size=path.stat().st_size)
write_twin(path, made, path.with_name("twin"), Silent())
"""
    subprocess.run([sys.executable, "-c", program, path], check=True)
    with safe_open(tmp_path / "twin", framework="pt") as file:
        assert_same({name: file.get_tensor(name) for name in file.offset_keys()}, flat(torch.load(path)))


def checkpoint(folder: Path, name: str, content) -> PlannedCheckpoint:
    torch.save(content, folder / name)
    found = examine(folder / name, name, ScanOptions()).checkpoint
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return PlannedCheckpoint(
        path=name,
        location=folder / name,
        sha256=digest,
        plan=planned(folder / name),
        pickle=pickle_facts(found.graph, found.stream_sha256),
    )


@pytest.mark.parametrize("sharded", [False, True])
def test_transformers_loads_the_twin_of_a_model_with_tied_weights(tmp_path, monkeypatch, sharded):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=8)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.config.save_pretrained(tmp_path / "out")
    state = model.state_dict()
    assert state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()
    indexes = []
    if sharded:
        names = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
        where = {name: names["ln_f" in name] for name in state}
        items = [checkpoint(tmp_path, shard, {n: t for n, t in state.items() if where[n] == shard}) for shard in names]
        indexes = [ShardIndex(path="pytorch_model.bin.index.json", shards=where)]
    else:
        items = [checkpoint(tmp_path, "pytorch_model.bin", state)]
    convert_checkpoints(items, tmp_path / "out", Silent(), indexes=indexes)
    loaded, told = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)


def test_the_receipt_of_a_real_checkpoint_proves_every_copied_byte(tmp_path):
    item = checkpoint(tmp_path, "m.bin", VARIED)
    convert_checkpoints([item], tmp_path / "out", Silent())
    predicate = json.loads((tmp_path / "out" / "m.safetensors.receipt.json").read_bytes())["predicate"]
    assert "torch._utils._rebuild_tensor_v2" in predicate["pickle"]["globals"]
    source, loaded = (tmp_path / "m.bin").read_bytes(), flat(torch.load(tmp_path / "m.bin"))
    for tensor in predicate["tensors"]:
        assert tensor["sha256"] == hashlib.sha256(bits(loaded[tensor["name"]])).hexdigest()
        if tensor["transform"] == "copy":
            origin = tensor["source"]
            taken = source[origin["offset"] : origin["offset"] + origin["length"]]
            assert hashlib.sha256(taken).hexdigest() == tensor["sha256"]
    assert predicate["checks"]["checksums_verified"] == predicate["checks"]["storages_used"] > 10


@st.composite
def tensors(draw, bases):
    """A tensor, often a view of one that was drawn before."""
    if bases and draw(st.booleans()):
        tensor = draw(st.sampled_from(bases))
    else:
        shape = draw(st.lists(st.integers(0, 5), max_size=4))
        tensor = filled(draw(st.sampled_from(TYPES)), shape, draw(st.integers(0, 99)))
        bases.append(tensor)
    for _ in range(draw(st.integers(0, 2))):
        if tensor.dim():
            axis = draw(st.integers(0, tensor.dim() - 1))
            view = draw(st.sampled_from(["turn", "cut", "skip", "stretch", "pick"]))
            if view == "turn":
                tensor = tensor.transpose(axis, tensor.dim() - 1)
            elif view == "cut":
                tensor = tensor.narrow(axis, min(1, tensor.size(axis)), max(0, tensor.size(axis) - 1))
            elif view == "skip":
                tensor = tensor[(slice(None),) * axis + (slice(None, None, 2),)]
            elif view == "stretch":
                tensor = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], 3, *tensor.shape[axis:])
            elif tensor.size(axis):
                tensor = tensor.select(axis, tensor.size(axis) - 1)
    return torch.nn.Parameter(tensor, requires_grad=False) if draw(st.booleans()) else tensor


@st.composite
def state_dicts(draw):
    bases: list = []
    keys = st.text("abc_0é", min_size=1, max_size=4)

    def level(depth):
        content = OrderedDict() if draw(st.booleans()) else {}
        for key in draw(st.lists(keys, unique=True, max_size=4)):
            kind = draw(st.integers(0, 5))
            if kind == 0 and depth:
                content[key] = level(depth - 1)
            elif kind == 1 and depth:
                content[key] = [draw(tensors(bases)) for _ in range(2)]
            elif kind == 2:
                content[key] = draw(st.none() | st.integers() | st.text(max_size=3))
            else:
                content[key] = draw(tensors(bases))
        return content

    root = level(2)
    root["z"] = filled(torch.float32)
    return root


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(state_dicts(), st.booleans())
def test_any_state_dict_becomes_a_twin_with_the_same_bits(tmp_path, content, legacy):
    path = saved(tmp_path, content, **(LEGACY if legacy else {}))
    assert_same(converted(path)[1], flat(torch.load(path)))


HONEST = {
    "w": filled(torch.float32),
    "turned": filled(torch.float32).t(),
    "p": torch.nn.Parameter(filled(torch.bfloat16), requires_grad=False),
    "u": filled(torch.uint16, (5,)),
    "model": {"x": [filled(torch.int8, (3,)), 1.5, None, "text"]},
    "optimizer": {"state": {0: {"m": filled(torch.float32)}}, "param_groups": []},
}
TOKENS = [b"K\0", b"K\x05", b"\x88", b"\x89", b")", b"N", b"}", b"]", b"h\0", b"h\1", b"h\2", b"h\5", b"0", b"2", b"("]
TOKENS += [
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"R",
    b"Q",
    b"s",
    b"u",
    b"b",
    b"a",
    b"e",
    b"J\xff\xff\xff\xff",
    b"X\1\0\0\0a",
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> tuple[bytes, dict, int]:
    """The pickle of a checkpoint, where its storages lie, and the size of its file."""
    path = saved(tmp_path_factory.mktemp("honest"), HONEST)
    found = examine(path, "m", ScanOptions()).checkpoint
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name), found.storages, path.stat().st_size


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_the_pickle_says_the_answer_is_a_plan_inside_the_file_or_a_refusal(honest, data):
    stream, storages, size = honest
    changed = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed) - 1))
        inserted = data.draw(st.sampled_from(TOKENS) | st.binary(max_size=2))
        changed[position : position + data.draw(st.sampled_from([0, 1, 2, len(inserted)]))] = inserted
    graph = interpret(bytes(changed))
    try:
        made = plan(graph.root, graph, storages, source_size=size)
    except NotConvertibleError:
        return
    for tensor in made.tensors:
        assert tensor.source_offset >= 0
        assert tensor.source_offset + tensor.source_length <= size
    raw = made.header + bytes(made.output_size - len(made.header))
    header = read_header(io.BytesIO(raw), len(raw))
    assert {entry.name: entry.shape for entry in header.tensors} == {
        tensor.name: tensor.shape for tensor in made.tensors
    }
