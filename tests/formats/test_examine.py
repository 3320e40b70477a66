"""One file in, one examination out: the content decides, and what cannot be read is never clean."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pickle_builder as b
import pytest
import torch
from framework_files import FILES, PMML, gguf_model, hdf5_model, keras_archive, onnx_model
from fuzzing import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from zip_builder import Member, archive

from aiverify.artifact import FileClass
from aiverify.formats.examine import examine, recognise
from aiverify.formats.interface import Format, FormatError, ScanOptions
from aiverify.formats.messages import kind_of_message
from aiverify.formats.names import file_class, keeps_promise

RUN = b.stream(b.call("os.system", b.text("true")))


@pytest.fixture
def look(tmp_path):
    def look(raw: bytes, name: str = "file"):
        path = tmp_path / "content"
        path.write_bytes(raw)
        examination = examine(path, name, ScanOptions())
        assert recognise(path, name) in (examination.format, Format.ZIP, Format.TAR, Format.HDF5)
        return examination

    return look


def rules(examination) -> set[str]:
    return {item.rule for item in examination.findings}


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive_:
        archive_.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


def torch_tar() -> bytes:
    """A checkpoint without tensors, as PyTorch wrote it before 0.1.10."""
    file = io.BytesIO()
    none = b.stream(b.number(0), 2)
    parts = {"sys_info": b.stream(b"}", 2), "storages": none + b.stream(b"]", 2), "tensors": none}
    with tarfile.open(fileobj=file, mode="w") as archive_:
        for name, data in {**parts, "pickle": b.stream(b"}", 2)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive_.addfile(info, io.BytesIO(data))
    return file.getvalue()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def saved(**options) -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file, **options)
    return file.getvalue()


ELF = b"\x7fELF\x02\x01\x01" + bytes(50)
CONTENTS = {
    Format.SAFETENSORS: ("m.safetensors", save({"a": np.ones(2, np.float32)})),
    Format.TORCH_ZIP: ("m.pt", saved()),
    Format.TORCH_LEGACY: ("m.bin", saved(_use_new_zipfile_serialization=False)),
    Format.PICKLE: ("m.pkl", pickle.dumps({"a": 1})),
    Format.NPY: ("a.npy", npy(np.ones(3))),
    Format.NPZ: ("a.npz", archive(Member(name=b"a.npy", data=npy(np.ones(3))))),
    Format.ZIP: ("a.zip", archive(Member(name=b"a.txt", data=b"x"))),
    Format.TORCH_EXPORT: ("m.pt2", archive(Member(name=b"m/archive_format", data=b"pt2"))),
    Format.TORCH_TAR: ("m.pt", torch_tar()),
    Format.ARCHIVE: ("a.rar", b"Rar!\x1a\x07\x01\0" + bytes(20)),
    Format.JSON: ("config.json", b'{"a": 1}'),
    Format.YAML: ("config.yaml", b"a: 1\n"),
    Format.TEMPLATE: ("chat_template.jinja", b"{{ messages }}"),
    Format.PYTHON: ("model.py", b"import torch\n"),
    Format.SCRIPT: ("run.sh", b"#!/bin/sh\nls\n"),
    Format.TEXT: ("README.md", b"# Model\n"),
    Format.LFS_POINTER: ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
    Format.SENTENCEPIECE: ("tokenizer.model", b"\x0a\x0a\x0a\x03\xe2\x96\x81\x15\0\0\0\0"),
    Format.GGUF: ("m.gguf", gguf_model()),
    Format.HDF5: ("m.h5", hdf5_model()),
    Format.KERAS: ("m.keras", keras_archive()),
    Format.ONNX: ("m.onnx", onnx_model()),
    Format.TENSORFLOW: ("saved_model.pb", FILES["saved_model.pb"]()),
    Format.TFLITE: ("m.tflite", FILES["model.tflite"]()),
    Format.MSGPACK: ("flax_model.msgpack", FILES["flax_model.msgpack"]()),
    Format.XML: ("a.xml", b"<?xml version='1.0'?><model/>"),
    Format.OPENVINO: ("m.xml", b"<net name='m'></net>"),
    Format.PMML: ("m.pmml", PMML.encode()),
    Format.RAW: ("variables.index", bytes(40) + bytes.fromhex("57fb808b247547db")),
    Format.FOREIGN: ("m.cbm", b"CBM1" + bytes(20)),
    Format.TAR: ("a.tar", tar()),
    Format.COMPRESSED: ("a.gz", b"\x1f\x8b\x08" + bytes(20)),
    Format.SEVEN_ZIP: ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20)),
    Format.EXECUTABLE: ("tool", ELF),
    Format.MEDIA: ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20)),
    Format.EMPTY: ("__init__.py", b""),
    Format.UNKNOWN: ("blob", b"\xff\xfe\xfd\0" * 9),
}
UNREAD = {
    *(Format.FOREIGN, Format.COMPRESSED, Format.SEVEN_ZIP, Format.ARCHIVE, Format.UNKNOWN, Format.LFS_POINTER),
}
EXPECTED = {Format.PYTHON: "AIV502", Format.SCRIPT: "AIV505", Format.EXECUTABLE: "AIV408"}


def test_every_format_is_tried_here():
    assert set(CONTENTS) == set(Format)


@pytest.mark.parametrize("kind", CONTENTS, ids=str)
def test_each_format_is_recognised_by_its_content(look, kind):
    name, raw = CONTENTS[kind]
    examination = look(raw, name)
    assert examination.format is kind
    assert rules(examination) == ({EXPECTED[kind]} if kind in EXPECTED else set())
    assert bool(examination.unexamined) == (kind in UNREAD)


@pytest.mark.parametrize("kind", CONTENTS, ids=str)
def test_every_format_has_a_role(kind):
    assert file_class(kind) in FileClass
    inert = {Format.TEXT, Format.MEDIA, Format.EMPTY}
    assert (file_class(kind) is FileClass.INERT) == (kind in inert)


BINARY = [
    kind
    for kind in CONTENTS
    if kind
    in (
        Format.SAFETENSORS,
        Format.TORCH_ZIP,
        Format.NPY,
        Format.GGUF,
        Format.HDF5,
        Format.EXECUTABLE,
        Format.MEDIA,
        Format.PICKLE,
        Format.TORCH_LEGACY,
    )
]


@pytest.mark.parametrize("kind", BINARY, ids=str)
@pytest.mark.parametrize(
    "name", ["README.md", "config.json", "a.png", "a.gguf", "model.safetensors", "a.npy", "a.txt", "a.py"]
)
def test_a_name_makes_nothing_of_a_content(look, kind, name):
    examination = look(CONTENTS[kind][1], name)
    assert examination.format is kind
    assert ("AIV401" in rules(examination)) == (not keeps_promise(name, kind))


@pytest.mark.parametrize("name", ["checkpoint.pth.tar", "model_best.PTH.TAR", "checkpoint.tar"])
@pytest.mark.parametrize("kind", [Format.TORCH_ZIP, Format.TORCH_LEGACY, Format.TAR], ids=str)
def test_a_checkpoint_may_be_called_as_pytorchs_own_pages_call_it(look, name, kind):
    assert "AIV401" not in rules(look(CONTENTS[kind][1], name))
    assert "AIV401" in rules(look(CONTENTS[Format.SAFETENSORS][1], name))


@pytest.mark.parametrize("name", ["weights.bin", "m.pt", "m.ckpt", "x.pkl", "noname"])
@pytest.mark.parametrize("kind", [Format.PICKLE, Format.TORCH_LEGACY, Format.TORCH_ZIP], ids=str)
def test_a_checkpoint_may_have_any_of_its_names(look, kind, name):
    assert "AIV401" not in rules(look(CONTENTS[kind][1], name))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "m.pt", "m.pkl", "m.ckpt", "m.joblib"])
def test_a_tensor_file_under_the_name_of_a_pickle_is_a_lie(look, name):
    assert "AIV401" in rules(look(CONTENTS[Format.SAFETENSORS][1], name))


@pytest.mark.parametrize("count", range(1, 24))
def test_a_tensor_file_whose_length_looks_like_a_pickle_is_a_tensor_file(look, count):
    raw = save({f"layer{number}": np.ones(1, np.float32) for number in range(count)})
    for length in (0x80, 0x180, 0x280, 0x380, 0x480, 0x580):
        (size,) = struct.unpack("<Q", raw[:8])
        if size <= length:
            padded = struct.pack("<Q", length) + raw[8 : 8 + size].ljust(length) + raw[8 + size :]
            examination = look(padded, "m.safetensors")
            assert examination.format is Format.SAFETENSORS
            assert examination.findings == []


def test_a_configuration_of_our_own_is_reported_and_not_read(look):
    for name in ("aiverify.toml", "sub/aiverify.lock"):
        assert rules(look(b"[trust]\n", name)) == {"AIV601"}
    assert rules(look(b"x", "my-aiverify.toml")) == set()


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "model.py", "config.yaml", "LICENSE", "a.csv", "x"])
@pytest.mark.parametrize(
    "payload",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cos\nsystem\n(S'true'\ntR",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"V" + b"a " * 5000 + b"\n0cos\nsystem\n(S'true'\ntRx",
    ],
)
def test_a_printable_pickle_is_a_pickle_under_every_name(look, name, payload):
    examination = look(payload, name)
    assert examination.format is Format.PICKLE
    assert "AIV301" in rules(examination)


READMES = [
    "# Llama\n\nA model.\n",
    "---\nlicense: apache-2.0\nlanguage:\n- en\n---\n\n# Model card\n",
    "(c) 2024 The Authors\nAll rights reserved.\n",
    "chat\nmodel\nfor everyone\n",
    "conda create -n env python=3.11\npip install -r requirements.txt\nXformers is optional\n",
    "import torch\nfrom transformers import AutoModel\n",
    "Introduction\n============\n\nThis is a model.\n",
    "Note: see below.\nV1.0\n",
    "Version 1\nRelease notes\n",
    "License\n\nPermission is hereby granted, free of charge\n",
    "MIT License\n\nCopyright (c) 2024\n",
    "Foo 1.5\nGeneral\nJust text\nKeys\nList\nMore\nNone\nPut\nQuick\nReduce\nString\nText\nUse\n",
    ".\n",
    "0\n1\n2\n",
    "NNNNACGTNNNN\nACGT\n",
    ")))\n(((\n]]]\n}}}\n",
    "N",
    "}",
    "a\nb\nc\nd\n",
    "cos\nsystem\n",
    "cpickle\nnumpy\ntorch\n",
    "I love this model\nSo do I\n",
    "L'avenir\nest à nous\n",
    "été\n",
    "'quoted'\n\"double\"\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "S'il vous plaît\n",
    "gpt2\nbert\n",
    "pipeline_tag: text-generation\n",
    "Bonjour à tous, voici un modèle\n" * 50,
    "Tokenizer files: see https://example.org\n" * 200,
]


@pytest.mark.parametrize("text", READMES)
def test_ordinary_prose_is_text(look, text):
    examination = look(text.encode(), "README.md")
    assert examination.format is Format.TEXT
    assert (examination.findings, examination.unexamined) == ([], [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(150))
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200))
def test_random_text_is_text_or_a_pickle_that_does_something(look, text):
    examination = look(text.encode(), "a.txt")
    assert examination.format in (
        Format.TEXT,
        Format.PYTHON,
        Format.SCRIPT,
        Format.MEDIA,
        Format.EXECUTABLE,
        Format.COMPRESSED,
        Format.GGUF,
        Format.PICKLE,
        *(Format.XML, Format.TENSORFLOW, Format.SENTENCEPIECE, Format.ONNX, Format.FOREIGN),
    )
    assert examination.format is not Format.PICKLE or examination.findings


@pytest.mark.parametrize(
    ("raw", "name", "kind"),
    [
        (b"#!/usr/bin/env python3\n", "run", Format.PYTHON),
        (b"#!/bin/bash\n", "README", Format.SCRIPT),
        (b'{"a": 1}', "noname", Format.JSON),
        (b'{"a": ', "noname", Format.TEXT),
        (b"[" * 3000, "noname", Format.TEXT),
        (b"RIFF\0\0\0\0WAVEfmt ", "a.wav", Format.MEDIA),
        (b"\0\0\0\1Bud1\0\0\x10\0", "imgs/.DS_Store", Format.MEDIA),
        (b"BM\x62\1\0\0\0\0\0\0\x36\0\0\0", "a.bmp", Format.MEDIA),
        (b"BM25 is a ranking function", "notes", Format.TEXT),
        (b"\0\0\1\0\1\0\x10\x10\0\0", "favicon.ico", Format.MEDIA),
        (b"\0\1\0\0\0\x10\1\0", "a.ttf", Format.MEDIA),
        (b"\0\1\0\0\0\x10\1\0", "a.dat", Format.PICKLE),
        (b"\xff\xfb\x90\x64\0", "a.mp3", Format.MEDIA),
        (b"\xff\xfb\x90\x64\0", "a", Format.UNKNOWN),
        *((magic + bytes(9), "a", Format.MEDIA) for magic in (b"II*\0", b"MM\0*", b"glTF\2\0\0\0", b"wOFF", b"OTTO\0")),
        (b"\0\0\0\x20ftypisom", "a.mp4", Format.MEDIA),
        (b"MZ\x90\0", "setup.dat", Format.EXECUTABLE),
        (b"\xca\xfe\xba\xbe\0", "lib.dylib", Format.EXECUTABLE),
        (b"\xff\xff\xff\xff", "weights.bin", Format.PICKLE),
        (b"text", "weights.bin", Format.PICKLE),
        ("é".encode() * 2100, "a.txt", Format.TEXT),
        (b"a" + "é".encode() * 2100, "a.txt", Format.TEXT),
        (b"abc\xffdef", "a.txt", Format.UNKNOWN),
        (b"{}", "data.jsonl", Format.TEXT),
        (b"{}", "notebook.ipynb", Format.JSON),
        (b"x", "s.PS1", Format.SCRIPT),
        (b"\x80\x04", "x", Format.UNKNOWN),
        (b"\x80\x09abc", "x", Format.UNKNOWN),
    ],
)
def test_content_decides_and_the_name_only_where_the_content_leaves_it_open(look, raw, name, kind):
    assert look(raw, name).format is kind


CALLING = b"_target_: os.system\n"


@pytest.mark.parametrize("name", ["model_config.yaml", "hyperparams.YML", "MLmodel"])
@pytest.mark.parametrize(
    "begin",
    [
        *(b"#!/usr/bin/env python\n", b"#!/bin/sh\n", b"GIF8: 1\n", b"ID3: 1\n", b"abcdORTM: 1\n", b"<?xml a: 1\n"),
        *(b"<net : 1\n", b"abcdftyp: 1\n"),
    ],
)
def test_yaml_is_read_whatever_it_begins_like(look, name, begin):
    examination = look(begin + CALLING, name)
    assert examination.format is Format.YAML
    assert "AIV501" in rules(examination)
    assert ("AIV505" in rules(examination)) == begin.startswith(b"#!")


@pytest.mark.parametrize("begin", [b"#!python\n", b"GIF89a", b"<?xml version='1.0'?>", b"%PDF-1.7"])
def test_a_template_is_read_whatever_it_begins_like(look, begin):
    examination = look(begin + b"{{ ''.__class__ }}", "chat_template.jinja")
    assert examination.format is Format.TEMPLATE
    assert "AIV503" in rules(examination)


def as_message(text: str) -> bytes:
    """``text`` with a beginning of white space and a key, by which it is also a protocol buffer to its last byte."""
    front = '\t{"x":"aa£ '
    rest = f'aaaa","a":1,{text[1:]}'
    return (front + chr(len(rest.encode())) + rest).encode()


def test_json_is_read_though_it_is_a_protocol_buffer_to_its_last_byte(look):
    raw = as_message(json.dumps({"auto_map": {"AutoModel": "modeling.Model"}}))
    assert json.loads(raw)["auto_map"]
    assert kind_of_message(raw) is not None
    for name in ("config.json", "a.ipynb"):
        examination = look(raw, name)
        assert examination.format is Format.JSON
        assert "AIV501" in rules(examination)


@pytest.mark.parametrize("moved", [False, True], ids=["counted from the first byte", "moved"])
def test_an_archive_that_spans_the_members_of_a_tar_archive_is_found(look, moved):
    """Its directory begins in one member, and takes the header of the next for a comment, before it ends there."""
    file = io.BytesIO()
    front = 0 if moved else 512
    file.write(bytes(front))
    with zipfile.ZipFile(file, "a") as archive_:
        archive_.writestr("evil.pkl", RUN)
        archive_.infolist()[0].comment = b"c" * 2000
    raw = file.getvalue()[front:]
    place = raw.index(b"c" * 2000)
    first, rest = raw[:place], raw[place:]
    padding = -len(first) % 512
    second = rest[padding + 512 :]
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w", format=tarfile.USTAR_FORMAT) as tar_:
        for name, data in (("a.png", first), ("b.png", second)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar_.addfile(info, io.BytesIO(data))
    whole = box.getvalue()
    assert zipfile.ZipFile(io.BytesIO(whole)).read("evil.pkl") == RUN
    assert {"AIV402", "AIV301"} <= rules(look(whole, "model.bin"))


def test_an_archive_that_is_the_last_member_of_a_tar_archive_is_that_and_nothing_else(look):
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w") as tar_:
        for name, data in (("a.txt", b"x"), ("b.zip", archive(Member(name=b"a.txt", data=b"x")))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar_.addfile(info, io.BytesIO(data))
    assert zipfile.ZipFile(io.BytesIO(box.getvalue())).namelist() == ["a.txt"]
    assert rules(look(box.getvalue(), "a.tar")) == set()


@pytest.mark.parametrize("mark", [b"ORTM", b"ET12", b"TFL3"])
def test_a_comment_makes_no_other_model_of_a_graph(look, mark):
    examination = look(b"<!--" + mark + b"--><net name='m'><!DOCTYPE a SYSTEM 'http://x.example'></net>", "m.xml")
    assert (examination.format, "AIV415" in rules(examination)) == (Format.OPENVINO, True)


def test_a_pickle_name_over_text_is_read_as_a_pickle_and_breaks_off(look):
    examination = look(b"just words", "weights.bin")
    assert rules(examination) == {"AIV307"}
    assert examination.unexamined


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            examine(path, "x", ScanOptions())
        with pytest.raises(FormatError, match="cannot be read"):
            recognise(path, "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_an_error(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(FormatError, match="Permission"):
        examine(path, "x", ScanOptions())


def test_a_file_that_is_cut_to_nothing_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    import mmap

    def cut(*args, **options):
        raise ValueError("cannot mmap an empty file")

    path = tmp_path / "x"
    path.write_bytes(b"text")
    monkeypatch.setattr(mmap, "mmap", cut)
    for function in (lambda: examine(path, "x", ScanOptions()), lambda: recognise(path, "x")):
        with pytest.raises(FormatError, match="changed while it was read"):
            function()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], parent=effort(200))
@given(
    st.sampled_from(list(CONTENTS)),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
    st.integers(0, 30),
)
def test_no_alteration_of_a_file_makes_the_examination_raise(look, kind, changes, cut):
    name, raw = CONTENTS[kind]
    altered = bytearray(raw)
    for place, value in changes:
        if altered:
            altered[place % len(altered)] = value
    examination = look(bytes(altered[: len(altered) - cut]), name)
    json.dumps([dict(item.evidence) for item in examination.findings])


# Pickle streams in a row


def test_every_stream_of_a_file_is_judged(look):
    assert rules(look(b.stream(b"N") * 3, "a.pkl")) == set()
    examination = look(b.stream(b"N") * 3 + RUN, "a.pkl")
    assert rules(examination) == {"AIV301"}
    assert examination.findings[0].location.offset > 12


def test_bytes_behind_the_last_stream_are_a_finding(look):
    for tail in (b"\0" * 20, b"PK\x03\x04", b"."):
        assert rules(look(b.stream(b"N") + tail, "a.pkl")) == {"AIV308"}


def test_a_name_behind_the_last_whole_stream_is_judged_though_it_breaks_off(look):
    assert rules(look(b.stream(b"N") + RUN[:-1], "a.pkl")) == {"AIV301", "AIV307"}


def test_a_stream_behind_another_that_uses_up_the_budget_was_not_examined(look, monkeypatch):
    from aiverify.formats import pickle as streams
    from aiverify.pickles.machine import Budget, interpret

    monkeypatch.setattr(
        streams, "interpret", lambda data, start, **more: interpret(data, start, budget=Budget(opcodes=50), **more)
    )
    examination = look(b.stream(b"N") + b"N0" * 100 + RUN, "a.pkl")
    assert rules(examination) == {"AIV307"}
    assert examination.unexamined


def test_thousands_of_streams_were_not_examined_to_the_end(look):
    examination = look(b.stream(b"N") * 10_001, "a.pkl")
    assert "more than 10000 pickle streams" in examination.unexamined[0].reason
