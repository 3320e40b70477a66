"""Writes the pickle streams that the installed libraries make to standard output, each behind its length (4 bytes)."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import io
import pathlib
import pickle
import sys
import uuid
import warnings
import zipfile
from collections.abc import Iterator


def _standard() -> Iterator[object]:
    yield collections.OrderedDict(a=1, b=[2])
    yield [datetime.datetime(2020, 1, 2, 3, 4, tzinfo=datetime.UTC), datetime.timedelta(3), datetime.UTC]
    yield collections.deque([1, collections.Counter("abc")], 7)
    yield [decimal.Decimal("1.5"), uuid.UUID(int=5), pathlib.PurePosixPath("a/b"), range(3), slice(1, 2)]
    yield argparse.Namespace(lr=1e-3, name="x", nested=argparse.Namespace(a=[1]))
    yield collections.defaultdict(list, a=[1])


def _torch() -> Iterator[bytes]:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3))
    optimiser = torch.optim.Adam(model.parameters())
    for content in (model.state_dict(), model, {"optimizer": optimiser.state_dict()}, torch.ones(2).to_sparse()):
        for protocol in (2, 4):
            file = io.BytesIO()
            torch.save(content, file, pickle_protocol=protocol)
            with zipfile.ZipFile(file) as archive:
                yield archive.read("archive/data.pkl")


def _numpy() -> Iterator[object]:
    import numpy

    yield numpy.arange(4.0)
    yield [numpy.float32(1.5), numpy.dtype([("a", "<i4")]), numpy.array(["a", None], dtype=object)]
    yield numpy.random.default_rng(1)


def _sklearn() -> Iterator[object]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    yield LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    yield DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])


def main() -> None:
    warnings.simplefilter("ignore")
    for source in (_standard, _torch, _numpy, _sklearn):
        try:
            for item in source():
                for stream in [item] if isinstance(item, bytes) else [pickle.dumps(item, n) for n in range(6)]:
                    if len(stream) < 4096:
                        sys.stdout.buffer.write(len(stream).to_bytes(4, "little") + stream)
        except ImportError:
            continue


if __name__ == "__main__":
    main()
