"""Arrays, matrices and frames: numpy, scipy and pandas, as pickles and in numpy's own files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benign.corpus import Writer, Written


def _pickled(folder: Path, values: Mapping[str, Callable[[], object]], protocols: tuple[int, ...]) -> Iterator[Written]:
    for name, make in values.items():
        for protocol in protocols:
            path = f"{name.replace(' ', '_')}.{protocol}.pkl"
            (folder / path).write_bytes(pickle.dumps(make(), protocol))
            yield Written(path, name)


def _numpy(folder: Path) -> Iterator[Written]:
    import numpy as np

    values: Mapping[str, Callable[[], object]] = {
        "array": lambda: np.arange(6.0).reshape(2, 3),
        "transposed": lambda: np.asfortranarray(np.ones((2, 3), "f4")),
        "scalar": lambda: [np.float64(1.5), np.int64(3), np.bool_(True), np.float32(2)],
        "structure": lambda: np.zeros(2, [("a", "<i4"), ("b", ">f8", (2, 2))]),
        "dates": lambda: np.array(["2024-01-01"], "M8[D]"),
        "texts": lambda: np.array(["a", "bcd"]),
        "objects": lambda: np.array([None, "a", 1], dtype=object),
        "element types": lambda: {"x": np.dtype("f4"), "y": np.float32, "z": np.int64},
        "masked": lambda: np.ma.masked_array([1.0, 2.0], mask=[True, False]),
        "matrix": lambda: np.asmatrix(np.eye(2)),
        "record array": lambda: np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "generator": lambda: np.random.default_rng(1),
        "random state": lambda: np.random.RandomState(1),
        "bit generator": lambda: np.random.Philox(1),
        "polynomial": lambda: np.polynomial.Polynomial([1.0, 2.0]),
        "function": lambda: [np.log1p, np.exp],
    }
    yield from _pickled(folder, values, (0, 2, 4, 5))
    np.save(folder / "plain.npy", np.arange(4))
    yield Written("plain.npy", "npy")
    np.savez(folder / "plain.npz", a=np.ones(3), b=np.zeros((2, 2)))
    yield Written("plain.npz", "npz")
    np.savez_compressed(folder / "compressed.npz", a=np.ones(3))
    yield Written("compressed.npz", "npz, compressed")
    np.save(folder / "objects.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
    yield Written("objects.npy", "npy of objects")


def _scipy(folder: Path) -> Iterator[Written]:
    import numpy as np
    from scipy import sparse, spatial

    values: Mapping[str, Callable[[], object]] = {
        **{
            f"{kind} {shape}": (lambda kind=kind, shape=shape: getattr(sparse, f"{kind}_{shape}")(np.eye(3)))
            for kind in ("csr", "csc", "coo", "lil", "dia", "bsr", "dok")
            for shape in ("matrix", "array")
        },
        "rotation": lambda: spatial.transform.Rotation.identity(),
    }
    yield from _pickled(folder, values, (2, 5))
    sparse.save_npz(folder / "matrix.npz", sparse.csr_matrix(np.eye(3)))
    yield Written("matrix.npz", "sparse npz")


def _pandas(folder: Path) -> Iterator[Written]:
    import numpy as np
    import pandas as pd

    dates = pd.date_range("2024-01-01", periods=2)
    values: Mapping[str, Callable[[], object]] = {
        "frame": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, None]}),
        "frame of texts": lambda: pd.DataFrame({"a": ["x", "y"]}),
        "frame of objects": lambda: pd.DataFrame({"a": [["x"], {"y": 1}]}),
        "frame by date": lambda: pd.DataFrame({"a": [1, 2]}, index=dates),
        "frame by levels": lambda: pd.DataFrame(
            {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", "n"])
        ),
        "categories": lambda: pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
        "nullable": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None])}),
        "series": lambda: pd.Series([1.0, 2.0], name="s"),
        "series of moments": lambda: pd.Series(dates.tz_localize("UTC")),
        "index": lambda: [pd.Index([1, 2]), pd.Index(["a"]), pd.RangeIndex(3)],
        "periods": lambda: pd.period_range("2024-01", periods=2, freq="M"),
        "intervals": lambda: pd.interval_range(0, 2),
        "timestamp": lambda: [pd.Timestamp("2024-01-01"), pd.Timedelta("1D"), pd.NaT],
        "element types": lambda: [pd.CategoricalDtype(["a"]), pd.Int64Dtype(), pd.StringDtype()],
        "missing": lambda: [pd.NA],
        "sparse": lambda: pd.Series(pd.arrays.SparseArray(np.array([0.0, 1.0]))),
    }
    yield from _pickled(folder, values, (4, 5))
    pd.DataFrame({"a": [1]}).to_pickle(folder / "to_pickle.pkl")
    yield Written("to_pickle.pkl", "frame")


WRITERS: Mapping[str, Writer] = {"numpy": _numpy, "scipy": _scipy, "pandas": _pandas}
