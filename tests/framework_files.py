"""A small honest file of each framework's format, as its own library writes it where that is quick to import."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from zip_builder import Member, archive

VECTORS = Path(__file__).parent / "formats" / "vectors"
KERAS_CONFIG = {
    "module": "keras",
    "class_name": "Sequential",
    "config": {
        "name": "sequential",
        "layers": [
            {
                "module": "keras.layers",
                "class_name": "Dense",
                "config": {"name": "dense", "units": 2},
                "registered_name": None,
            }
        ],
    },
    "registered_name": None,
}
GRAPH = (
    '<?xml version="1.0"?>\n<net name="m" version="11"><layers>'
    '<layer id="0" name="w" type="Const" version="opset1">'
    '<data element_type="f32" shape="2" offset="0" size="8"/></layer></layers></net>\n'
)
PMML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/></PMML>\n'
)


def onnx_model(**external: object) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            weight.external_data.add(key=key, value=str(value))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "w"], ["b"])], "g", ends[:1], ends[1:], [weight])
    return helper.make_model(graph).SerializeToString()


def gguf_model() -> bytes:
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "m.gguf"
        writer = gguf.GGUFWriter(place, "llama")
        writer.add_name("m")
        writer.add_tensor("w", np.ones((2, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return place.read_bytes()


def hdf5_model(config: object = KERAS_CONFIG) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as model:
        model.attrs["model_config"] = json.dumps(config)
        model["model_weights/dense/kernel"] = np.ones((3, 2), np.float32)
    return file.getvalue()


def keras_archive(config: object = KERAS_CONFIG, *more: Member) -> bytes:
    return archive(
        Member(name=b"metadata.json", data=b'{"keras_version": "3.15.1"}'),
        Member(name=b"config.json", data=json.dumps(config).encode()),
        Member(name=b"model.weights.h5", data=hdf5_model()),
        *more,
    )


def torchscript() -> bytes:
    import torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 2)
            self.sizes = [1, 2]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) + torch.ones(2) * self.sizes[0]

    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Model()), file)
    return file.getvalue()


def _vector(name: str) -> Callable[[], bytes]:
    return (VECTORS / name).read_bytes


#: The name of a file, and what makes it.
FILES: Mapping[str, Callable[[], bytes]] = {
    "model.gguf": gguf_model,
    "model.onnx": onnx_model,
    "saved_model.pb": _vector("tensorflow/plain.saved_model.pb"),
    "frozen.pb": _vector("tensorflow/frozen.pb"),
    "graph.meta": _vector("tensorflow/plain.meta"),
    "model.tflite": _vector("tensorflow/dense.tflite"),
    "flax_model.msgpack": _vector("flax/parameters.msgpack"),
    "model.h5": hdf5_model,
    "model.keras": keras_archive,
    "model.pmml": PMML.encode,
    "script.pt": torchscript,
}
