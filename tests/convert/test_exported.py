"""Programs that ``torch.export`` wrote, compared with the state that ``torch.export.load`` gives them again."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from aiverify.convert.checkpoint import plan
from aiverify.convert.plan import ConversionError, ConversionPlan
from aiverify.convert.writer import write_twin
from aiverify.formats.examine import examine
from aiverify.formats.interface import Examination, Format, ScanOptions
from aiverify.progress import Silent

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about its own archives


class Varied(torch.nn.Module):
    """Parameters and buffers of every kind that an archive treats on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.tied = torch.nn.Linear(4, 4)
        self.tied.weight = self.layer.weight
        self.transposed = torch.nn.Parameter(torch.randn(4, 4).t())
        self.narrow = torch.nn.Parameter(torch.randn(4).to(torch.bfloat16))
        base = torch.randn(10)
        self.register_buffer("running", torch.arange(4.0))
        self.register_buffer("left", base[2:6])
        self.register_buffer("right", base[4:8])
        self.register_buffer("scalar", torch.tensor(2.0))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("expanded", torch.ones(1).expand(4))
        self.register_buffer("complex", torch.randn(4, dtype=torch.complex64))
        self.register_buffer("count", torch.tensor([3], dtype=torch.int64))
        self.register_buffer("hidden", torch.ones(4), persistent=False)
        self.constant = torch.full((4,), 3.0)

    def forward(self, x):
        x = self.tied(self.layer(x)) + self.running + self.hidden + self.constant + self.transposed.sum()
        x = x + self.narrow.float() + self.left + self.right + self.scalar + self.empty.sum() + self.expanded
        return x + self.complex.real + self.count


def exported(path: Path, module=None) -> Path:
    torch.manual_seed(0)
    program = torch.export.export(module or Varied(), (torch.randn(2, 4),))
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return exported(tmp_path_factory.mktemp("program") / "model.pt2")


def looked_at(path: Path) -> Examination:
    return examine(path, path.name, ScanOptions())


def planned(path: Path) -> ConversionPlan:
    found = looked_at(path).checkpoint
    assert found is not None
    return plan(
        found.graph.root,
        found.graph,
        found.storages,
        byteorder=found.byteorder,
        source_size=path.stat().st_size,
        left_out=found.left_out,
    )


def converted(path: Path, folder: Path) -> tuple[ConversionPlan, dict]:
    made = planned(path)
    write_twin(path, made, folder / "twin", Silent())
    with safe_open(folder / "twin", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    return made, {**tensors, **{removed: tensors[kept] for removed, kept in made.aliases}}


def bits(tensor) -> bytes:
    plain = torch.empty(tensor.shape, dtype=tensor.dtype)
    plain.copy_(tensor.detach())
    return bytes(plain.reshape(-1).view(torch.uint8).tolist()) if plain.numel() else b""


def assert_same(twin: dict, state: dict) -> None:
    assert twin.keys() == state.keys()
    for name, tensor in state.items():
        assert (twin[name].dtype, twin[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(twin[name]) == bits(tensor), name


def rewritten(path: Path, to: Path, change) -> Path:
    """The archive written anew, each entry through ``change``, which gives the name below the folder and its bytes."""
    raw = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(raw, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for info in old.infolist():
            name = info.filename.removeprefix(f"{root}/")
            data = change(name, old.read(info))
            if data is not None:
                new.writestr(info.filename, data, compress_type=info.compress_type)
    to.write_bytes(raw.getvalue())
    return to


def test_a_program_is_recognised_and_nothing_is_said_against_an_honest_one(program):
    examination = looked_at(program)
    assert (examination.format, examination.findings, examination.unexamined) == (Format.TORCH_EXPORT, [], [])


def test_the_twin_holds_the_state_of_the_loaded_program(program, tmp_path):
    made, twin = converted(program, tmp_path)
    loaded = torch.export.load(program)
    assert_same(twin, dict(loaded.state_dict))
    assert made.aliases == (("tied.weight", "layer.weight"),)


def test_constants_and_sample_inputs_are_listed_as_left_behind(program, tmp_path):
    made, twin = converted(program, tmp_path)
    dropped = {item.path: item.type for item in made.dropped}
    assert dropped == {
        "(constants).constant": "constant of the program",
        "(constants).hidden": "constant of the program",
        "data/sample_inputs/model.pt": "checkpoint beside the weights",
    }
    assert not {"constant", "hidden"} & twin.keys()


TYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16),
    *(torch.float32, torch.float64, torch.complex64, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
]


def test_every_type_has_the_number_that_torch_gives_it(tmp_path):
    class Typed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for dtype in TYPES:
                raw = torch.arange(2 * dtype.itemsize, dtype=torch.uint8) % 2
                self.register_buffer(f"of_{str(dtype)[6:]}", raw.view(dtype))

        def forward(self, x):
            return x + sum(buffer.numel() for buffer in self.buffers())

    path = exported(tmp_path / "typed.pt2", Typed())
    _, twin = converted(path, tmp_path)
    assert_same(twin, dict(torch.export.load(path).state_dict))
    assert len(twin) == len(TYPES)


def test_a_weight_that_is_pickled_is_taken_out_of_its_own_checkpoint(program, tmp_path):
    """Tensor subclasses are written that way."""
    saved = io.BytesIO()
    torch.save(torch.full((3, 2), 7.0).t(), saved)

    def change(name, data):
        if name.endswith("weights_config.json"):
            config = json.loads(data)
            config["config"]["running"].update(use_pickle=True, path_name="weight_99")
            return json.dumps(config)
        return saved.getvalue() if name == "data/weights/weight_5" else data

    path = rewritten(program, tmp_path / "p.pt2", change)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].partition("/")[0] + "/data/weights/weight_99", saved.getvalue())
    _, twin = converted(path, tmp_path)
    assert bits(twin["running"]) == bits(torch.full((2, 3), 7.0))


def old_program(tmp_path: Path, state, suffix="pt") -> Path:
    """An archive as torch 2.1 to 2.7 wrote it."""
    saved = io.BytesIO()
    torch.save(state, saved)
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.0")
        archive.writestr("serialized_exported_program.json", json.dumps({"graph_module": {"graph": {"nodes": []}}}))
        archive.writestr(f"serialized_state_dict.{suffix}", saved.getvalue())
        for name in ("serialized_constants", "serialized_example_inputs"):
            empty = io.BytesIO()
            torch.save({}, empty)
            archive.writestr(f"{name}.pt", empty.getvalue())
    return path


@pytest.mark.parametrize("suffix", ["pt", "json"])
@pytest.mark.parametrize("kind", [dict, __import__("collections").OrderedDict])
def test_a_program_of_older_versions_gives_its_state(tmp_path, suffix, kind):
    state = kind({"a.weight": torch.randn(3, 4).t(), "b": torch.ones(2)})
    state["tied"] = state["b"]
    path = old_program(tmp_path, state, suffix)
    assert looked_at(path).format is Format.TORCH_EXPORT
    made, twin = converted(path, tmp_path)
    assert_same(twin, state)
    assert made.aliases == (("tied", "b"),)


def test_weights_in_two_places_are_not_guessed_at(program, tmp_path):
    """The loader would take the older form alone."""
    saved = io.BytesIO()
    torch.save({"other": torch.ones(2)}, saved)
    path = rewritten(program, tmp_path / "p.pt2", lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].partition("/")[0] + "/data/weights/model.pt", saved.getvalue())
    examination = looked_at(path)
    assert examination.checkpoint is None
    assert any("stated in two ways" in item.reason for item in examination.unexamined)


def test_an_operator_outside_of_torchs_own_is_a_finding(program, tmp_path):
    def change(name, data):
        if not name.startswith("models/"):
            return data
        text = json.loads(data)
        nodes = text["graph_module"]["graph"]["nodes"]
        nodes.append({"target": "torch.serialization.os.system", "inputs": [], "outputs": [], "metadata": {}})
        nodes.append({"target": "torch.ops.mine.run.default", "inputs": [], "outputs": [], "metadata": {}})
        return json.dumps(text)

    examination = looked_at(rewritten(program, tmp_path / "p.pt2", change))
    said = {item.rule: item.message for item in examination.findings}
    assert said.keys() == {"AIV412", "AIV413"}
    assert "torch.serialization.os.system" in said["AIV412"]
    assert "torch.ops.mine.run.default" in said["AIV413"]


PAYLOAD = b"cposix\nsystem\n(S'true'\ntR."


def payload() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("archive/data.pkl", PAYLOAD)
    return raw.getvalue()


@pytest.mark.parametrize("where", ["data/sample_inputs/model.pt", "data/constants/model.pt", "data/weights/model.pt"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_payload_in_a_nested_checkpoint_is_found(program, tmp_path, where, nested):
    raw = payload() if nested else PAYLOAD
    path = rewritten(program, tmp_path / "p.pt2", lambda name, data: raw if name == where else data)
    if where != "data/sample_inputs/model.pt":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(archive.namelist()[0].partition("/")[0] + "/" + where, raw)
    (named,) = (item for item in looked_at(path).findings if item.rule == "AIV301")
    assert where in (named.location.member or "")


@pytest.mark.parametrize("record", ["custom_obj_0", "opaque_obj_0", "tensor_0"])
def test_a_payload_in_a_pickled_constant_is_found(program, tmp_path, record):
    def change(name, data):
        if name.endswith("constants_config.json"):
            config = json.loads(data)
            config["config"]["constant"].update(use_pickle=True, path_name=record)
            return json.dumps(config)
        return PAYLOAD if name == f"data/constants/{record}" else data

    path = rewritten(program, tmp_path / "p.pt2", change)
    if record != "tensor_0":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(archive.namelist()[0].partition("/")[0] + f"/data/constants/{record}", PAYLOAD)
    assert any(item.rule == "AIV301" for item in looked_at(path).findings)


def configured(tensor: dict) -> object:
    """Changes what the configuration says of one weight."""

    def change(name, data):
        if not name.endswith("weights_config.json"):
            return data
        config = json.loads(data)
        facts = config["config"]["running"]
        facts["tensor_meta"].update({k: v for k, v in tensor.items() if k in facts["tensor_meta"]})
        facts.update({k: v for k, v in tensor.items() if k not in facts["tensor_meta"]})
        return json.dumps(config)

    return change


NUMBER = {"as_int": 1 << 62}
BROKEN = {
    "a record elsewhere": ({"path_name": "../constants/tensor_0"}, "not described as torch"),
    "an absolute record": ({"path_name": "/etc/passwd"}, "not described as torch"),
    "a record that is missing": ({"path_name": "weight_77"}, "not in the archive"),
    "a record that is none": ({"path_name": 3}, "not described as torch"),
    "an unknown type": ({"dtype": 99}, "not described as torch"),
    "a type that is none": ({"dtype": True}, "not described as torch"),
    "another layout": ({"layout": 1}, "not described as torch"),
    "a symbolic size": ({"sizes": [{"as_expr": {"expr_str": "s0"}}]}, "not described as torch"),
    "a negative size": ({"sizes": [{"as_int": -1}]}, "not described as torch"),
    "many dimensions": ({"sizes": [{"as_int": 1}] * 65}, "not described as torch"),
    "no offset": ({"storage_offset": None}, "not described as torch"),
    "a description that is none": ({"tensor_meta": 3}, "not described as torch"),
    "pickled or not": ({"use_pickle": 1}, "not described as torch"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_weight_that_is_not_described_as_torch_does_leaves_the_program_unexamined(program, tmp_path, case):
    facts, reason = BROKEN[case]
    examination = looked_at(rewritten(program, tmp_path / "p.pt2", configured(facts)))
    assert examination.checkpoint is None
    assert any(reason in item.reason for item in examination.unexamined)


OUTSIDE = {
    "a size beyond the record": ({"sizes": [{"as_int": 9}]}, "reaches beyond its storage"),
    "an offset beyond the record": ({"storage_offset": {"as_int": 2}}, "reaches beyond its storage"),
    "a stride beyond the record": ({"strides": [{"as_int": 2}]}, "reaches beyond its storage"),
    "an endless size": ({"sizes": [NUMBER, NUMBER], "strides": [NUMBER, NUMBER]}, "overflows"),
    "a stride too few": ({"strides": []}, "different lengths"),
    "two types for one record": ({"path_name": "weight_0", "dtype": 5}, "two types are stated"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_weight_that_leaves_its_record_is_refused(program, tmp_path, case):
    facts, reason = OUTSIDE[case]
    with pytest.raises(ConversionError, match=reason):
        planned(rewritten(program, tmp_path / "p.pt2", configured(facts)))


def test_a_bomb_of_stride_zero_is_refused(program, tmp_path):
    facts = {"sizes": [{"as_int": 1 << 30}], "strides": [{"as_int": 0}]}
    with pytest.raises(ConversionError, match="bytes of data"):
        planned(rewritten(program, tmp_path / "p.pt2", configured(facts)))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("byteorder", b"big", "big-endian"),
        ("data/weights/model_weights_config.json", b"[]", "not a list of tensors"),
        ("data/weights/model_weights_config.json", b'{"config": {"w": 1, "w": 2}}', "stands twice"),
        ("data/weights/model_weights_config.json", b"[" * 100_000, "not valid JSON"),
        ("data/weights/model_weights_config.json", b"\xff", "not valid JSON"),
        ("models/model.json", b"{", "not valid JSON"),
    ],
)
def test_a_program_that_cannot_be_read_is_unexamined(program, tmp_path, name, data, reason):
    examination = looked_at(rewritten(program, tmp_path / "p.pt2", lambda n, d: data if n == name else d))
    assert examination.checkpoint is None
    assert any(reason in item.reason for item in examination.unexamined)


def test_a_flipped_byte_in_a_weight_stops_the_conversion(program, tmp_path):
    raw = bytearray(program.read_bytes())
    tensor = next(item for item in planned(program).tensors if item.name == "layer.bias")
    raw[tensor.source_offset] ^= 1
    path = tmp_path / "p.pt2"
    path.write_bytes(raw)
    with pytest.raises(ConversionError, match="CRC-32"):
        converted(path, tmp_path)


def test_a_hidden_file_is_not_passed_over(program, tmp_path):
    path = rewritten(program, tmp_path / "p.pt2", lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/aotinductor/model/kernel.so", b"\x7fELF" + bytes(60))
        archive.writestr(f"{root}/data/weights/weight_500", PAYLOAD)
    examination = looked_at(path)
    members = {item.location.member for item in examination.findings} | {i.member for i in examination.unexamined}
    assert {f"{root}/data/aotinductor/model/kernel.so", f"{root}/data/weights/weight_500"} <= members


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3))
def test_no_alteration_makes_the_reader_raise_anything_else(program, tmp_path_factory, changes):
    raw = bytearray(program.read_bytes())
    for place, data in changes:
        raw[place % len(raw) : place % len(raw) + len(data)] = data
    path = tmp_path_factory.getbasetemp() / "any.pt2"
    path.write_bytes(raw)
    found = looked_at(path).checkpoint
    if found is not None:
        try:
            made = planned(path)
        except ConversionError:
            return
        assert all(t.source_offset + t.source_length <= len(raw) for t in made.tensors)
