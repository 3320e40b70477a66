"""Whole pickled modules: the twin holds what ``state_dict()`` gives, and the class is never looked up."""

import copy
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkpoint_builder import GraphBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from aiverify.convert import walk
from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import ConversionPlan, NotConvertibleError
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.pickles.graph import CallKind, SetNode
from aiverify.pickles.machine import interpret

torch = pytest.importorskip("torch")

LEGACY = {"_use_new_zipfile_serialization": False}

# Runs where neither torch nor transformers nor numpy can be imported.
PROGRAM = """
import sys
for name in ("torch", "transformers", "numpy", "torchvision", "own_classes"):
    sys.modules[name] = None
import json
from pathlib import Path
from aiverify.convert.checkpoint import plan
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent
path = Path(sys.argv[1])
found = examine(path, path.name, ScanOptions()).checkpoint
made = plan(
    found.graph.root, found.graph, found.storages, byteorder=found.byteorder, source_size=path.stat().st_size
)
write_twin(path, made, path.with_name("twin"), Silent())
print(json.dumps([dict(made.aliases), {entry.path: entry.type for entry in made.dropped}]))
"""


def bits(tensor) -> bytes:
    plain = torch.empty(tensor.shape, dtype=tensor.dtype)
    plain.copy_(tensor.detach())
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def converted(path: Path) -> tuple[dict, dict, dict]:
    """Tensors by all their names, aliases, and what is left behind: made in a process without torch."""
    twin = path.with_name("twin")
    twin.unlink(missing_ok=True)
    run = subprocess.run([sys.executable, "-c", PROGRAM, path], check=True, capture_output=True, text=True)
    aliases, dropped = json.loads(run.stdout)
    with safe_open(twin, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    return {**tensors, **{removed: tensors[kept] for removed, kept in aliases.items()}}, aliases, dropped


def saved(tmp_path: Path, content, **options) -> Path:
    path = tmp_path / "model.pt"
    torch.save(content, path, **options)
    return path


def assert_same(twin: dict, expected: dict) -> None:
    assert twin.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (twin[name].dtype, twin[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(twin[name]) == bits(tensor), name


def loaded(path: Path):
    return torch.load(path, weights_only=False)


# Modules of torch


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    tied = torch.nn.Linear(6, 9, bias=False)
    embedding = torch.nn.Embedding(9, 6)
    tied.weight = embedding.weight
    return torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()),
        embedding,
        torch.nn.LSTM(6, 5, num_layers=2, bidirectional=True),
        torch.nn.MultiheadAttention(6, 2),
        torch.nn.ModuleList([torch.nn.Linear(2, 3).half(), torch.nn.Linear(2, 3).bfloat16()]),
        torch.nn.ModuleDict({"tied": tied, "norm": torch.nn.LayerNorm(6)}),
        torch.nn.ParameterList([torch.ones(2), torch.zeros(3)]),
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_a_whole_module_gives_what_its_state_dict_gives(tmp_path, options):
    path = saved(tmp_path, network(), **options)
    twin, aliases, dropped = converted(path)
    assert_same(twin, loaded(path).state_dict())
    assert aliases == {"5.tied.weight": "1.weight"}
    assert dropped["(root)"] == "torch.nn.modules.container.Sequential (the class and its settings)"
    assert dropped["0.2"] == "torch.nn.modules.activation.ReLU"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_scan_still_says_what_the_legacy_format_holds_besides(tmp_path):
    path = saved(tmp_path, torch.nn.Linear(2, 2), **LEGACY)
    rules = {finding.rule for finding in examine(path, path.name, ScanOptions()).findings}
    assert "AIV306" in rules
    twin, *_ = converted(path)
    assert_same(twin, loaded(path).state_dict())


class Odd(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("scratch", torch.ones(3), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("missing", None)
        self.weight = torch.nn.Parameter(torch.randn(4, 2).t())
        self.plain = torch.ones(5)
        self.hidden = [torch.nn.Linear(1, 1)]
        self.gone = None
        self.add_module("none", None)
        self.note = "text"


def test_what_state_dict_leaves_out_is_left_behind_and_listed(tmp_path):
    path = saved(tmp_path, Odd())
    twin, _, dropped = converted(path)
    assert_same(twin, loaded(path).state_dict())
    assert twin.keys() == {"kept", "weight"}
    assert {name: kind for name, kind in dropped.items() if name != "(root)"} == {
        "scratch": "tensor that state_dict() leaves out",
        "plain": "tensor that state_dict() leaves out",
        "hidden": "list that state_dict() leaves out",
    }


def test_a_class_that_no_longer_exists_is_no_obstacle(tmp_path):
    program = f"""
import sys, types, torch
own = sys.modules["own_classes"] = types.ModuleType("own_classes")
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
Net.__module__ = "own_classes"
Net.__qualname__ = "Net"
own.Net = Net
net = Net()
torch.save(net, {str(tmp_path / "model.pt")!r})
torch.save(net.state_dict(), {str(tmp_path / "state")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(ModuleNotFoundError):
        loaded(tmp_path / "model.pt")
    twin, _, dropped = converted(tmp_path / "model.pt")
    assert_same(twin, torch.load(tmp_path / "state"))
    assert dropped["(root)"].startswith("own_classes.Net ")


def test_one_module_in_two_places_gives_its_tensors_two_names(tmp_path):
    shared = torch.nn.Linear(2, 2)
    path = saved(tmp_path, torch.nn.Sequential(shared, torch.nn.ReLU(), shared))
    twin, aliases, _ = converted(path)
    assert_same(twin, loaded(path).state_dict())
    assert aliases == {"2.weight": "0.weight", "2.bias": "0.bias"}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrap", ["weight_norm", "spectral_norm"])
def test_normalised_weights_are_stored_as_state_dict_gives_them(tmp_path, wrap):
    module = getattr(torch.nn.utils, wrap)(torch.nn.Linear(3, 2))
    module(torch.ones(1, 3))
    module.weight = module.weight.detach()
    path = saved(tmp_path, torch.nn.Sequential(module))
    twin, _, dropped = converted(path)
    assert_same(twin, loaded(path).state_dict())
    assert dropped["0.weight"] == "tensor that state_dict() leaves out"


def test_the_parallel_wrapper_keeps_its_prefix_as_in_state_dict(tmp_path):
    path = saved(tmp_path, torch.nn.DataParallel(torch.nn.Linear(2, 2)))
    assert_same(converted(path)[0], loaded(path).state_dict())


def with_model(**more) -> dict:
    return {"epoch": 3, "optimizer": None, "train_args": {"lr": 0.1}, "date": "2026-01-01", **more}


def test_a_detector_whose_average_alone_is_kept_gives_the_average(tmp_path):
    module = network()
    path = saved(tmp_path, with_model(model=None, ema=module, updates=7))
    twin, _, dropped = converted(path)
    assert_same(twin, module.state_dict())
    assert dropped["ema"].startswith("torch.nn.modules.container.Sequential")
    assert dropped.keys() > {"epoch", "optimizer", "train_args", "date", "model", "updates"}


def test_a_finished_detector_gives_its_model(tmp_path):
    module = network().half()
    assert_same(converted(saved(tmp_path, with_model(model=module, ema=None)))[0], module.state_dict())


def test_a_model_and_its_average_are_both_kept(tmp_path):
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    twin, *_ = converted(saved(tmp_path, with_model(model=first, ema=second)))
    expected = {f"model.{name}": tensor for name, tensor in first.state_dict().items()}
    assert_same(twin, expected | {f"ema.{name}": tensor for name, tensor in second.state_dict().items()})


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "BertForSequenceClassification"])
def test_a_whole_model_of_transformers_gives_its_state_dict(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    if kind.startswith("GPT2"):
        config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=20, n_positions=8)
    else:
        config = transformers.BertConfig(
            num_hidden_layers=2, num_attention_heads=2, hidden_size=8, intermediate_size=12, vocab_size=20
        )
    path = saved(tmp_path, getattr(transformers, kind)(config))
    twin, aliases, _ = converted(path)
    assert_same(twin, loaded(path).state_dict())
    assert aliases == ({"lm_head.weight": "transformer.wte.weight"} if kind.startswith("GPT2") else {})


def test_a_hook_that_changes_the_state_dict_is_refused(tmp_path):
    module = torch.nn.Linear(2, 2)
    module.register_state_dict_post_hook(rename)
    path = saved(tmp_path, module)
    with pytest.raises(NotConvertibleError, match="hooks that may change what state_dict"):
        planned_file(path)


def rename(module, state, prefix, metadata) -> None:
    state[prefix + "renamed"] = state.pop(prefix + "weight")


def planned_file(path: Path) -> ConversionPlan:
    found = examine(path, path.name, ScanOptions()).checkpoint
    return plan(found.graph.root, found.graph, found.storages, source_size=path.stat().st_size)


# Hand-built modules


@pytest.fixture
def build() -> GraphBuilder:
    return GraphBuilder()


def module(build: GraphBuilder, tensors=None, modules=None, **more):
    """A module as the machine records it."""
    node = build.call("evil.Anything", kind=CallKind.NEWOBJ)
    state = {
        "training": True,
        "_parameters": build.ordered(tensors or {}),
        "_buffers": build.dict(),
        "_modules": build.ordered(modules or {}),
        **more,
    }
    node.states = [build.dict(state)]
    return node


def planned(build: GraphBuilder, root) -> ConversionPlan:
    return plan(root, build.graph, build.storages, source_size=build.size)


def refused(build: GraphBuilder, root) -> str:
    with pytest.raises(NotConvertibleError) as caught:
        planned(build, root)
    return str(caught.value)


def test_a_module_anywhere_in_the_model_is_read(build):
    root = build.dict({"nets": [module(build, {"w": build.tensor()}, {"in": module(build, {"v": build.tensor()})})]})
    result = planned(build, root)
    assert {tensor.name for tensor in result.tensors} == {"nets.0.w"}
    assert result.aliases == (("nets.0.in.v", "nets.0.w"),)


@pytest.mark.parametrize("old", [True, False])
def test_an_object_of_the_oldest_protocols_is_read_too(build, old):
    node = module(build, {"w": build.tensor()})
    node.kind, node.callable = CallKind.REDUCE, build.name("copyreg._reconstructor")
    node.args = (build.name("own.Net"), build.name("builtins.object"), None if old else "state")
    if old:
        assert planned(build, node).dropped[0].type == "own.Net (the class and its settings)"
    else:
        assert "not a dict" in refused(build, node)


@pytest.mark.parametrize("kind", ["set", "call", "none"])
def test_the_set_of_non_persistent_buffers_is_read_in_every_form(build, kind):
    names = ["b"]
    left_out = {"set": SetNode(names), "call": build.call("builtins.set", names), "none": None}[kind]
    buffers = build.dict({"b": build.tensor(), "c": build.tensor(build.storage("1"))})
    result = planned(build, module(build, _buffers=buffers, _non_persistent_buffers_set=left_out))
    assert {tensor.name for tensor in result.tensors} == ({"c"} if kind != "none" else {"b", "c"})


def own_modules(build: GraphBuilder):
    node = module(build, {"w": build.tensor()})
    table = node.states[0].pairs[3][1]
    table.items.append(("x", table))
    return node


def cycle(build: GraphBuilder):
    node = module(build, {"w": build.tensor()})
    inner = module(build, {}, {"back": node})
    node.states[0].pairs[3][1].items.append(("inner", inner))
    return node


def endless(build: GraphBuilder):
    node = module(build, {"w": build.tensor()})
    for _ in range(100_000):
        outer = build.call("evil.Anything", kind=CallKind.NEWOBJ)
        outer.states = [build.dict([("_parameters", build.dict()), ("_buffers", build.dict())])]
        outer.states[0].pairs.append(("_modules", build.dict([("m", node)])))
        node = outer
    return node


def doubling(build: GraphBuilder):
    node = module(build, {"w": build.tensor()})
    for _ in range(100):
        node = module(build, {}, {"a": node, "b": node})
    return node


def with_attribute(build: GraphBuilder, **attributes):
    node = module(build, {"w": build.tensor()})
    for name, value in attributes.items():
        setattr(node, name, value)
    return node


def twice(build: GraphBuilder):
    node = module(build, {"w": build.tensor()})
    node.states[0].pairs.append(("_parameters", build.dict()))
    return node


ATTACKS = {
    "_modules in itself": (own_modules, "'x': in _modules, and not a module"),
    "a module in itself": (cycle, "a module stands inside itself"),
    "a hundred thousand nested modules": (endless, "a path of more than 4096 characters"),
    "sharing that doubles": (doubling, "in more than 10000 places"),
    "parameters that are a list": (
        lambda build: module(build, _parameters=[build.tensor()]),
        "_parameters is no plain dict",
    ),
    "parameters that are nothing": (
        lambda build: module(build, {"w": build.tensor()}, _buffers=None),
        "_buffers is no plain dict",
    ),
    "parameters with attributes": (
        lambda build: module(build, _parameters=ordered_with_state(build)),
        "_parameters is no plain dict",
    ),
    "no buffers at all": (lambda build: without(build, "_buffers"), "has no _buffers, so it is no module"),
    "a table that is set twice": (twice, "'_parameters' is set twice"),
    "a dot in a name": (lambda build: module(build, {"a.b": build.tensor()}), "a name that torch does not give"),
    "an empty name": (lambda build: module(build, {"": build.tensor()}), "a name that torch does not give"),
    "a dot in the name of a module": (
        lambda build: module(build, {}, {"a.b": module(build, {"w": build.tensor()})}),
        "a name that torch does not give",
    ),
    "a control character": (lambda build: module(build, {"a\x1b[2J": build.tensor()}), "not a name that a tensor may"),
    "a name that is no text": (
        lambda build: module(build, _parameters=build.dict([(1, build.tensor())])),
        "an attribute whose name is not text",
    ),
    "a parameter and a buffer of one name": (
        lambda build: module(build, {"w": build.tensor()}, _buffers=build.dict({"w": build.tensor()})),
        "two tensors have this name",
    ),
    "one name twice": (
        lambda build: module(build, [("w", build.tensor()), ("w", build.tensor())]),
        "'w' is set twice",
    ),
    "a parameter that is a dict": (
        lambda build: module(build, {"w": build.dict({"x": build.tensor()})}),
        "'w': in _parameters, and not a plain tensor",
    ),
    "a parameter that is a quantised tensor": (
        lambda build: module(build, {"w": build.call("torch._utils._rebuild_qtensor", build.storage())}),
        "'w': a quantised tensor (--lower would store its parts)",
    ),
    "a module that is a dict": (
        lambda build: module(build, {}, {"m": build.dict({"w": build.tensor()})}),
        "'m': in _modules, and not a module",
    ),
    "two states": (lambda build: restated(build), "not made like a module"),
    "items": (lambda build: with_attribute(build, items=[("x", 1)]), "not made like a module"),
    "elements": (lambda build: with_attribute(build, elements=[1]), "not made like a module"),
    "arguments": (lambda build: with_attribute(build, args=(1,)), "not a dict"),
    "a state with slots": (lambda build: with_attribute(build, states=[(None, build.tensor())]), "state is not a dict"),
    "a computed class": (lambda build: with_attribute(build, callable=build.call("evil.factory")), "not a dict"),
    "hooks on its state": (
        lambda build: module(build, {"w": build.tensor()}, _state_dict_hooks=build.ordered([(0, build.name("os.x"))])),
        "hooks that may change",
    ),
    "hooks before its state": (
        lambda build: module(build, {"w": build.tensor()}, _state_dict_pre_hooks=[1]),
        "hooks that may change",
    ),
    "left-out names in a list": (
        lambda build: module(build, {"w": build.tensor()}, _non_persistent_buffers_set=["w"]),
        "is no plain set",
    ),
    "left-out names that are numbers": (
        lambda build: module(build, {"w": build.tensor()}, _non_persistent_buffers_set=SetNode([1])),
        "does not hold names",
    ),
}


def ordered_with_state(build: GraphBuilder):
    node = build.ordered({"w": build.tensor()})
    node.states = [build.dict({"x": 1})]
    return node


def without(build: GraphBuilder, name: str):
    node = module(build, {"w": build.tensor()})
    node.states[0].pairs[:] = [pair for pair in node.states[0].pairs if pair[0] != name]
    return node


def restated(build: GraphBuilder):
    node = module(build, {"w": build.tensor()})
    node.states = [*node.states, build.dict({"training": False})]
    return node


@pytest.mark.parametrize("case", ATTACKS)
def test_a_module_that_torch_would_not_write_is_refused(build, case):
    make, reason = ATTACKS[case]
    root = make(build)
    assert reason in refused(build, root)


def test_a_module_without_tensors_is_no_checkpoint(build):
    assert "no tensors" in refused(build, module(build, {"w": None}))


def test_the_budget_for_attributes_ends_the_walk(build, monkeypatch):
    monkeypatch.setattr(walk, "MAX_VALUES", 3)
    assert "more than 3 attributes" in refused(build, module(build, {"w": build.tensor()}, a=1, b=2, c=3))


TREES = st.recursive(
    st.lists(st.integers(0, 3), max_size=3), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner), max_leaves=9
)


def tree(shape) -> torch.nn.Module:
    made = torch.nn.Module()
    if isinstance(shape, dict):
        for name, inner in shape.items():
            made.add_module(name, tree(inner))
    else:
        for index, size in enumerate(shape):
            made.register_parameter(f"p{index}", torch.nn.Parameter(torch.randn(size)) if size else None)
            made.register_buffer(f"b{index}", torch.full((size + 1,), size), persistent=bool(index))
    return made


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_any_tree_of_modules_has_the_names_of_its_state_dict(tmp_path_factory, shape):
    made = tree({"x": shape, "y": [1]})
    path = saved(tmp_path_factory.getbasetemp(), made)
    result = planned_file(path)
    assert {tensor.name: tensor.shape for tensor in result.tensors} == {
        name: tuple(tensor.shape) for name, tensor in copy.copy(made).state_dict().items()
    }


TOKENS = [b"K\0", b"K\x05", b"\x88", b")", b"N", b"}", b"]", b"h\1", b"h\2", b"h\5", b"0", b"2", b"(", b"t", b"\x81"]
TOKENS += [b"R", b"Q", b"s", b"u", b"b", b"a", b"e", b"X\1\0\0\0a", b"\x85", b"\x86", b"\x87", b"h\x0a", b"h\x20"]


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> tuple[bytes, dict, int]:
    """The pickle of a whole module, where its storages lie, and the size of its file."""
    path = saved(tmp_path_factory.mktemp("honest"), with_model(model=torch.nn.Sequential(Odd(), torch.nn.Linear(2, 1))))
    found = examine(path, path.name, ScanOptions()).checkpoint
    with zipfile.ZipFile(path) as held:
        return held.read("model/data.pkl"), dict(found.storages), path.stat().st_size


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_the_pickle_of_a_module_says_the_answer_is_a_plan_or_a_refusal(honest, data):
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
    assert all(item.source_offset + item.source_length <= size for item in made.tensors)
    assert all(item.name and item.name.isprintable() for item in made.tensors)
