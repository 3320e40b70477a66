"""Models of other frameworks, as their libraries write them; TensorFlow's and Flax' own are vectors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import framework_files
from benign.corpus import Writer, Written


def _keras(folder: Path) -> Iterator[Written]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    layers = keras.layers
    models = {
        "dense": [keras.Input((3,)), layers.Dense(4, activation="relu"), layers.Dropout(0.1), layers.Dense(2)],
        "convolution": [keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten()],
        "recurrent": [keras.Input((5,)), layers.Embedding(10, 4), layers.LSTM(3), layers.Dense(1, "sigmoid")],
    }
    for name, parts in models.items():
        model = keras.Sequential(parts, name=name)
        model.compile(optimizer="adam", loss="mse", metrics=["mae"])
        for suffix in (".keras", ".h5", ".weights.h5"):
            (model.save_weights if "weights" in suffix else model.save)(folder / f"{name}{suffix}")
            yield Written(f"{name}{suffix}", f"{name} model")


def _onnx(folder: Path) -> Iterator[Written]:
    (folder / "model.onnx").write_bytes(framework_files.onnx_model())
    yield Written("model.onnx", "a model with an initializer")
    for opset in (13, 17, 21):
        import onnx
        from onnx import TensorProto, helper

        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("a", "b")]
        nodes = [helper.make_node("Relu", ["a"], ["c"]), helper.make_node("Softmax", ["c"], ["b"], axis=1)]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test")
        onnx.save(model, folder / f"opset{opset}.onnx")
        yield Written(f"opset{opset}.onnx", "a model of computing nodes")


def _plain(folder: Path) -> Iterator[Written]:
    for name, make in framework_files.FILES.items():
        if not name.endswith((".keras", ".h5", ".onnx")):
            (folder / name).write_bytes(make())
            yield Written(name, f"a small file: {name}")


WRITERS: Mapping[str, Writer] = {"keras": _keras, "onnx": _onnx, "frameworks": _plain}
