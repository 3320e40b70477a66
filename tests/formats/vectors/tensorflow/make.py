"""Writes the files beside this one. Run with TensorFlow 2.21 installed, which the tests themselves do without.

``python make.py FOLDER``: graphs and models of a few parameters each, as the library writes them. Those called after an
effect have it: they read or write a file, or call Python.
"""

import shutil
import sys
from pathlib import Path

import tensorflow as tf

SIGNATURE = [tf.TensorSpec((None, 4))]


class Plain(tf.Module):
    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones((4, 3)))

    @tf.function(input_signature=SIGNATURE)
    def __call__(self, x):
        return tf.nn.relu(x @ self.weight)


class Writes(Plain):
    @tf.function(input_signature=SIGNATURE)
    def __call__(self, x):
        tf.io.write_file("written-by-a-model", "x")
        return x @ self.weight


class Reads(Plain):
    @tf.function(input_signature=SIGNATURE)
    def __call__(self, x):
        return x @ self.weight + tf.cast(tf.strings.length(tf.io.read_file("read-by-a-model")), tf.float32)


class Python(Plain):
    @tf.function(input_signature=SIGNATURE)
    def __call__(self, x):
        return tf.py_function(lambda value: value, [x], tf.float32)


class Prints(Plain):
    @tf.function(input_signature=SIGNATURE)
    def __call__(self, x):
        tf.print(x, output_stream="file://printed-by-a-model")
        return x @ self.weight


def main(folder: Path) -> None:
    for kind in (Plain, Writes, Reads, Python, Prints):
        model, name = kind(), kind.__name__.lower()
        tf.saved_model.save(model, str(folder / "model"), signatures=model.__call__.get_concrete_function())
        shutil.move(folder / "model" / "saved_model.pb", folder / f"{name}.saved_model.pb")
        shutil.rmtree(folder / "model")

    reads = Reads()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([reads.__call__.get_concrete_function()], reads)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (folder / "reads.tflite").write_bytes(converter.convert())

    dense = tf.keras.Sequential(
        [tf.keras.Input((4,)), tf.keras.layers.Dense(3), tf.keras.layers.BatchNormalization(name="norm")]
    )
    dense.export(str(folder / "model"))
    shutil.move(folder / "model" / "saved_model.pb", folder / "keras.saved_model.pb")
    shutil.rmtree(folder / "model")
    (folder / "dense.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(dense).convert())

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), name="x")
        tf.matmul(x, tf.compat.v1.get_variable("w", (4, 2)), name="y")
        tf.compat.v1.train.Saver().export_meta_graph(str(folder / "plain.meta"))
        (folder / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
