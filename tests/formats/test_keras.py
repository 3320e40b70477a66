"""Keras models: configurations that the library wrote, code in them, and HDF5 files that lead elsewhere."""

import base64
import contextlib
import json
import marshal
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.finding import Finding, Severity
from aiverify.formats.config import examine_json
from aiverify.formats.content import Allowance, in_place, on_disk
from aiverify.formats.hdf5 import examine_hdf5
from aiverify.formats.interface import Examination
from aiverify.formats.keras import judge_configuration
from aiverify.formats.marshalled import MarshalError, read_code


def dense() -> keras.Model:
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.LayerNormalization()]
    )


def with_lambda() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, name="twice")])


def judged(configuration: object) -> list[Finding]:
    return judge_configuration(configuration, "model.keras", "config.json")


def rules(configuration: object) -> list[str]:
    return [found.rule for found in judged(configuration)]


def layer(name: str, module: str | None = "keras.layers", registered: str | None = None, **config: object) -> object:
    inner = {"class_name": name, "module": module, "registered_name": registered, "config": {"name": "it", **config}}
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": [inner]}}


def encoded(function: Callable[..., object]) -> str:
    return base64.b64encode(marshal.dumps(function.__code__)).decode()


def hostile(x: object) -> object:
    import os

    os.system("true")
    return [eval(y) for y in x]  # type: ignore[attr-defined]


def test_a_model_of_the_library_is_clean() -> None:
    assert rules(json.loads(dense().to_json())) == []


def test_a_compiled_model_is_clean() -> None:
    model = dense()
    model.compile(optimizer="adam", loss=keras.losses.categorical_crossentropy, metrics=["accuracy"])
    assert rules(keras.saving.serialize_keras_object(model)) == []


def test_a_lambda_of_the_library_is_code() -> None:
    (found,) = judged(json.loads(with_lambda().to_json()))
    assert found.rule == "AIV411"
    assert found.severity is Severity.HIGH
    assert "'twice'" in found.message


@pytest.mark.parametrize(
    "function",
    [
        {"class_name": "__lambda__", "config": {"code": encoded(hostile), "defaults": None, "closure": None}},
        [encoded(hostile), None, None],
    ],
    ids=["keras 3", "keras 2"],
)
def test_what_the_code_of_a_lambda_names_is_said(function: object) -> None:
    (found,) = judged(layer("Lambda", function=function, function_type="lambda"))
    assert found.severity is Severity.CRITICAL
    assert "system" in found.evidence["names"]
    assert "true" in found.evidence["constants"]
    assert "eval" in found.message


def test_code_that_cannot_be_read_is_no_less_code() -> None:
    function = {"class_name": "__lambda__", "config": {"code": "bm90aGluZw=="}}
    (found,) = judged(layer("Lambda", function=function))
    assert found.rule == "AIV411"
    assert "cannot be read" in found.message


@pytest.mark.parametrize(
    ("configuration", "rule"),
    [
        (layer("Lambda", function="helper", function_type="function"), "AIV413"),
        (layer("TFSMLayer", filepath="/elsewhere"), "AIV411"),
        (layer("TorchModuleWrapper", module="gAR9Lg=="), "AIV411"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "AIV415"),
        (layer("TextVectorization", vocabulary="http://host/words"), "AIV415"),
        (layer("system", module="os"), "AIV411"),
        (layer("Net", module="acme.layers"), "AIV413"),
        (layer("Net", registered="Acme>Net"), "AIV413"),
        (layer("function", module="builtins"), "AIV413"),
        (
            layer("Dense", activation={"class_name": "function", "module": "keras.utils", "config": "get_file"}),
            "AIV411",
        ),
        (layer("Dense", activation={"class_name": "function", "module": "subprocess", "config": "run"}), "AIV411"),
        (layer("Dense", activation={"class_name": "function", "module": "builtins", "config": "mine"}), "AIV413"),
        (layer("Dense", activation={"class_name": "function", "module": "builtins", "config": "eval"}), "AIV411"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_configuration_makes_a_loader_do_is_said(configuration: object, rule: str) -> None:
    assert rules(configuration) == [rule]


def test_a_vocabulary_in_the_configuration_is_clean() -> None:
    assert rules(layer("StringLookup", vocabulary=["a", "b"])) == []


def test_a_configuration_of_any_depth_is_walked() -> None:
    configuration: object = layer("TFSMLayer")
    for _ in range(5000):
        configuration = {"config": [configuration]}
    assert rules(configuration) == ["AIV411"]


keys = st.sampled_from(("class_name", "config", "module", "registered_name", "name", "function", "code", "vocabulary"))
names = st.sampled_from(("Lambda", "__lambda__", "function", "TFSMLayer", "StringLookup", "Net", "os", "keras.layers"))
leaves = st.none() | st.booleans() | st.integers() | names | st.text(max_size=5)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=30
)


@effort(300)
@given(trees)
def test_no_configuration_leaves_the_judge_without_an_answer(configuration: object) -> None:
    assert set(rules(configuration)) <= {"AIV411", "AIV413", "AIV415"}


# code objects


def a_generator(a, b=1, *args, c, **kwargs):
    for value in (1, 2.5, 3 + 4j, b"bytes", "text", None, ..., 1 << 100, frozenset({1}), True):
        yield lambda value=value: (a, value, [inner + 1 for inner in args])


@pytest.mark.parametrize("function", [hostile, a_generator, dense, with_lambda, pytest.approx])
def test_a_code_object_is_read_as_marshal_reads_it(function: Callable[..., object]) -> None:
    raw = marshal.dumps(function.__code__)
    code, expected = read_code(raw), marshal.loads(raw)
    pairs = [(code, expected)]
    while pairs:
        ours, theirs = pairs.pop()
        assert (ours.name, ours.names, ours.bytecode) == (theirs.co_name, theirs.co_names, theirs.co_code)
        inner = [it for it in theirs.co_consts if hasattr(it, "co_code")]
        pairs += zip([it for it in ours.constants if hasattr(it, "bytecode")], inner, strict=True)
    assert all(part.instructions() for part in code.everything())


@pytest.mark.parametrize(
    "raw", [b"", b"N", b"c", b"\xe3" + b"\0" * 30, b"(" + b"\xff" * 4, b"r\x05\0\0\0", b")\x01" * 300, b"?"]
)
def test_what_is_no_code_is_refused(raw: bytes) -> None:
    with pytest.raises(MarshalError):
        read_code(raw)


@effort(200)
@given(st.data())
def test_no_mutation_of_code_is_more_than_refused(data: st.DataObject) -> None:
    raw = bytearray(marshal.dumps(hostile.__code__))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MarshalError):
        list(read_code(bytes(raw)).everything())


# HDF5


def examined(place: Path) -> Examination:
    with place.open("rb", buffering=0) as file, on_disk(file) as content:
        return examine_hdf5(content, "model.h5", Allowance())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("keras") / "model.h5"
    dense().save(place)
    return place


def test_a_saved_model_is_clean(saved: Path) -> None:
    examination = examined(saved)
    assert (examination.findings, examination.unexamined) == ([], [])


def test_a_saved_lambda_is_code(tmp_path: Path) -> None:
    place = tmp_path / "model.h5"
    with_lambda().save(place)
    assert [found.rule for found in examined(place).findings] == ["AIV411"]


def link(file: h5py.File) -> None:
    file["a/x"] = h5py.ExternalLink("/etc/passwd", "/y")


def storage(file: h5py.File) -> None:
    file.create_dataset("x", shape=(10,), dtype="u1", external=[("/etc/hostname", 0, 10)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/elsewhere.h5", "q", shape=(4,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("change", [link, storage, virtual], ids=lambda change: change.__name__)
def test_what_leads_out_of_the_file_is_said(tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        change(file)
        file["inside"] = h5py.SoftLink("/x")
        file["again"] = file["/"]
    (found,) = examined(tmp_path / "model.h5").findings
    assert found.rule == "AIV415"


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_bytes_behind_the_end_are_said(tmp_path: Path, version: str) -> None:
    place = tmp_path / "model.h5"
    with h5py.File(place, "w", libver=version) as file:
        file["x"] = list(range(10))
    assert examined(place).findings == []
    place.write_bytes(place.read_bytes() + b"tail")
    assert [found.rule for found in examined(place).findings] == ["AIV414"]


def test_a_file_that_only_lies_in_memory_is_read_as_well(saved: Path) -> None:
    examination = examine_hdf5(in_place(saved.read_bytes()), "model.h5", Allowance())
    assert (examination.findings, examination.unexamined) == ([], [])
    assert examine_hdf5(in_place(saved.read_bytes()), "model.h5", Allowance(inflated=10)).unexamined


def test_a_pickle_among_the_attributes_is_said(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["TITLE"] = "a table"
        file["x"] = [1, 2]
        file["x"].attrs["kind"] = b"(lp0\nVa\np1\na."  # what PyTables writes of a list
        file["x"].attrs["empty"] = h5py.Empty("f")
    assert examined(tmp_path / "model.h5").findings == []
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file["x"].attrs["kind"] = b"cos\nsystem\n(S'true'\ntR."
    (found,) = examined(tmp_path / "model.h5").findings
    assert (found.rule, "/x@kind" in found.message) == ("AIV411", True)


@pytest.mark.parametrize(
    ("mark", "value", "objects"),
    [
        ("PSEUDOATOM", np.bytes_("object"), True),
        ("PSEUDOATOM", "object", True),
        ("PSEUDOATOM", np.bytes_("Vobject\n."), True),
        ("PSEUDOATOM", np.array(["object"], "S6"), True),
        ("FLAVOR", np.bytes_("Object"), True),
        ("PSEUDOATOM", np.bytes_("vlstring"), False),
        ("FLAVOR", np.bytes_("numpy"), False),
    ],
)
def test_rows_that_pandas_would_unpickle_are_said(tmp_path: Path, mark: str, value: object, objects: bool) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        rows = file.create_dataset("table/block0_values", (1,), dtype=h5py.vlen_dtype(np.uint8))
        rows[0] = np.frombuffer(b"cos\nsystem\n(S'true'\ntR.", np.uint8)
        rows.attrs[mark] = value
    examination = examined(tmp_path / "model.h5")
    assert [item.rule for item in examination.findings] == ["AIV411"] * objects
    assert len(examination.unexamined) == objects


def test_shared_constants_are_walked_once() -> None:
    code = (lambda: 0).__code__
    for _ in range(40):
        code = code.replace(co_consts=(code, code))
    assert len(list(read_code(marshal.dumps(code)).everything())) == 41


def test_names_that_many_code_objects_share_are_counted_for_each() -> None:
    names = tuple(f"n{number}" for number in range(1_000))
    inner = (lambda: 0).__code__.replace(co_names=names)
    outer = inner.replace(co_consts=tuple(inner.replace(co_firstlineno=line) for line in range(1, 300)))
    with pytest.raises(MarshalError, match="more than"):
        read_code(marshal.dumps(outer))


def test_a_broken_file_is_said_to_be_unread(saved: Path, tmp_path: Path) -> None:
    place = tmp_path / "model.h5"
    place.write_bytes(saved.read_bytes()[:-3000])
    examination = examined(place)
    assert [found.rule for found in examination.findings] == ["AIV404"]
    assert examination.unexamined


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda model: model,
        lambda model: {"a": [model]},
        lambda model: {"modelTopology": {"keras_version": "3", "model_config": model}, "format": "layers-model"},
    ],
)
def test_a_model_whose_configuration_is_a_file_of_its_own_is_judged(wrapped: Callable[[object], object]) -> None:
    said = examine_json(json.dumps(wrapped(json.loads(with_lambda().to_json()))).encode(), "config.json").findings
    assert [item.rule for item in said] == ["AIV411"]
    assert examine_json(json.dumps(wrapped(json.loads(dense().to_json()))).encode(), "config.json").findings == []


def test_a_lambda_outside_of_a_layer_is_read() -> None:
    value = [encoded(hostile), None, None]
    (found,) = judged(layer("Dense", activation={"class_name": "__lambda__", "config": {"value": value}}))
    assert found.severity is Severity.CRITICAL


def test_a_function_that_is_called_a_class_is_no_part_of_a_model() -> None:
    getter = {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None}
    assert rules(layer("Dense", activation=getter)) == ["AIV411"]
