"""Files of other frameworks through the front door: recognised by content, examined, and given a verdict."""

import functools
import json
import subprocess
import sys

import framework_files
import pickle_builder as b
import pytest
from framework_files import FILES, GRAPH, KERAS_CONFIG, VECTORS, gguf_model, hdf5_model, keras_archive, onnx_model
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from zip_builder import Member, archive

from aiverify.api import scan
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions

RUN = b.stream(b.call("os.system", b.text("true")))
HOSTILE = VECTORS / "tensorflow" / "reads.saved_model.pb"


@functools.cache
def honest(name: str) -> bytes:
    return FILES[name]()


def look(folder, raw: bytes, name: str):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return examine(path, name, ScanOptions())


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


@pytest.mark.parametrize("name", FILES)
def test_an_honest_file_alone_passes(name, tmp_path):
    (tmp_path / name).write_bytes(honest(name))
    report = scan(tmp_path, engines=())
    assert report.verdict.outcome == "pass", report.verdict.reasons
    assert report.unexamined == ()


@pytest.mark.parametrize("name", sorted(set(FILES) - {"model.pmml", "script.pt"}))
def test_the_content_decides_and_not_the_name(name, tmp_path):
    kind = look(tmp_path, honest(name), name).format
    assert kind not in (Format.UNKNOWN, Format.FOREIGN)
    assert look(tmp_path, honest(name), "noname").format is kind
    assert "AIV401" in rules(look(tmp_path, honest(name), "README.md"))


def test_a_tiny_model_is_not_taken_for_text(tmp_path):
    raw = onnx_model()
    assert b"\0" in raw
    tiny = b"\x08\x07:\x02\n\x00B\x02\x10\x11"  # a graph with an empty node, and an operator set: all of it is ASCII
    assert tiny.isascii()
    assert look(tmp_path, tiny.replace(b"\0", b""), "notes").format is not Format.ONNX
    text = b'\x08\x07:\x05\n\x03"\x01aB\x02\x10\x11'
    assert b"\0" not in text
    for name in ("notes", "README.md", "model.bin", "a.json", "a.py"):
        assert look(tmp_path, text, name).format is Format.ONNX


@pytest.mark.parametrize(("code", "name"), [(1, "hostile"), (0, "honest")])
def test_the_exit_code_of_the_command_says_it(code, name, tmp_path):
    raw = HOSTILE.read_bytes() if code else honest("saved_model.pb")
    (tmp_path / "saved_model.pb").write_bytes(raw)
    command = [sys.executable, "-m", "aiverify", "scan", str(tmp_path), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["verdict"]["variant"] == "tensorflow"


# What lies beside a model


def test_data_beside_a_model_are_looked_up(tmp_path):
    raw = onnx_model(location="model.onnx_data", offset=0, length=8)
    assert rules(look(tmp_path, raw, "model.onnx")) == {"AIV407"}
    assert look(tmp_path, bytes(range(8)), "model.onnx_data").format is Format.RAW
    assert rules(look(tmp_path, raw, "model.onnx")) == set()
    assert scan(tmp_path, engines=()).verdict.outcome == "pass"
    assert rules(look(tmp_path, onnx_model(location="model.onnx_data", offset=8, length=8), "model.onnx")) == {"AIV407"}


def test_data_without_a_model_beside_them_are_unknown(tmp_path):
    assert look(tmp_path, b"\xff\xfe\0\1" * 9, "model.onnx_data").unexamined


def test_a_link_out_of_the_folder_is_no_data_beside_a_model(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(8))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "data").symlink_to("../secret")
    raw = onnx_model(location="data")
    assert rules(look(tmp_path, raw, "model/model.onnx")) == {"AIV407"}


def test_a_link_in_a_snapshot_of_the_hub_is_data_beside_a_model(tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "1").write_bytes(bytes(8))
    (blobs / "2").write_bytes(onnx_model(location="model.onnx_data"))
    (snapshot / "model.onnx_data").symlink_to("../../blobs/1")
    (snapshot / "model.onnx").symlink_to("../../blobs/2")
    examination = examine(snapshot / "model.onnx", "model.onnx", ScanOptions())
    assert (examination.findings, examination.unexamined) == ([], [])
    assert examine(snapshot / "model.onnx_data", "model.onnx_data", ScanOptions()).format is Format.RAW


def test_data_beside_a_model_in_an_archive_are_not_looked_for_on_disk(tmp_path):
    (tmp_path / "model.onnx_data").write_bytes(bytes(8))
    raw = archive(Member(name=b"model.onnx", data=onnx_model(location="model.onnx_data")))
    examination = look(tmp_path, raw, "a.zip")
    assert [item.member for item in examination.unexamined] == ["model.onnx"]


def test_a_graph_of_openvino_is_judged_with_its_numbers(tmp_path):
    assert rules(look(tmp_path, GRAPH.encode(), "model.xml")) == {"AIV407"}
    assert look(tmp_path, b"\0\0\x80?" * 2, "model.bin").format is Format.RAW
    examination = look(tmp_path, GRAPH.encode(), "model.xml")
    assert (examination.format, rules(examination)) == (Format.OPENVINO, set())
    assert scan(tmp_path, engines=()).verdict.outcome == "pass"
    assert rules(look(tmp_path, GRAPH.replace('size="8"', 'size="9"').encode(), "model.xml")) == {"AIV407"}


def test_numbers_beside_a_model_that_run_as_a_pickle_are_one(tmp_path):
    (tmp_path / "model.xml").write_text(GRAPH)
    assert look(tmp_path, RUN, "model.bin").format is Format.PICKLE
    assert look(tmp_path, b"cos\nsystem\n(S'true'\ntR.", "model.bin").format is Format.PICKLE
    (tmp_path / "model.xml").write_text("no graph")
    assert look(tmp_path, b"\0\0\x80?" * 2, "model.bin").format is Format.PICKLE


def test_the_folder_of_a_saved_model_passes(tmp_path):
    table = bytes(40) + bytes.fromhex("57fb808b247547db")
    look(tmp_path, honest("saved_model.pb"), "saved_model.pb")
    look(tmp_path, table, "variables/variables.index")
    look(tmp_path, b"\x82\xcd" + bytes(range(1, 65)), "variables/variables.data-00000-of-00001")
    look(tmp_path, b"a\nb\n", "assets/vocabulary.txt")
    look(tmp_path, b"\x08\x80\x01\x10\x05\x18\x07\x20\x09\x28\x03\x32\x02\x08\x01", "fingerprint.pb")
    report = scan(tmp_path, engines=())
    assert (report.verdict.outcome, report.verdict.variant) == ("pass", "tensorflow"), report.verdict.reasons


def test_code_in_the_metadata_of_keras_layers_is_found(tmp_path):
    def message(number: int, content: bytes) -> bytes:
        return bytes((number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7)) + content

    def metadata(kind: str) -> bytes:
        text = json.dumps({"class_name": kind, "config": {"name": "x", "function": {"items": ["4wEA"]}}}).encode()
        node = b"\x10\x01" + message(3, b"root.x") + message(4, b"_tf_keras_layer") + message(5, text)
        return message(1, node)

    assert rules(look(tmp_path, metadata("Dense"), "keras_metadata.pb")) == set()
    assert rules(look(tmp_path, metadata("Lambda"), "keras_metadata.pb")) == {"AIV411"}


GRAPH_TEXT = 'node { name: "x" op: "%s" } # op: "WriteFile"\nlibrary { function { node_def { op: \'Add\' } } }\n'


@pytest.mark.parametrize(
    "written", ["ReadFile", 'Read" "File', 'Read" # a comment " \n \'File\' "', "Rea\\144File", "\\x52eadFile"]
)
def test_an_operator_in_a_graph_as_text_is_judged(written, tmp_path):
    assert rules(look(tmp_path, (GRAPH_TEXT % "MatMul").encode(), "saved_model.pbtxt")) == set()
    assert rules(look(tmp_path, (GRAPH_TEXT % written).encode(), "saved_model.pbtxt")) == {"AIV412"}


# Archives of Keras


LAMBDA = {**KERAS_CONFIG, "config": {"layers": [{"class_name": "Lambda", "config": {"function": "f", "name": "l"}}]}}


def test_the_configuration_in_an_archive_of_keras_is_judged(tmp_path):
    examination = look(tmp_path, keras_archive(LAMBDA), "model.keras")
    assert [(item.rule, item.location.member) for item in examination.findings] == [("AIV413", "config.json")]


def test_the_weights_and_assets_in_an_archive_of_keras_are_files_like_others(tmp_path):
    raw = keras_archive(KERAS_CONFIG, Member(name=b"assets/a.bin", data=RUN))
    assert "AIV301" in rules(look(tmp_path, raw, "model.keras"))
    raw = keras_archive(KERAS_CONFIG, Member(name=b"model.weights.h5", data=hdf5_model(LAMBDA)))
    assert {"AIV402", "AIV413"} <= rules(look(tmp_path, raw, "model.keras"))


# Recognised and not examined


FOREIGN = {
    "catboost": b"CBM1" + bytes(20),
    "lightgbm": b"tree\nversion=v4\nnum_class=1\n",
    "xgboost json": b'{"learner":{"attributes":{}},"version":[3,2,0]}',
    "xgboost ubj": b"{L" + (0).to_bytes(7, "big") + b"\x07learner{L" + bytes(30),
    "executorch": b"\x1c\0\0\0ET12" + bytes(20),
    "onnxruntime": b"\x1c\0\0\0ORTM" + bytes(20),
    "tensorrt": b"ftrt" + bytes(40),
    "torch7": b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x11\0\0\0torch.FloatTensor" + bytes(9),
    "R": b"X\n\0\0\0\x03" + bytes(20),
    "R workspace": b"RDX3\nX\n" + bytes(20),
    "ggml": b"tjgg\x03" + bytes(20),
    "fasttext": b"\xba\x16\x4f\x2f\x0c" + bytes(20),
    "gpt-oss": b"GPT-OSS v1.0\0\0\0\0" + bytes(20),
    "ctranslate2": b"\x06\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0" + bytes(20),
    "faiss": b"IwFl\x00\x03\0\0\x10\x27\0\0\0\0\0\0" + b"\0\0\x10\0\0\0\0\0" * 2 + b"\1\0\0\0\0",
    "jax": b"\x0c\xdb\x3a\x2a" + bytes(20),
    "coreml": b"\x08\x04\x12\x02\x0a\x00\xa2\x1f\x02\x08\x01",
    "paddle": b"\x0a\x08\x08\x00\x10\x00\x1a\x02\x0a\x00\x22\x02\x08\x01",
    "paddle parameters": bytes(16) + b"\x06\0\0\0\x08\x05\x10\x02\x10\x03" + b"\xff" * 9,
    "caffe": b"\x0a\x03net\xa2\x06\x02\x0a\x00",
}


@pytest.mark.parametrize("name", ["model.dat", "noname", "README.md"])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_recognised_and_not_examined_is_said(what, name, tmp_path):
    examination = look(tmp_path, FOREIGN[what], name)
    assert examination.format is Format.FOREIGN
    assert ["recognised, but not examined" in item.reason for item in examination.unexamined] == [True]


def test_a_booster_in_json_keeps_its_name_and_hides_no_key(tmp_path):
    assert rules(look(tmp_path, FOREIGN["xgboost json"], "model.json")) == set()
    hidden = b'{"learner":{}, "auto_map":{"AutoModel":"evil.Model"}}'
    examination = look(tmp_path, hidden, "config.json")
    assert (examination.format, rules(examination)) == (Format.JSON, {"AIV501"})
    index = b'{"learner":{}, "weight_map":{"a":"../b.safetensors"}}'
    assert look(tmp_path, index, "model.safetensors.index.json").format is Format.JSON
    assert look(tmp_path, b'{  "ET12":1, "auto_map":{"A":"evil.M"}}', "config.json").format is Format.JSON


def test_a_foreign_model_is_left_alone_beside_weights_of_pytorch(tmp_path):
    (tmp_path / "model.cbm").write_bytes(FOREIGN["catboost"])
    assert scan(tmp_path, engines=()).verdict.outcome == "error"
    (tmp_path / "model.pt").write_bytes(b"\x80\x02}.")
    report = scan(tmp_path, engines=())
    assert {item.path: item.file_class.value for item in report.artifact.files}["model.cbm"] == "other-framework"
    assert report.verdict.outcome == "pass"


@pytest.mark.parametrize(
    "raw", [b"MZqFpD='\n" + bytes(50), b"jartsr='\n", b"\x7fELF\x02\x01\x01" + bytes(50), b"MZ\x90\0" + bytes(60)]
)
@pytest.mark.parametrize("name", ["model.gguf", "model.llamafile", "model.bin", "model.h5", "model.onnx"])
def test_a_program_under_the_name_of_a_model_is_one(raw, name, tmp_path):
    assert "AIV408" in rules(look(tmp_path, raw, name))


# One thing at its beginning and another behind

CONTENTS = {
    **FILES,
    "run.pkl": lambda: RUN,
    "run.sh": lambda: b"#!/bin/sh\nid\n",
    "tool.elf": lambda: b"\x7fELF\x02\x01\x01" + bytes(57),
    "a.zip": lambda: archive(Member(name=b"a.txt", data=b"x")),
    "a.txt": lambda: b"just words\n",
}


IN_CHILDREN = ("model.h5", "model.keras")  # each look takes a process
PAIRS = [
    (name, behind) for name in FILES for behind in CONTENTS if name not in IN_CHILDREN or behind in ("run.pkl", "a.zip")
]


@pytest.mark.parametrize(("name", "behind"), PAIRS)
def test_what_begins_as_one_thing_and_goes_on_as_another_is_said(name, behind, tmp_path):
    examination = look(tmp_path, honest(name) + CONTENTS[behind](), name)
    alarming = [item for item in examination.findings if item.severity.rank >= 2]
    assert alarming, examination


@pytest.mark.parametrize("before", ["run.pkl", "tool.elf", "a.zip", "a.txt", "model.onnx"])
@pytest.mark.parametrize("name", FILES)
def test_what_stands_before_a_model_is_said(name, before, tmp_path):
    examination = look(tmp_path, CONTENTS[before]() + honest(name), name)
    assert [item for item in examination.findings if item.severity.rank >= 2], examination


@effort(60)
@given(st.sampled_from(sorted(set(FILES) - set(IN_CHILDREN))), st.binary(min_size=1, max_size=200).filter(any))
def test_any_bytes_behind_the_end_are_said(tmp_path_factory, name, tail):
    folder = tmp_path_factory.mktemp("tail")
    examination = look(folder, honest(name) + tail, name)
    assert examination.findings or examination.unexamined


@pytest.mark.parametrize("start", [512, 1024, 4096])
def test_a_file_of_hdf5_behind_another_beginning_is_found_and_examined(start, tmp_path):
    raw = honest("model.onnx").ljust(start, b"\0")[:start] + hdf5_model(LAMBDA)
    for name in ("model.onnx", "notes"):
        assert {"AIV402", "AIV413"} <= rules(look(tmp_path, raw, name))


def test_the_samples_are_used_elsewhere_too():
    assert framework_files.FILES is FILES
    assert gguf_model().startswith(b"GGUF")


def test_an_entry_that_is_not_as_long_as_it_says_is_said_and_no_crash(tmp_path):
    raw = archive(
        Member(name=b"m/data.pkl", data=b"\x80\x02}."),
        Member(name=b"m/byteorder", data=b"little" * 9, method=8, local={"size": 6}, central={"size": 6}),
    )
    examination = look(tmp_path, raw, "m.pt")
    assert examination.unexamined or examination.findings


def test_a_name_of_an_encoding_imports_nothing(tmp_path):
    raw = b"<?xml version='1.0' encoding='rot_13'?><PMML/>"
    before = set(sys.modules)
    assert look(tmp_path, raw, "m.pmml").unexamined
    assert not {name for name in set(sys.modules) - before if name.startswith("encodings")}
